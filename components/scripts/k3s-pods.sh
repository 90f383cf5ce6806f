# shellcheck shell=sh
# Before a restart pods leave the node by eviction, within their disruption budgets.
# shellcheck disable=SC2034,SC2154

# Pods that an eviction can move: not finished, not of a DaemonSet, not static ones.
movable_pods() {
    # shellcheck disable=SC2016
    kube get pods -A --field-selector "spec.nodeName=$NODE" \
        -o 'go-template={{range .items}}{{$kind := ""}}{{range .metadata.ownerReferences}}{{$kind = .kind}}{{end}}
            {{- $over := or (eq .status.phase "Succeeded") (eq .status.phase "Failed")}}
            {{- if and (ne $kind "DaemonSet") (ne $kind "Node") (not $over)}}
            {{- .metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}{{end}}' \
        >"$WORK/pods"
}

evict_all() {
    movable_pods || return 1
    [ -s "$WORK/pods" ] || return 0
    while read -r namespace pod; do
        printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}\n' "$pod" \
            "$namespace" >"$WORK/eviction"
        # 429 while a budget allows no more: asked again until the time is over.
        kube create --raw "/api/v1/namespaces/$namespace/pods/$pod/eviction" -f "$WORK/eviction" >/dev/null || true
    done <"$WORK/pods"
    progress "pods to leave the node" "$seconds" "$evict_start"
    return 1
}

# Only where it is asked for (rollout.drain), and only before a restart of a k3s that runs.
drain() {
    seconds=$(setting drain-seconds)
    if [ -z "$seconds" ] || ! will_restart; then return 0; fi
    if [ "$(kube get node "$NODE" -o 'jsonpath={.spec.unschedulable}')" != true ]; then
        kube cordon "$NODE" >/dev/null ||
            fail "could not cordon the Node: $(tail -n 1 "$WORK/kubectl.err")" \
                "check whether the API answers through this node's proxy"
        : >"$STATE/cordoned"
    fi
    evict_start=$(now)
    if ! wait_for "$seconds" evict_all; then
        uncordon
        fail "these pods did not leave within $seconds s (namespace name): $(tr '\n' ';' <"$WORK/pods")" \
            "look at their PodDisruptionBudgets (kubectl get pdb -A), or raise k3s-ha:rollout.drainTimeout; k3s was" \
            "not restarted"
    fi
    say "$NODE: drained"
}

uncordon() {
    [ -e "$STATE/cordoned" ] || return 0
    kube uncordon "$NODE" >/dev/null || return 1
    rm -f "$STATE/cordoned"
}
