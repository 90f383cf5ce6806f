#!/bin/sh
# Step lost-nodes, on one server: forgets lost nodes and keeps them out.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/nodes-lib.sh"
. "$KIT/server-encryption.sh"

# A password that no host has: k3s refuses a node of this name (403) until the secret goes. A lost server is kept out by
# its own unit too, once k3s there has seen that its etcd member is gone. The finalizer is against k3s's own cleaning:
# it makes such secrets again at each start, and deletes those without a Node after ten minutes (k3s 1.36,
# pkg/nodepassword/controller.go).
lock_out() {
    if ! kube -n kube-system get secret "$1.node-password.k3s" -o 'jsonpath={.metadata.labels.k3s-ha/lost}' |
        grep -q true; then
        kube -n kube-system delete secret "$1.node-password.k3s" --ignore-not-found >/dev/null || true
        cat >"$WORK/secret" <<END
{"apiVersion": "v1", "kind": "Secret", "immutable": true, "stringData": {"hash": "\$1:lost"},
 "metadata": {"name": "$1.node-password.k3s", "namespace": "kube-system",
              "labels": {"k3s-ha/lost": "true"}, "finalizers": ["k3s-ha/lost"]}}
END
        kube create -f "$WORK/secret" >/dev/null ||
            fail "the name $1 could not be locked: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    fi
}

let_in() {
    kube -n kube-system patch secret "$1" --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null || true
    kube -n kube-system delete secret "$1" --ignore-not-found >&2 ||
        fail "the name ${1%.node-password.k3s} could not be unlocked: $(tail -n 1 "$WORK/kubectl.err")" \
            "run pulumi up again"
}

# lift_idle_guard: of a rotation of the keys of Secrets whose last server without the new key is gone.
lift_idle_guard() {
    [ -n "$(kube get "validatingadmissionpolicy/$GUARD" --ignore-not-found -o name)" ] || return 0
    encryption_status && [ "$(encryption_says hashmatch)" = true ] &&
        [ "$(encryption_says stage)" = reencrypt_finished ] || return 0
    lift_guard || fail "the guard against writes of Secrets could not be taken away" "run pulumi up again"
}

lost_nodes() {
    wait_for 60 api_ready || fail "the API does not answer on this server" \
        "if a majority of the servers is lost, recover etcd first (docs/runbooks/lost-majority.md); else look at k3s" \
        "here: journalctl -u k3s"
    setting lost | grep . >"$WORK/lost" || true
    kube -n kube-system get secrets -l k3s-ha/lost=true -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' \
        >"$WORK/locked" ||
        fail "the Nodes' secrets could not be listed: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    while read -r secret; do
        name=${secret%.node-password.k3s}
        grep -qxF "$name" "$WORK/lost" || let_in "$secret"
    done <"$WORK/locked"
    while read -r name; do
        if ! no_node "$name" || ! not_a_member "$name"; then delete_node "$name"; fi
        lock_out "$name"
        echo "lost-nodes: $name is forgotten and kept out"
    done <"$WORK/lost"
    lift_idle_guard
    if [ -s "$WORK/members" ]; then echo "lost-nodes: $(per_line <"$WORK/members" | grep -c '"name"') etcd members"; fi
}

main() {
    begin
    unpack
    lost_nodes
}

# Tests source this file.
if [ "${0##*/}" = lost-nodes.sh ]; then main "$@"; fi
