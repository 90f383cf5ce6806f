# shellcheck shell=sh
# What `npm run status` asks of a host; read by sh from stdin after show-stat.sh, so that nothing is written there. It
# changes nothing.
# Arguments: ROLE BACKEND FIRST (yes on the server that is asked for the whole cluster), then drift.sh's.
# Prints one fact a line: its kind, then its values. What cannot be read has no line, or `unknown KIND WHY`.
set -u
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

ROLE=$1
BACKEND=$2
FIRST=$3
shift 3
DATA=/var/lib/rancher/k3s
TLS=$DATA/server/tls/etcd
KIT=/usr/local/lib/k3s-ha

unknown() { printf 'unknown %s %s\n' "$1" "$(tail -n 1 | cut -c 1-200)"; }

# service NAME UNIT: state, seconds since it entered that state, restarts by systemd.
service() {
    since=$(systemctl show -p StateChangeTimestampMonotonic --value "$2" 2>/dev/null)
    printf '%s %s %s %s\n' "$1" "$(systemctl show -p ActiveState --value "$2" 2>/dev/null)" \
        "$(awk -v since="${since:-0}" '{ printf "%d", $1 - since / 1e6 }' /proc/uptime)" \
        "$(systemctl show -p NRestarts --value "$2" 2>/dev/null)"
}

# What the proxy sees of each server: `sees NAME STATUS CHECK CODE MS SECONDS`, a dash for what is empty.
sees() {
    local_stat | columns_of "$BACKEND" svname status check_status check_code check_duration lastchg | awk -F, '{
        # A status may be "DOWN 1/2", and the check that is under way "* L4TOUT".
        for (i = 1; i <= NF; i++) { gsub(/ /, "_", $i); if ($i == "") $i = "-" }
        print "sees", $1, $2, $3, $4, $5, $6
    }'
}

kubectl_admin() {
    HOME=/nonexistent timeout 20 k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --cache-dir=/dev/null \
        --request-timeout=10s "$@"
}

# etcd KIND PATH: the answer of etcd's JSON gateway on this host, on one line.
etcd() {
    answer=$(curl -gs --connect-timeout 2 --max-time 5 --cacert $TLS/server-ca.crt --cert $TLS/client.crt \
        --key $TLS/client.key -d '{}' "https://127.0.0.1:2382/v3/$2" 2>/dev/null) || answer=""
    case $answer in
        "{"*) printf '%s %s\n' "$1" "$(printf '%s' "$answer" | tr -d '\n')" ;;
        *) echo "no answer on 127.0.0.1:2382" | unknown "$1" ;;
    esac
}

# The certificate that ends first: `certificate EPOCH PATH`.
certificate() {
    for file in "$DATA"/server/tls/*.crt "$DATA"/server/tls/etcd/*.crt "$DATA"/agent/*.crt; do
        [ -s "$file" ] || continue
        end=$(openssl x509 -noout -enddate -in "$file" 2>/dev/null) || continue
        echo "certificate $(date -d "${end#notAfter=}" +%s) $file"
    done | sort -n -k 2 | head -n 1
}

# The newest snapshot on this host: `snapshot EPOCH PATH`; on the first server also the newest in the bucket, where one
# is configured: `bucket TIME OBJECT`.
snapshots() {
    folder=$(sed -n 's/^etcd-snapshot-dir: "\(.*\)"$/\1/p' /etc/rancher/k3s/config.yaml 2>/dev/null)
    for file in "${folder:-$DATA/server/db/snapshots}"/*; do
        [ ! -f "$file" ] || echo "snapshot $(stat -c %Y "$file") $file"
    done | sort -n -k 2 | tail -n 1
    if [ "$FIRST" = yes ] && grep -qsx 'etcd-s3: true' /etc/rancher/k3s/config.yaml; then
        listed=$(timeout 30 k3s etcd-snapshot ls 2>&1) || {
            printf '%s\n' "$listed" | unknown bucket
            return
        }
        printf '%s\n' "$listed" | awk '$2 ~ /^s3:/ { print $NF, $2 }' | sort | tail -n 1 | sed 's/^/bucket /'
    fi
}

# Every Node: `node NAME READY VERSION CORDONED`.
nodes() {
    # shellcheck disable=SC2016
    found=$(kubectl_admin get nodes -o 'go-template={{range .items}}node {{.metadata.name}} {{""}}
        {{- range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}} {{""}}
        {{- .status.nodeInfo.kubeletVersion}}
        {{- if .spec.unschedulable}} yes{{else}} no{{end}}{{"\n"}}{{end}}' 2>&1) || {
        printf '%s\n' "$found" | unknown nodes
        return
    }
    printf '%s\n' "$found"
}

service proxy haproxy.service
sees
if [ "$ROLE" = server ]; then unit=k3s.service; else unit=k3s-agent.service; fi
service k3s "$unit"
k3s --version 2>/dev/null | sed -n '1s/^k3s version \([^ ]*\).*/version \1/p'
certificate
if [ "$ROLE" = server ]; then
    if ready=$(kubectl_admin get --raw /readyz 2>&1); then
        echo "ready yes"
    else
        printf '%s\n' "$ready" | unknown ready
    fi
    if [ -d $DATA/server/db/etcd ]; then
        etcd etcd maintenance/status
        if [ "$FIRST" = yes ]; then etcd members cluster/member/list; fi
        snapshots
    fi
    if [ "$FIRST" = yes ]; then nodes; fi
fi
if [ -e $KIT/drift.sh ]; then
    if drift=$(sh $KIT/drift.sh "$@" 2>&1); then
        [ -z "$drift" ] || printf '%s\n' "$drift" | sed 's/^/drift /'
    else
        printf '%s\n' "$drift" | unknown drift
    fi
else
    echo "drift prepare: $KIT/drift.sh is missing"
fi
echo end
exit
