# shellcheck shell=sh
# The etcd members as this server and the others see them, and a restart that must not take the majority from them.
# shellcheck disable=SC2034,SC2154

# One member per line.
members() { kubectl_admin get --raw /db/info | per_line; }
# As another server lists them, by this host's proxy.
elsewhere() { sed -n 's/^"server": "\(.*\)"$/\1/p' "$MEMBERSHIP" 2>/dev/null; }
members_elsewhere() { members_at "$(elsewhere)" "$CONF/token"; }
members_known() { members >"$WORK/members" && grep -q '"name"' "$WORK/members"; }
is_member() { grep -E "\"name\":\"$(pattern "$1")(-[0-9a-f]+)?\""; }
etcd_voter() { members >"$WORK/members" && is_member "$NODE" <"$WORK/members" | grep -qv '"isLearner":true'; }
# Asking k3s takes seconds while etcd does not answer it, so it is asked every fourth time only until this host's etcd
# says that it votes.
asked_etcd=0
becomes_voter() {
    asked_etcd=$((asked_etcd + 1))
    if hasten_promotion && [ "$((asked_etcd % 4))" != 0 ]; then return 1; fi
    etcd_voter
}
unit_active() { unit_is ActiveState active; }

# Other servers that this host's proxy sees up, and how many must be: etcd's majority without this one.
enough_others() {
    others_up=$(servers_up | grep -cvxF "$(proxy_name)") || true
    [ "${others_up:-0}" -ge "$needed" ]
}

wait_for_the_others() {
    will_restart && on_etcd || return 0
    # One unanswered question says nothing. When nobody tells for a while there is no majority that could be lost.
    wait_for 20 members_known || members_elsewhere >"$WORK/members"
    count=$(grep -c '"name"' "$WORK/members") || true
    [ "$count" -ge 2 ] || return 0
    if [ "$count" = 2 ]; then needed=1; else needed=$((count / 2 + 1)); fi
    wait_for 90 enough_others || {
        few="$others_up of the other $((count - 1)) servers are up ($(servers_up | tr '\n' ' '))"
        fail "only $few; restarting this one now would take the majority from etcd" \
            "bring the others back first; k3s was not restarted here"
    }
}
