# shellcheck shell=sh
# The start of k3s: whether one is needed, the start itself, and waiting for its stages. Which layer a failure is in:
# diagnose.sh.
# shellcheck disable=SC2034,SC2153,SC2154

# A run that was cut off between writing and restarting: what runs is not what the files say.
note_missed_restart() {
    if [ -s "$STARTED" ] && [ "$(start_digest)" != "$(cat "$STARTED")" ]; then
        RESTART=1
        # A drop-in of the unit may be among them.
        systemctl daemon-reload
    fi
    lost_link=$(missing_flannel "$UNIT")
    if [ -n "$lost_link" ]; then
        say "$NODE: restarts for: the pod network's interface $lost_link is missing or down"
        RESTART=1
    fi
    note_renewal
}

# note_renewal: the user has raised rotate.certificates since this node's certificates were last renewed.
note_renewal() {
    [ "$(setting renew 0)" != "$(cat "$STATE/renewed" 2>/dev/null || echo 0)" ] || return 0
    # A node that has never run makes new ones anyway.
    if [ -s "$STARTED" ] && unit_is ActiveState active; then RENEW=1 RESTART=1; fi
}

# renew: k3s by itself does so only in the last months of its certificates; its command does at any time, while k3s does
# not run.
renew() {
    systemctl stop "$UNIT"
    if ! timeout 60 "$BIN" certificate rotate >"$WORK/renew" 2>&1; then
        systemctl start --no-block "$UNIT"
        fail "k3s could not renew its certificates: $(tail -n 2 "$WORK/renew" | mask)" \
            "k3s was started again with those that it has; run pulumi up again"
    fi
    say "$NODE: certificates renewed"
}

# True when k3s runs now and will be restarted.
will_restart() { [ "$RESTART" = 1 ] && unit_is ActiveState active; }

# start_unit: enabled, and running with what is installed now. Never blocks: k3s's units have no start limit.
start_unit() {
    systemctl -q enable "$UNIT" 2>/dev/null || systemctl enable "$UNIT" >&2
    start_time=$(now)
    if [ "$RESTART" = 1 ] && ! unit_is ActiveState inactive; then
        old_pid=$(systemctl show -p MainPID --value "$UNIT")
        if [ "$RENEW" = 1 ]; then renew; fi
        restart_unit
        outcome=restarted
    elif ! unit_is ActiveState active; then
        systemctl reset-failed "$UNIT" 2>/dev/null || true
        systemctl start --no-block "$UNIT"
        outcome=started
    else
        outcome=unchanged
    fi
    setting flannel-backend vxlan >"$STATE/flannel-backend"
    start_digest >"$STARTED"
    restarts_before=$(restarts)
}

# flannel_before: the backend that k3s was last started with here. What an older version of this program started says
# nothing: then it was vxlan, and with `none` somebody else's network is not touched.
flannel_before() {
    cat "$STATE/flannel-backend" 2>/dev/null || if [ "$(setting flannel-backend vxlan)" = none ]; then
        echo none
    else
        echo vxlan
    fi
}

# With another backend the former one's tunnel and routes would go on taking the pods' traffic.
restart_unit() {
    if [ "$(flannel_before)" = "$(setting flannel-backend vxlan)" ]; then
        systemctl restart --no-block "$UNIT"
        return
    fi
    timeout 120 systemctl stop "$UNIT" || systemctl kill -s KILL "$UNIT" || true
    if command -v ip >/dev/null 2>&1; then remove_flannel "$(setting flannel-backend vxlan)"; fi
    systemctl start --no-block "$UNIT"
}

# remove_flannel BACKEND: what flannel left here with another one. Pods that run hang on cni0 and would be without a
# network permanently when it went; k3s uses the one that it finds.
remove_flannel() {
    for link in flannel.1 flannel-v6.1 flannel-wg flannel-wg-v6; do
        case $1:$link in vxlan:flannel.1 | vxlan:flannel-v6.1 | wireguard-native:flannel-wg*) continue ;; esac
        if ip link delete "$link" 2>/dev/null; then say "$NODE: interface $link of the former pod network is gone"; fi
    done
    sed -n 's/^FLANNEL_\(IPV6_\)*NETWORK=//p' "${SUBNET_ENV:-/run/flannel/subnet.env}" 2>/dev/null |
        while read -r network; do
            ip route show root "$network" 2>/dev/null </dev/null
        done | while read -r route via _; do
        if [ "$via" = via ]; then ip route delete "$route" </dev/null 2>/dev/null || true; fi
    done
    [ -n "$(ip -o link show master cni0 2>/dev/null)" ] || ip link delete cni0 2>/dev/null || true
}

