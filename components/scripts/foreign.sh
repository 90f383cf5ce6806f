# shellcheck shell=sh
# What runs on a host and is not this program's: a k3s, an haproxy with a configuration of its own. Found before
# anything is changed. Sourced after lib.sh, whose fail, bundle_file, setting, STATE, SECRETS and WORK it uses.

# --- k3s --------------------------------------------------------------------------------------------------------------

# k3s_processes: lines `PID UNIT server|agent` of every k3s server or agent of this host, whatever its unit is called;
# UNIT is - where none started it. Those of containers (k3d) have PIDs of their own and are none of the host's.
k3s_processes() {
    own_pids=$(readlink /proc/self/ns/pid 2>/dev/null) || own_pids=""
    # One process for all: a host may run thousands.
    # shellcheck disable=SC2012
    ls -l /proc/[0-9]*/exe 2>/dev/null |
        sed -n 's|^.* /proc/\([0-9]*\)/exe -> .*/k3s[^/ ]*\( (deleted)\)*$|\1|p' >"$WORK/k3s-pids"
    while read -r pid; do
        [ "$(readlink "/proc/$pid/ns/pid" 2>/dev/null)" = "$own_pids" ] || continue
        # kubectl, containerd and others are the same binary; k3s rewrites its command line: `/usr/local/bin/k3s
        # server`.
        runs=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | awk '
            $1 ~ /(^|\/)k3s[^\/]*$/ {
                for (i = 2; i <= NF && $i ~ /^[-\/]/; i++) continue
                if ($i == "server" || $i == "agent") print $i
            }')
        [ -z "$runs" ] || echo "$pid $(unit_of "$pid") $runs"
    done <"$WORK/k3s-pids"
}

# unit_of PID: by its control group; where that tells nothing, by the main process of the units that k3s usually has.
unit_of() {
    unit=$(sed -n 's|^.*/\([^/]*\.service\)\(/.*\)*$|\1|p' "/proc/$1/cgroup" 2>/dev/null | head -n 1)
    for name in k3s.service k3s-agent.service; do
        if [ -z "$unit" ] && [ "$(systemctl show -p MainPID --value "$name" 2>/dev/null)" = "$1" ]; then unit=$name; fi
    done
    echo "${unit:--}"
}

# Where units lie, by precedence.
UNIT_FOLDERS="/etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system
    /usr/lib/systemd/system /lib/systemd/system"

# k3s_units: lines `0 UNIT server|agent` of units that start k3s: those that run or will at the next boot.
k3s_units() {
    for file in $(for unit_folder in $UNIT_FOLDERS; do echo "$unit_folder"/*.service; done); do
        [ -f "$file" ] || continue
        runs=$(tr "'" ' ' <"$file" 2>/dev/null | tr -d '"' | awk '
            /\\$/ { sub(/\\$/, ""); line = line $0; next }
            { $0 = line $0; line = "" }
            BEGIN {
                binary = "[ \t/=@+!-]k3s(-(arm64|armhf|s390x|v?[0-9][^ \t/]*))?"
                call = binary "[ \t]+([-/][^ \t]*[ \t]+)*(server|agent)([ \t]|$)"
            }
            /^ExecStart=/ && match($0, call) {
                text = substr($0, RSTART, RLENGTH)
                print text ~ /server[ \t]*$/ ? "server" : "agent"
                exit
            }')
        [ -n "$runs" ] || continue
        case $(systemctl show -p ActiveState --value "${file##*/}" 2>/dev/null) in
            active | activating | reloading | deactivating) ;;
            *) [ "$(systemctl is-enabled "${file##*/}" 2>/dev/null)" = enabled ] || continue ;;
        esac
        echo "0 ${file##*/} $runs"
    done
}

# A host that lost this program's notes: its k3s was started with a token of this stack's.
has_our_token() {
    for secret in server-token agent-token; do
        file=$(bundle_file "$SECRETS/$secret") || continue
        if [ "$(sed 's/^K10[0-9a-f]*::[a-z]*://' /etc/rancher/k3s/token 2>/dev/null)" = "$(cat "$file")" ]; then
            return 0
        fi
    done
    return 1
}

# foreign_k3s: of all k3s here, the first one that is not this program's, as `PID UNIT ROLE`; one that runs comes first.
# Sets own to the units that are this program's.
foreign_k3s() {
    own=""
    if [ -s "$STATE/k3s-role" ] || has_our_token; then
        own=$(cat "$STATE/k3s-unit" 2>/dev/null) || own=""
        # Without notes either name may be it: an agent that was taken over kept k3s.service.
        case $(cat "$STATE/k3s-role" 2>/dev/null) in
            server) own="k3s.service" ;;
            agent) own=${own:-k3s-agent.service} ;;
            *) own="k3s.service k3s-agent.service" ;;
        esac
    fi
    {
        k3s_processes
        k3s_units
    } | awk -v own=" $own " 'own == "  " || !index(own, " " $2 " ")' | head -n 1
}

