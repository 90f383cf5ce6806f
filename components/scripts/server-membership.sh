# shellcheck shell=sh
# Whether this server founds a cluster, joins one, or is a member already.
# shellcheck disable=SC2034,SC2153,SC2154

# True when something answers on the API or etcd port of a host. Any TCP answer counts, also of a broken server.
answers() {
    case $1 in *:*) host="[$1]" ;; *) host=$1 ;; esac
    for port in 6443 2379 2380; do
        if timeout 3 socat -u /dev/null "TCP:$host:$port,connect-timeout=2" 2>/dev/null; then return 0; fi
    done
    return 1
}

# Proof that no other server holds data or answers; else the cluster is there already and this host has to join it.
may_found() {
    printf '%s\n' "$other_servers" | tr ',@=' '\n  ' >"$WORK/others"
    while read -r name _ data; do
        [ "${data:-none}" != none ] || continue
        # Whose cluster that is is known, so this server can join it.
        [ -z "$ca_hash" ] || return 1
        holds="$name holds etcd data (cluster $data), so the cluster exists"
        fail "$holds; founding another one would split it" \
            "start k3s on $name (systemctl start k3s) and run pulumi up again"
    done <"$WORK/others"
    while read -r name address _; do
        if [ -n "$name" ] && answers "$address"; then echo "$name"; fi
    done <"$WORK/others" >"$WORK/answering"
    [ ! -s "$WORK/answering" ] || return 1
}

# write_membership found|join|sqlite: the file that decides what a start without data does.
write_membership() {
    case $1 in
        found) echo '"cluster-init": true' ;;
        join) echo "\"server\": \"$(setting join-url)\"" ;;
        sqlite)
            rm -f "$MEMBERSHIP"
            return 0
            ;;
    esac >"$WORK/membership"
    put "$WORK/membership" "$MEMBERSHIP" 0644
}

decide_membership() {
    if was_removed; then
        removed="the etcd member of this server was removed from the cluster"
        [ "$(setting rebuilt 0)" != "$(cat "$STATE/rebuilt" 2>/dev/null || echo 0)" ] ||
            fail "$removed, so k3s cannot start with the data that are here" \
                "raise nodes[].rebuilt of $NODE to let it join again with an empty store, or take it out of the stack" \
                "file; k3s was not restarted"
        systemctl stop "$UNIT" 2>/dev/null || true
        clear_etcd
        rm -rf "$DATA/server/tls" "$DATA/server/cred" "$DATA/server/token" /etc/rancher/node
    fi
    if [ -e "$STATE/founding" ] && has_etcd_data && journalctl -u "$UNIT" -n 200 --no-pager -o cat 2>/dev/null |
        grep -q 'no bootstrap data found in datastore'; then
        # k3s was killed between making etcd and saving what it starts from. Nobody has joined yet, so nothing is lost.
        systemctl stop "$UNIT" 2>/dev/null || true
        clear_etcd
        # Not what the step prepare has put next to it (host.files): manifests, an audit policy.
        for own in token agent-token node-token cred tls etc; do rm -rf "$DATA/server/$own"; done
    fi
    if has_etcd_data; then
        # k3s ignores both keys now; a founding that was interrupted carries on from its data.
        mode=member
    elif has_sqlite_data; then
        # k3s moves SQLite's keys to etcd when it is started with cluster-init.
        if on_etcd; then mode=convert; else mode=member; fi
    elif [ "$command" = found ] && may_found; then
        mode=found
    else
        mode='join'
        if [ -z "$ca_hash" ] && [ -s "$WORK/answering" ]; then
            answering=$(tr '\n' ' ' <"$WORK/answering")
            fail "${answering}answers on the API or etcd port, so a cluster may exist and none is founded" \
                "if it is this stack's cluster, set k3s-ha:caHash (sed 's/^K10//; s/::.*//'" \
                "/var/lib/rancher/k3s/server/token on that host) to let $NODE join it; else free the host" \
                "of the other k3s"
        fi
        [ -n "$ca_hash" ] || fail "this server has no data and would have to join without knowing the cluster's CA" \
            "raise nodes[].rebuilt of $NODE, so that another one is the first server, or pulumi config set" \
            "k3s-ha:caHash \"\$(pulumi stack output caHash)\"; then run pulumi up again"
    fi
}
