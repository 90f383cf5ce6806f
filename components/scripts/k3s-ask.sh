# shellcheck shell=sh
# Questions: to k3s here and on other servers, to systemd about its unit, and what the local proxy sees of the servers.
# shellcheck disable=SC2034,SC2154

unit_is() { [ "$(systemctl show -p "$1" --value "$UNIT")" = "$2" ]; }
restarts() { systemctl show -p NRestarts --value "$UNIT"; }

kubectl_admin() {
    timeout 15 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" --request-timeout=10s "$@" \
        2>"$WORK/kubectl.err"
}

# password FILE: the token without its pinned CA.
password() { sed 's/^K10[0-9a-f]*::[a-z]*://' "$1" 2>/dev/null; }

# escaped: stdin as it stands between double quotes, in JSON and in curl's configuration.
escaped() { sed 's/[\\"]/\\&/g'; }

# supervisor USER PASSWORD-FILE URL [CURL-OPTION…]: asks k3s's own routes as server or node; the password is in no
# argument.
supervisor() {
    printf 'user = "%s:%s"\n' "$1" "$(password "$2" | escaped)" >"$WORK/curlrc"
    supervisor_url=$3
    shift 3
    curl -sS --max-time 15 -K "$WORK/curlrc" --cacert "${supervisor_ca:-$CA}" "$@" "$supervisor_url" 2>"$WORK/curl.err"
}

# The objects of a JSON list, one per line.
per_line() { sed 's/},{/}\n{/g'; }

# members_at URL TOKEN-FILE: as another server lists them, one per line.
members_at() { supervisor server "$2" "$1/db/info" | per_line; }

has_etcd_data() { [ -d "$DATA/server/db/etcd/member" ]; }

# was_removed: the cluster let this member go while the host was away. k3s notes that in a file, unless etcd has ended
# before it looks (seen with 1.36.3; pkg/executor/embed/etcd): then it waits for etcd for ever, and only the others'
# list tells.
was_removed() {
    has_etcd_data || return 1
    [ ! -e "$DATA/server/db/etcd/tombstone" ] || return 0
    if unit_is ActiveState active || [ ! -s "$DATA/server/db/etcd/name" ]; then return 1; fi
    members_at "$(setting join-url)" "$SECRETS/server-token" >"$WORK/members" && grep -q '"name"' "$WORK/members" ||
        return 1
    # One that was added and has not started yet has no name.
    if grep -qv '"name":"[^"][^"]*"' "$WORK/members"; then return 1; fi
    ! grep -qF "\"name\":\"$(cat "$DATA/server/db/etcd/name")\"" "$WORK/members"
}

# check_clock: before a join. Certificates are valid from the moment they are made, and etcd wants clocks that agree; a
# server's answer says what time it is there. No answer is no statement about clocks.
check_clock() {
    there=$(curl -sk -o /dev/null -D - --max-time 5 "$(setting join-url)/ping" 2>/dev/null |
        tr -d '\r' | sed -n 's/^[Dd]ate: //p')
    [ -n "$there" ] || return 0
    there=$(date -d "$there" +%s 2>/dev/null) || return 0
    here=$(now)
    skew=$((here - there))
    if [ "$skew" -ge -30 ] && [ "$skew" -le 30 ]; then return 0; fi
    if [ "$skew" -lt 0 ]; then how="behind"; else how="ahead of"; fi
    times="here $(date -u "-d@$here"), there $(date -u "-d@$there")"
    fail "the clock of this host is ${skew#-} s $how the servers' ($times)
  layer: clock
  runbook: docs/runbooks/clock.md" \
        "set the clocks (is time synchronisation running? timedatectl) and run pulumi up again; k3s was not started"
}

# True on a node that needs another server to start: an agent, or a server that joins.
joins() { [ "$ROLE" = agent ] || grep -qs server "$MEMBERSHIP"; }

# proxy_name: what the proxies call this server; an own backend of the stack file may have other names than the nodes'.
proxy_name() {
    in_proxy=$(sed -n 's/^ExecStop=.*drain\.sh begin \([^ ]*\) .*/\1/p' "$(unit_file)" 2>/dev/null) || in_proxy=""
    printf '%s\n' "${in_proxy:-$NODE}"
}
unit_file() { echo "/etc/systemd/system/$UNIT"; }

# servers_in FILE: name in the proxy and address:port of every server; not of the servers of other backends.
servers_in() {
    awk -v be="$(setting backend)" \
        '/^[a-z]/ { mine = ($1 == "backend" && $2 == be) } mine && $1 == "server" { print $2, $3 }' "$1"
}
servers_known() { servers_in /etc/haproxy/haproxy.cfg; }

# servers_up: what the local proxy calls the servers that it sees up.
servers_up() { local_servers_up "$(setting backend)"; }

# servers_down: those that it does not.
servers_down() {
    servers_up >"$WORK/up"
    servers_known | cut -d ' ' -f 1 | grep -vxF -f "$WORK/up" | tr '\n' ' '
}