# What a user runs on a server for the cluster's hash: k3s's own token has it.
SHOW_CA_HASH="sed 's/^K10//; s/::.*//' /var/lib/rancher/k3s/server/token"

# ca_hash FILE: of a CA as k3s's tokens carry it: the file's SHA-256, or, of a chain, that of its root's DER (k3s
# 1.36.3, pkg/clientaccess/token.go).
ca_hash() {
    rm -rf "$WORK/ca"
    mkdir "$WORK/ca"
    awk -v dir="$WORK/ca" '
        /-----BEGIN CERTIFICATE-----/ { out = dir "/" (n++) }
        out != "" { print > out }
        /-----END CERTIFICATE-----/ { close(out); out = "" }' "$1"
    if [ ! -e "$WORK/ca/1" ]; then
        sha256sum <"$1" | cut -d ' ' -f 1
        return
    fi
    command -v openssl >/dev/null 2>&1 ||
        fail "$1 holds a chain of CAs, and there is no openssl to look for its root" \
            "install openssl on the host and run pulumi up again"
    roots=""
    : >"$WORK/ca/between"
    for one in "$WORK/ca"/[1-9]*; do
        issuer=$(key_id "$one" authorityKeyIdentifier)
        if [ -z "$issuer" ] || [ "$issuer" = "$(key_id "$one" subjectKeyIdentifier)" ]; then
            roots="$roots $one"
        else
            cat "$one" >>"$WORK/ca/between"
        fi
    done
    # The system's own CAs, this one's root among them perhaps, are not asked.
    for root in $roots; do
        if SSL_CERT_DIR=/nonexistent SSL_CERT_FILE=/nonexistent openssl verify -no-CApath -CAfile "$root" \
            -untrusted "$WORK/ca/between" "$WORK/ca/0" >/dev/null 2>&1; then
            openssl x509 -outform DER -in "$root" | sha256sum | cut -d ' ' -f 1
            return
        fi
    done
    sha256sum <"$1" | cut -d ' ' -f 1
}

# key_id FILE EXTENSION: the hex of one key identifier.
key_id() {
    openssl x509 -noout -ext "$2" -in "$1" 2>/dev/null | tr -d ' ' |
        sed -n 's/^\(keyid:\)*\(\([0-9A-F][0-9A-F]:\)\{4,\}[0-9A-F]*\)$/\2/p' | head -n 1
}

# A k3s that this program did not start: taken over only where the stack says so, and only if it is that cluster's.
check_adoption() {
    foreign_k3s >"$WORK/foreign"
    [ -s "$WORK/foreign" ] || return 0
    read -r pid unit runs <"$WORK/foreign"
    where=$unit stop="systemctl disable --now $unit"
    if [ "$unit" = - ]; then where="process $pid" stop="kill $pid, and whatever starts it"; fi
    [ -z "$own" ] ||
        fail "another k3s than this stack's is on this host ($where, k3s $runs)" \
            "remove that one ($stop); two on one host break each other"
    read -r role ca_hash <<END
$(setting adopt)
END
    if [ "$pid" = 0 ]; then found="is set up"; else found=runs; fi
    [ -n "$role" ] ||
        fail "k3s $found on this host already ($where), and this stack did not start it" \
            "if it is the cluster of this stack: k3s-ha:allow: [adopt] (docs/operations.md, 'Take over a running" \
            "cluster'); else remove that k3s"
    case $unit in
        k3s.service | k3s-agent.service) ;;
        *)
            takeable="k3s.service or k3s-agent.service"
            if [ "$runs" = server ]; then wanted=k3s.service; else wanted=k3s-agent.service; fi
            fail "the k3s on this host was started by $where, and only $takeable can be taken over" \
                "give the unit that name: $stop; mv its file in /etc/systemd/system to $wanted; systemctl" \
                "daemon-reload; systemctl enable --now it; containers run on meanwhile"
            ;;
    esac
    [ "$pid" != 0 ] ||
        fail "the k3s of $unit does not run, so nobody can tell whose it is" \
            "start it (systemctl start $unit) and run pulumi up again"
    [ "$runs" = "$role" ] ||
        fail "k3s runs on this host as $runs, and the stack file has it as $role" "correct k3s-ha:nodes"
    if [ "$runs" = server ]; then
        ca=/var/lib/rancher/k3s/server/tls/server-ca.crt
    else
        ca=/var/lib/rancher/k3s/agent/server-ca.crt
    fi
    other_cluster="the k3s on this host is not of the cluster that k3s-ha:caHash names"
    if [ -f "$ca" ]; then got=$(ca_hash "$ca"); else got=none; fi
    [ "$got" = "$ca_hash" ] ||
        fail "$other_cluster: the CA in $ca has the hash $got, wanted is $ca_hash" \
            "compare with another server: $SHOW_CA_HASH; a data folder elsewhere (data-dir) cannot be taken over"
    if [ "$role" = server ]; then put "$WORK/cluster-id" "$ID_FILE" 0600; fi
}

# --- haproxy ----------------------------------------------------------------------------------------------------------

