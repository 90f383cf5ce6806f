# shellcheck shell=sh
# How a server leaves an intact cluster.
# shellcheck disable=SC2034,SC2154

gone() {
    members_elsewhere >"$WORK/members" && grep -q '"name"' "$WORK/members" &&
        ! is_member "$NODE" <"$WORK/members" >/dev/null
}

# etcd_api PATH BODY: etcd's own HTTP API on this server; k3s has it on port 2382, older releases on 2379, with gRPC.
# JSON in one line.
etcd_api() {
    for port in 2382 2379; do
        if curl -sf --max-time 5 --cacert "$DATA/server/tls/etcd/server-ca.crt" \
            --cert "$DATA/server/tls/etcd/client.crt" \
            --key "$DATA/server/tls/etcd/client.key" -d "$2" "https://127.0.0.1:$port/v3/$1" >"$WORK/etcd.answer" \
            2>/dev/null; then
            tr -d ' ' <"$WORK/etcd.answer"
            return 0
        fi
    done
    return 1
}

# A leader that leaves is missed until the others have elected one, 5 to 10 s by k3s's settings; one that hands over is
# not.
hand_over_leadership() {
    etcd_api maintenance/status '{}' >"$WORK/etcd" || return 0
    me=$(sed -n 's/.*"member_id":"\([0-9]*\)".*/\1/p' "$WORK/etcd")
    grep -q "\"leader\":\"$me\"" "$WORK/etcd" || return 0
    etcd_api cluster/member/list '{}' | per_line >"$WORK/etcd" || return 0
    next=$(grep -v '"isLearner":true' "$WORK/etcd" |
        sed -n 's/.*"ID":"\([0-9]*\)","name":"..*/\1/p' | grep -vx "$me" | head -n 1)
    if [ -n "$next" ] && etcd_api maintenance/transfer-leadership "{\"targetID\":\"$next\"}" >/dev/null; then
        say "$NODE: hands etcd's leadership over"
    fi
}

# Leaves an intact cluster as `kubectl delete node` does: the etcd member goes with the Node. k3s would join again at
# its next start, so it is not started again. It runs until the member is gone, since two members are needed to let one
# of two go.
leave() {
    [ -x "$BIN" ] && [ -s "$CONF/k3s.yaml" ] && [ -s "$MEMBERSHIP" ] && has_etcd_data || return 0
    # k3s here may be down or without a leader; the others know better. Nobody answers: the whole cluster goes.
    at=""
    if ! wait_for 30 members_known; then
        at=$(elsewhere)
        members_elsewhere >"$WORK/members"
    fi
    is_member "$NODE" <"$WORK/members" >/dev/null || return 0
    count=$(grep -c '"name"' "$WORK/members")
    [ "$count" -gt 1 ] || return 0
    make_folder "/run/systemd/system/$UNIT.d"
    printf '[Service]\nRestart=no\n' >"/run/systemd/system/$UNIT.d/50-leaving.conf"
    systemctl daemon-reload
    address=$(sed -n 's/^node-ip: "\(.*\)"$/\1/p' "$CONF/config.yaml")
    MAINPID=$(systemctl show -p MainPID --value "$UNIT") sh "$KIT/drain.sh" begin "$(proxy_name)" "$address" \
        "$(cat "$STATE/haproxy/backend" 2>/dev/null)"
    hand_over_leadership
    timeout 30 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" ${at:+--server "$at"} delete node "$NODE" --wait=false \
        --ignore-not-found >&2 || true
    if wait_for 60 gone; then
        say "$NODE: left the cluster, $(grep -c '"name"' "$WORK/members") etcd members remain"
    elif [ "$count" -gt 2 ]; then
        fail "the etcd member of $NODE is still listed after 60 s" \
            "look at the members (k3s kubectl get --raw /db/info on a server); run pulumi up again"
    else
        say "$NODE: the etcd member was still listed after 60 s"
    fi
}
