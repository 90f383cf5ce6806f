# shellcheck shell=sh
# Addresses and ports: whether haproxy can bind to them before a reload, and whether they accept connections after it.
# For haproxy-apply.sh.
# shellcheck disable=SC2154

# listeners CONFIG: lines `ADDRESS PORT FLAG` of what it binds to; FLAG is transparent or -.
listeners() {
    awk '
        /^[a-z]/ { on = ($1 == "listen" || $1 == "frontend") }
        on && $1 == "bind" {
            flag = "-"
            for (i = 3; i <= NF; i++) if ($i == "transparent") flag = "transparent"
            n = split($2, list, ",")
            for (i = 1; i <= n; i++) {
                item = list[i]
                sub(/^(ipv4|ipv6|tcp|tcp4|tcp6)@/, "", item)
                if (item ~ /^\// || item ~ /@/ || item !~ /:[0-9]+$/) continue
                port = item; sub(/.*:/, "", port)
                address = substr(item, 1, length(item) - length(port) - 1)
                gsub(/[][]/, "", address)
                if (address == "" || address == "*") address = "0.0.0.0"
                print address, port, flag
            }
        }' "$1"
}

# haproxy -c does not bind. A reload that cannot bind stops the working listeners for a second or two, so ask first.
check_listeners() {
    phase listeners
    command -v ss >/dev/null 2>&1 || fail "the command ss is missing" "install iproute2 on the host"
    master=$(main_pid)
    listeners "$1" >"$WORK/listeners"
    ss -Hltnp >"$WORK/sockets" 2>/dev/null || true
    while read -r address port flag; do
        case $address in
            0.0.0.0 | ::) ;;
            *)
                case $address in *:*) family=ipv6 ;; *) family=ipv4 ;; esac
                nonlocal=/proc/sys/net/$family/ip_nonlocal_bind
                # transparent lets haproxy start without the address; what must answer at the end has to be there now.
                if printf '%s\n' "$LISTEN" | grep -qxF "$address $port"; then flag=-; fi
                if [ "$flag" != transparent ] && [ "$(cat "$nonlocal" 2>/dev/null)" != 1 ] &&
                    ! is_local "$address"; then
                    fail "$address, to which haproxy is to bind port $port, is not an address of this host" \
                        "bring the VPN up on the host, or correct the node's address or k3s-ha:proxy.stats.address"
                fi
                ;;
        esac
        owner=$(socket_owner "$address" "$port" "$master")
        [ -z "$owner" ] || fail "port $port on $address is taken by $owner" \
            "stop that program, or choose another port (k3s-ha:proxy.port, k3s-ha:proxy.stats.port)"
    done <"$WORK/listeners"
}

is_local() {
    case $1 in
        *:*) ip -6 -o route get "$1" 2>/dev/null | grep -q '^local ' ;;
        *) ip -4 -o route get "$1" 2>/dev/null | grep -q '^local ' ;;
    esac
}

# socket_owner ADDRESS PORT MASTER: who else listens there, or nothing. An address in brackets or with a * is any.
socket_owner() {
    awk -v address="$1" -v port="$2" '
        {
            at = $4; p = at; sub(/.*:/, "", p)
            a = substr(at, 1, length(at) - length(p) - 1)
            gsub(/[][]/, "", a); sub(/%.*/, "", a)
            if (p != port) next
            any = (a == "*" || a == "0.0.0.0" || a == "::")
            users = index($0, "users:")
            if (a == address || any || address == "0.0.0.0" || address == "::") print users ? substr($0, users) : ""
        }' "$WORK/sockets" | while read -r users; do
        found=""
        for pid in $(printf '%s\n' "$users" | tr ',' '\n' | sed -n 's/^pid=\([0-9]*\).*/\1/p'); do
            if ours "$pid" "$3"; then found=yes; fi
        done
        if [ -z "$found" ]; then
            printf '%s\n' "${users:-another program}" | sed 's/^users:((\("[^"]*"\),pid=\([0-9]*\).*/\1 (pid \2)/'
            break
        fi
    done
}

accepts() {
    target=$1
    case $1 in 0.0.0.0 | "*") target=127.0.0.1 ;; ::) target=::1 ;; esac
    case $target in *:*) target="TCP6:[$target]:$2" ;; *) target="TCP4:$target:$2" ;; esac
    timeout 5 socat -u OPEN:/dev/null "$target,connect-timeout=2" 2>/dev/null
}

# All expected addresses accept connections; says which one does not.
all_accept() {
    printf '%s\n' "$LISTEN" >"$WORK/expected"
    while read -r address port; do
        [ -z "$address" ] || accepts "$address" "$port" || {
            echo "$address port $port" >"$WORK/deaf"
            return 1
        }
    done <"$WORK/expected"
}