HAPROXY_CFG=${HAPROXY_CFG:-/etc/haproxy/haproxy.cfg}
# Where a user puts a file that is no longer wanted; the removal of this program brings it back.
HAPROXY_ASIDE=$HAPROXY_CFG.before-k3s-ha

# As the package brought it: the package managers know the sums of their configuration files.
is_package_default() {
    if command -v dpkg-query >/dev/null 2>&1; then
        # shellcheck disable=SC2016
        sum=$(dpkg-query -W -f '${Conffiles}\n' haproxy 2>/dev/null |
            awk -v path="$HAPROXY_CFG" '$1 == path { print $2 }')
        if [ -n "$sum" ]; then
            [ "$(md5sum <"$HAPROXY_CFG" | cut -d ' ' -f 1)" = "$sum" ]
            return
        fi
    fi
    if command -v rpm >/dev/null 2>&1 && rpm -qf "$HAPROXY_CFG" >/dev/null 2>&1; then
        # The third character tells of the content: `S.5....T.  c PATH`. No line for the file: nothing differs.
        ! rpm -Vf --nodeps --noscripts "$HAPROXY_CFG" 2>/dev/null |
            awk -v path="$HAPROXY_CFG" '$NF == path { print $1 }' | grep -q '^..[^.]'
        return
    fi
    if command -v pacman >/dev/null 2>&1; then
        pacman -Qii haproxy 2>/dev/null | grep -F "$HAPROXY_CFG" | grep -qi unmodified
        return
    fi
    return 1
}

# sections FILE…: for people: `frontend web (*:80), backend app`.
sections() {
    awk '
        function end() {
            if (name != "") all = all (all == "" ? "" : ", ") name (at == "" ? "" : " (" at ")")
            name = at = ""
        }
        { sub(/#.*/, "") }
        /^[a-z]/ {
            end()
            name = $1 ($2 == "" ? "" : " " $2)
            if (($1 == "frontend" || $1 == "listen") && $3 != "") at = $3
            next
        }
        name != "" && $1 == "bind" { at = at (at == "" ? "" : " ") $2 }
        END { end(); print substr(all, 1, 400) }' "$@"
}

# own_haproxy: the file on this host that says what its haproxy does for somebody else, and so is not ours to replace;
# or nothing.
own_haproxy() {
    # keep_original of haproxy.sh: this program has been here.
    [ ! -e "$STATE/haproxy/kept" ] || return 0
    [ -f "$HAPROXY_CFG" ] && grep -Eqv '^[[:space:]]*(#|$)' "$HAPROXY_CFG" || return 0
    # A host that lost this program's notes; see `header` in components/haproxy/render.ts.
    if grep -q '^# Managed by k3s-ha: ' "$HAPROXY_CFG" || is_package_default; then return 0; fi
    echo "$HAPROXY_CFG"
}

# started_with: other files that haproxy.service is started with, and that say something: of its arguments, of folders
# (conf.d), of CONFIG.
started_with() {
    [ ! -e "$STATE/haproxy/kept" ] || return 0
    pid=$(systemctl show -p MainPID --value haproxy.service 2>/dev/null) || pid=""
    {
        [ "${pid:-0}" = 0 ] || tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null |
            awk 'named { print; named = 0; next } $0 == "-f" { named = 1 }'
        sed -n 's/^[ \t]*CONFIG=["'"'"']*\([^"'"'"' ]*\).*/\1/p' "${HAPROXY_DEFAULT:-/etc/default/haproxy}" \
            2>/dev/null || true
    } | while read -r named; do
        if [ -d "$named" ]; then ls -d "$named"/*.cfg 2>/dev/null || true; else echo "$named"; fi
    done | sort -u | while read -r named; do
        if [ "$named" != "$HAPROXY_CFG" ] && grep -Eqsv '^[[:space:]]*(#|$)' "$named"; then echo "$named"; fi
    done
}

# check_haproxy_owner: replacing it would end what it serves. One that came with a cluster that is taken over goes with
# it.
check_haproxy_owner() {
    [ -z "$(setting adopt)" ] || return 0
    own_files="haproxy on this host is started with files of its own besides or instead of"
    others=$(started_with | tr '\n' ' ')
    # shellcheck disable=SC2086
    [ -z "$others" ] ||
        fail "$own_files $HAPROXY_CFG: ${others}with $(sections $others)" \
            "to keep them, write these sections in k3s-ha:proxy.haproxy (all nodes get them); then take the files out" \
            "of its start (systemctl cat haproxy; CONFIG and EXTRAOPTS in /etc/default/haproxy; what lies in conf.d)" \
            "and run pulumi up again. Nothing was changed here"
    found=$(own_haproxy)
    [ -n "$found" ] || return 0
    found="$found has $(sections "$found")"
    fail "this host has an haproxy configuration of its own, which this program would replace: $found" \
        "to keep them, write these sections in k3s-ha:proxy.haproxy (listen, frontend, backend; all nodes get them);" \
        "then, or if nobody needs them, mv $HAPROXY_CFG $HAPROXY_ASIDE (haproxy runs on until pulumi up reloads it)" \
        "and run pulumi up again. Nothing was changed here"
}
