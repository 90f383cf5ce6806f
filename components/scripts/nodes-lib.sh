# Library for lost-nodes.sh and members.sh: the cluster's Nodes, by this server's admin kubeconfig.
# shellcheck shell=sh
# shellcheck disable=SC2034 # read in k3s-lib.sh
ROLE=server
# shellcheck disable=SC2034
UNIT=k3s.service
. "$KIT/k3s-lib.sh"

kube() { kubectl_admin "$@"; }
password_secret() { kube -n kube-system get secret "$1.node-password.k3s" -o name >/dev/null; }
no_password_secret() { ! password_secret "$1"; }
not_a_member() {
    kube get --raw /db/info >"$WORK/members" &&
        ! grep -Eq "\"name\":\"$(pattern "$1")(-[0-9a-f]+)?\"" "$WORK/members"
}
no_node() { kube get node "$1" --ignore-not-found -o name >"$WORK/found" && [ ! -s "$WORK/found" ]; }
remains() {
    fail "Node $1 $2 after $3 s" \
        "look at it (kubectl describe node $1; k3s kubectl get --raw /db/info on a server) and run pulumi up again"
}

# What k3s removes with a Node: its etcd member and its password.
delete_node() {
    timeout 30 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" delete node "$1" --wait=false --ignore-not-found >&2 ||
        fail "Node $1 could not be deleted" "check whether the API answers on this server: k3s kubectl get nodes"
    wait_for 60 no_node "$1" || remains "$1" "is still there" 60
    if [ "$(setting datastore etcd)" = etcd ]; then
        wait_for 60 not_a_member "$1" || remains "$1" "is still an etcd member" 60
    fi
    if ! wait_for 20 no_password_secret "$1"; then
        kube -n kube-system delete secret "$1.node-password.k3s" >&2 || true
    fi
}