# A process that systemd had to start four times is not going to come up by waiting.
crash_loop() { [ "$(($(restarts) - restarts_before))" -ge 4 ]; }

# stage_wait NAME COMMAND…: waits for one stage of the start; on failure names the layer that is in the way.
stage_wait() {
    stage=$1
    shift
    until "$@"; do
        if crash_loop; then
            why="k3s ends again and again while waiting for: $stage"
            break
        fi
        if [ "$(now)" -ge "$deadline" ]; then
            why="no success within $wait_seconds s while waiting for: $stage"
            break
        fi
        progress "$stage" "$wait_seconds" "$start_time"
        # kubectl costs more processor time than what it waits for.
        sleep 0.5 2>/dev/null || sleep 1
        why=""
    done
    [ -z "${why-}" ] || diagnose "$why"
    say "$NODE: $stage ($(($(now) - start_time)) s)"
}

# Not the one that is about to end.
process_up() {
    if unit_is MainPID 0 || unit_is MainPID "$old_pid"; then return 1; fi
    unit_is SubState running || unit_is ActiveState activating || return 1
    up_since=$(now)
}
api_ready() { [ "$(kube get --raw /readyz)" = ok ]; }

# not_waited_for WHAT: says whose job it is, where the step cannot wait for it.
not_waited_for() {
    why_not=$(setting "no-$1")
    [ -n "$why_not" ] || return 1
    say "$NODE: not waited for: $1 ($why_not)"
}

# wait_for_node: until the Node is Ready, which it is without flannel's interface too; where somebody else brings its
# network later, until it is there and speaks.
wait_for_node() {
    if not_waited_for node-ready; then stage_wait "Node there" node_there; else stage_wait "Node Ready" node_ready; fi
    flannel_up || stage_wait "the pod network's interface up" flannel_up
}
flannel_up() { [ -z "$(missing_flannel "$UNIT" activating)" ]; }

# node_fields PATH…: of this Node, as one line in $WORK/node.
node_fields() { kube get node "$NODE" -o "jsonpath=$(printf '{%s} ' "$@" | sed 's/ $//')" >"$WORK/node"; }

# A Node stays Ready over a short restart: what counts is that the kubelet of this version has spoken since.
node_ready() {
    node_fields '.metadata.creationTimestamp' '.status.nodeInfo.kubeletVersion' \
        '.status.conditions[?(@.type=="Ready")].status' || return 1
    IFS= read -r node_line <"$WORK/node" || [ -n "$node_line" ]
    [ "${node_line#* }" = "$(setting version) True" ] && reported "${node_line%% *}"
}
node_there() {
    node_fields '.metadata.creationTimestamp' '.status.nodeInfo.kubeletVersion' || return 1
    IFS= read -r node_line <"$WORK/node" || [ -n "$node_line" ]
    [ "${node_line#* }" = "$(setting version)" ] && reported "${node_line%% *}"
}

# reported CREATED: since this start, by this host's own clock. A Node that is new has; one that was there has when its
# lease was renewed, which a kubelet does as soon as it runs (and makes only some seconds after a new Node).
reported() {
    [ "$outcome" != unchanged ] || return 0
    # A date command that cannot read it (busybox) is no reason to wait.
    created=$(date -d "$1" +%s 2>/dev/null) || return 0
    [ "$created" -lt "$up_since" ] || return 0
    renewed=$(kube -n kube-node-lease get lease "$NODE" -o 'jsonpath={.spec.renewTime}') || return 1
    renewed=$(date -d "$renewed" +%s 2>/dev/null) || return 0
    [ "$renewed" -gt "$up_since" ]
}
