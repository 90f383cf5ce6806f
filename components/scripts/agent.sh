#!/bin/sh
# Step agent: joins through the local proxy with the agent token and the pinned CA, and waits until its Node
# is Ready and initialized.
# apply --ca-hash=HEX; remove: uninstalls.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=agent
UNIT=k3s-agent.service
. "$KIT/k3s-lib.sh"
. "$KIT/adopt.sh"

# The kubelet's own rights: they cover its Node and the eviction of its pods, and nothing of other nodes'.
kube() {
    timeout 15 "$BIN" kubectl --kubeconfig "$DATA/agent/kubelet.kubeconfig" --request-timeout=10s "$@" \
        2>"$WORK/kubectl.err"
}
# The unit itself may stay "activating" for up to five minutes more: k3s's network policy controller waits for a Ready
# condition newer than its own start, and the kubelet renews that one every five minutes (k3s 1.36.3, pkg/agent/netpol).
initialized() {
    ! kube get node "$NODE" -o 'jsonpath={.spec.taints[*].key}' |
        grep -q node.cloudprovider.kubernetes.io/uninitialized
}
joined() { [ -s "$DATA/agent/kubelet.kubeconfig" ]; }

# A changed token is no restart: k3s asks for it only when it starts. So it is tried before it is trusted.
try_token() {
    [ -s "$CONF/token" ] && [ "$(password "$CONF/token")" != "$(cat "$SECRETS/agent-token")" ] || return 0
    [ -s "$DATA/agent/server-ca.crt" ] || return 0
    supervisor_ca=$DATA/agent/server-ca.crt
    wait_for 30 token_works ||
        fail "the servers do not accept the new agent token (HTTP $(cat "$WORK/code")); the old one stays" \
            "every server must have been restarted with it: look at the steps of the servers and run pulumi up again"
}
token_works() {
    supervisor node "$SECRETS/agent-token" "$(setting join-url)/v1-k3s/readyz" -o /dev/null \
        -w '%{http_code}' >"$WORK/code" && [ "$(cat "$WORK/code")" = 200 ]
}

# The cluster knows this Node by a password that k3s made here, and an agent may not delete its own Node. So a k3s that
# is removed and made again on a host that stays has the same one; the removal of the step prepare forgets it.
NODE_PASSWORD=/etc/rancher/node/password
KEPT_PASSWORD=$STATE/node-password
keep_password() { if [ -s "$NODE_PASSWORD" ]; then put "$NODE_PASSWORD" "$KEPT_PASSWORD" 0600; fi; }
bring_password() {
    if [ ! -s "$NODE_PASSWORD" ] && [ -s "$KEPT_PASSWORD" ]; then put "$KEPT_PASSWORD" "$NODE_PASSWORD" 0600; fi
    rm -f "$KEPT_PASSWORD"
}

apply() {
    lock k3s 900
    wait_seconds=$(setting wait-seconds 300)
    [ -n "$ca_hash" ] ||
        fail "the cluster's CA hash is not known" \
            "run pulumi up again; without it nobody proves to this agent that the cluster is yours"
    adopt_begin
    try_token
    joined || check_clock
    bring_password
    install_binary
    make_folder "$CONF"
    put_token agent-token "$CONF/token" node
    install_files
    adopt_decide
    note_missed_restart
    drain
    start_unit
    deadline=$((start_time + wait_seconds))
    stage_wait "process up" process_up
    stage_wait "joined through the proxy" joined
    wait_for_node
    not_waited_for node-initialized || stage_wait "Node initialized" initialized
    stage_wait "schedulable again" uncordon
    trust_ca "$DATA/agent/server-ca.crt"
    remember_k3s
    echo "agent: $outcome, $(setting version)"
}

main() {
    command=${1-}
    shift || true
    for arg in "$@"; do
        case $arg in --ca-hash=*) ca_hash=${arg#--ca-hash=} ;; esac
    done
    begin
    if [ "$command" = remove ]; then unpack_any; else unpack; fi
    adopt_unit
    case $command in
        apply) apply ;;
        remove)
            lock k3s 120
            keep_password
            remove_k3s
            echo "agent: removed"
            ;;
        *)
            say "usage: agent.sh apply|remove --ca-hash=HEX"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = agent.sh ]; then main "$@"; fi
