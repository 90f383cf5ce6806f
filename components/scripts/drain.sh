#!/bin/sh
# Called by k3s.service when it stops and when it is ready. k3s closes 6443 at once, requests under way included, and
# opens it seconds before it is ready. So the proxies look for a file that k3s serves to anybody (/static/): without it
# they send nothing new to this server and leave alone what is open, and k3s is told to end when all have seen it gone.
# begin NODE ADDRESS BACKEND: before a stop. end ADDRESS: ready. absent: not ready yet.
# A proxy that does not look for the file (proxy.preset ansible-role) is made to see a closed port by an iptables rule
# instead, which refuses new connections only. Never in the way of a stop: without iptables or a proxy it does nothing.
set -u
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/lib/rancher/k3s/data/current/bin/aux
export LC_ALL PATH
SERVING=/var/lib/rancher/k3s/server/static/k3s-ha/serving

# rule -I|-D ADDRESS: answers a new connection to the API by a reset; what is open stays open.
rule() {
    case $2 in *:*) tables=ip6tables ;; *) tables=iptables ;; esac
    "$tables" -w 5 "$1" INPUT -p tcp -d "$2" --dport 6443 --syn -j REJECT --reject-with tcp-reset 2>/dev/null
}

# seen STATUS: the proxy of this host, which sees what all others see, has this server in that status.
seen() {
    local_servers "$backend" |
        awk -F, -v me="$node" -v want="$1" '$1 == me && $2 ~ "^" want { ok = 1 } END { exit !ok }'
}

pause() { sleep 0.25 2>/dev/null || sleep 1; }

# Seconds within which every proxy has seen what its check finds: the interval, which is the same on all hosts, and one
# more.
check_seconds() {
    awk -v backend="$backend" '
        /^[a-z]/ { mine = ($1 == "backend" && $2 == backend) }
        mine && $1 == "default-server" { for (i = 2; i < NF; i++) if ($i == "inter") inter = $(i + 1) }
        END {
            n = inter + 0
            if (inter ~ /[0-9]m$/) n *= 60
            else if (inter !~ /[0-9]s$/) n = int((n + 999) / 1000)
            print (n < 1 ? 1 : n > 30 ? 30 : n) + 1
        }' /etc/haproxy/haproxy.cfg 2>/dev/null || echo 2
}

begin() {
    node=$1 address=$2 backend=$3
    . "${KIT:-/usr/local/lib/k3s-ha}/show-stat.sh"
    # systemd calls this also when k3s has ended by itself.
    { [ -n "${MAINPID-}" ] && kill -0 "$MAINPID" 2>/dev/null; } || exit 0
    rm -f "$SERVING"
    # What another host's proxy has seen cannot be asked for here; it is as far behind as its interval at most.
    over=$(($(date +%s) + $(check_seconds) + 1))
    drained=no
    while [ "$(date +%s)" -lt "$over" ]; do
        if seen NOLB; then drained=yes; fi
        pause
    done
    [ "$drained" = no ] || return 0
    rule -I "$address" || {
        echo "drain: no iptables, requests under way are cut"
        return 0
    }
    tries=0
    while seen UP && [ "$tries" -lt 20 ]; do
        tries=$((tries + 1))
        pause
    done
}

main() {
    case ${1-} in
        begin) begin "$2" "$3" "$4" ;;
        end)
            mkdir -p "${SERVING%/*}" && echo serving >"$SERVING"
            tries=0
            while [ "$tries" -lt 5 ] && rule -D "$2"; do tries=$((tries + 1)); done
            ;;
        absent) rm -f "$SERVING" ;;
        *)
            echo "usage: drain.sh begin NODE ADDRESS BACKEND | drain.sh end ADDRESS | drain.sh absent" >&2
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = drain.sh ]; then
    main "$@"
    exit 0
fi
