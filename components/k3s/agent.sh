#!/bin/sh
# Step k3s on an agent: joins through the local proxy with the agent token and the pinned CA, and waits until its Node is Ready and initialized.
# apply --ca-hash=HEX; remove: uninstalls.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=agent
UNIT=k3s-agent.service
. "$KIT/k3s-lib.sh"

kubectl_node() { timeout 15 "$BIN" kubectl --kubeconfig "$DATA/agent/kubelet.kubeconfig" --request-timeout=10s "$@" 2>"$WORK/kubectl.err"; }
node_ready() { [ "$(kubectl_node get node "$NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
# The unit itself may stay "activating" for up to five minutes more: k3s's network policy controller waits for a Ready
# condition newer than its own start, and the kubelet renews that one every five minutes (k3s 1.36.3, pkg/agent/netpol).
initialized() { ! kubectl_node get node "$NODE" -o 'jsonpath={.spec.taints[*].key}' | grep -q node.cloudprovider.kubernetes.io/uninitialized; }
joined() { [ -s "$DATA/agent/kubelet.kubeconfig" ]; }

apply() {
    lock k3s 900
    limit=$(setting wait-seconds 300)
    [ -n "$ca_hash" ] || fail "the cluster's CA hash is not known" "run pulumi up again; without it nobody proves to this agent that the cluster is yours"
    install_binary
    folder "$CONF"
    put_token agent-token "$CONF/token" node
    install_files
    start_unit
    deadline=$((started + limit))
    stage_wait "process up" process_up
    stage_wait "joined through the proxy" joined
    stage_wait "Node Ready" node_ready
    stage_wait "Node initialized" initialized
    trust_ca "$DATA/agent/server-ca.crt"
    echo "agent: $outcome, $(setting version)"
}

command=${1-}
ca_hash=""
shift || true
for arg in "$@"; do
    case $arg in --ca-hash=*) ca_hash=${arg#--ca-hash=} ;; esac
done
begin
unpack
case $command in
    apply) apply ;;
    remove)
        lock k3s 120
        remove_k3s
        echo "agent: removed"
        ;;
    *) say "usage: agent.sh apply|remove --ca-hash=HEX"; exit 2 ;;
esac
