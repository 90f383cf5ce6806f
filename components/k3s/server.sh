#!/bin/sh
# Step k3s on a server.
# found OTHERS: the first start of the first server; OTHERS is what the other masters said of their etcd data
#   (name=none,name=none). Founds a cluster only when nobody else can be one; else joins as apply does.
# apply: joins through the local proxy, or brings a member to the configured state. Never founds.
# remove: leaves the cluster where it still stands, then uninstalls.
# --ca-hash=HEX in any place pins the cluster's CA.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=server
UNIT=k3s.service
. "$KIT/k3s-lib.sh"

MEMBERSHIP=$CONF/config.yaml.d/50-membership.yaml
ID_FILE=$DATA/server/k3s-ha-cluster-id

has_etcd_data() { [ -d "$DATA/server/db/etcd/member" ]; }

# True when something answers on the API or etcd port of a host. Any TCP answer counts, also of a broken master.
answers() {
    for port in 6443 2379 2380; do
        if timeout 3 socat -u /dev/null "TCP:$1:$port,connect-timeout=2" 2>/dev/null; then return 0; fi
    done
    return 1
}

# Proof that no other master holds data or answers; else the cluster is there already and this host has to join it.
may_found() {
    for other in $(echo "$others" | tr , ' '); do
        [ "${other#*=}" = none ] || fail "${other%%=*} holds etcd data (cluster ${other#*=}), so the cluster exists; founding another one beside it would split it" \
            "start k3s on ${other%%=*} (systemctl start k3s) and run pulumi up again"
    done
    setting other | while read -r name address; do
        if answers "$address"; then echo "$name"; fi
    done >"$WORK/answering"
    [ ! -s "$WORK/answering" ] || return 1
}

write_membership() {
    if [ "$1" = found ]; then echo '"cluster-init": true'; else echo "\"server\": \"$(setting join-url)\""; fi >"$WORK/membership"
    put "$WORK/membership" "$MEMBERSHIP" 0644
}

decide_membership() {
    if has_etcd_data; then
        # k3s ignores both keys now; a founding that was interrupted carries on from its data.
        mode=member
    elif [ "$command" = found ] && may_found; then
        mode=found
    else
        mode='join'
        if [ -z "$ca_hash" ] && [ -s "$WORK/answering" ]; then
            fail "$(tr '\n' ' ' <"$WORK/answering")answers on the API or etcd port, so a cluster may exist and none is founded" \
                "if it is this stack's cluster, set k3s-ha:caHash (sha256sum of /var/lib/rancher/k3s/server/tls/server-ca.crt on that host) to let $NODE join it; else free the host of the other k3s"
        fi
        [ -n "$ca_hash" ] || fail "this server has no data and would have to join without knowing the cluster's CA" \
            "pulumi config set k3s-ha:caHash \"\$(pulumi stack output caHash)\" and run pulumi up again"
    fi
}

etcd_voter() {
    kubectl_admin get --raw /db/info >"$WORK/members" || return 1
    # One member per line; a voter's entry has no isLearner:true. Names are <node>-<suffix>.
    sed 's/},{/}\n{/g' "$WORK/members" | grep -E "\"name\":\"$NODE(-[0-9a-f]+)?\"" | grep -qv '"isLearner":true'
}

api_ready() { [ "$(kubectl_admin get --raw /readyz)" = ok ]; }
node_ready() { [ "$(kubectl_admin get node "$NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
unit_active() { unit_is ActiveState active; }

run() {
    lock k3s 900
    limit=$(setting wait-seconds 300)
    mode=""
    : >"$WORK/answering"
    decide_membership
    install_binary
    folder "$CONF"
    if [ "$mode" = found ]; then ca_hash=""; fi
    if [ "$mode" != member ] || [ ! -s "$CONF/token" ]; then put_token server-token "$CONF/token" server; fi
    put "$SECRETS/agent-token" "$CONF/agent-token" 0600
    install_files
    if [ "$mode" = member ] && [ ! -f "$MEMBERSHIP" ]; then write_membership join; fi
    if [ "$mode" != member ]; then
        write_membership "$mode"
        folder "$DATA"
        [ -d "$DATA/server" ] || mkdir -m 0700 "$DATA/server"
        # Left by the step prepare, which refuses etcd data with another id.
        put "$STATE/cluster-id" "$ID_FILE" 0600
        RESTART=1
    fi
    start_unit
    deadline=$((started + limit))
    stage_wait "process up" process_up
    stage_wait "etcd voter" etcd_voter
    stage_wait "API ready" api_ready
    stage_wait "Node Ready" node_ready
    stage_wait "unit active" unit_active
    # From now on this master is like any other: without its disk it joins, it never founds again.
    write_membership join
    trust_ca "$CA"
    case $mode in found) outcome=founded ;; join) outcome=joined ;; esac
    echo "server: $outcome, $(setting version), $(sed 's/},{/}\n{/g' "$WORK/members" | grep -c '"name"') etcd members"
}

# Leaves an intact cluster as `kubectl delete node` does: the etcd member goes with the Node. Bounded, and never in the way.
leave() {
    [ -x "$BIN" ] && [ -s "$CONF/k3s.yaml" ] || return 0
    members=$(kubectl_admin get --raw /db/info | sed 's/},{/}\n{/g' | grep -c '"name"') || return 0
    [ "$members" -gt 1 ] || return 0
    timeout 30 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" delete node "$NODE" --wait=false --ignore-not-found >&2 || true
    wait_for 20 gone || say "$NODE: the etcd member was still listed after 20 s"
}
gone() { ! kubectl_admin get --raw /db/info | grep -qE "\"name\":\"$NODE(-[0-9a-f]+)?\""; }

remove() {
    lock k3s 120
    leave
    remove_k3s
    echo "server: removed"
}

command=${1-}
others=""
ca_hash=""
shift || true
for arg in "$@"; do
    case $arg in
        --ca-hash=*) ca_hash=${arg#--ca-hash=} ;;
        --others=*) others=${arg#--others=} ;;
    esac
done
begin
unpack
case $command in
    found | apply) run ;;
    remove) remove ;;
    *) say "usage: server.sh found|apply|remove [--others=NAME=DATA,…] [--ca-hash=HEX]"; exit 2 ;;
esac
