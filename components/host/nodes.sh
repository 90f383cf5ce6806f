#!/bin/sh
# Steps of the cluster that are about its Nodes, run on one master.
# fence: forgets lost nodes and keeps them out. converge: labels and taints of the Nodes, and those that leave drained.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
STEP=nodes
ROLE=server
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
        "look at it (kubectl describe node $1; k3s kubectl get --raw /db/info on a master) and run pulumi up again"
}

# What k3s removes with a Node: its etcd member and its password.
delete_node() {
    timeout 30 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" delete node "$1" --wait=false --ignore-not-found >&2 ||
        fail "Node $1 could not be deleted" "look whether the API answers on this master: k3s kubectl get nodes"
    wait_for 60 no_node "$1" || remains "$1" "is still there" 60
    if [ "$(setting datastore etcd)" = etcd ]; then
        wait_for 60 not_a_member "$1" || remains "$1" "is still an etcd member" 60
    fi
    if ! wait_for 20 no_password_secret "$1"; then
        kube -n kube-system delete secret "$1.node-password.k3s" >&2 || true
    fi
}

# --- fence ------------------------------------------------------------------------------------------------------------

# A password that no host has: k3s refuses a node of this name (403) until the secret goes. A lost master is kept out by
# its own unit too, once k3s there has seen that its etcd member is gone. The finalizer is against k3s's own cleaning:
# it makes such secrets anew at each start, and deletes those without a Node after ten minutes (k3s 1.36,
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

fence() {
    wait_for 60 api_ready || fail "the API does not answer on this master" \
        "if a majority of the masters is lost, recover etcd first (docs/runbooks/lost-majority.md); else look at k3s" \
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
        echo "nodes: $name is forgotten and kept out"
    done <"$WORK/lost"
    if [ -s "$WORK/members" ]; then echo "nodes: $(per_line <"$WORK/members" | grep -c '"name"') etcd members"; fi
}

# --- converge ---------------------------------------------------------------------------------------------------------

# A line name|member|labels|taints|role|ready|marks of every Node; member to taints are annotations that this step left,
# marks what is there. {{- joins the lines.
NODE_LINES='{{range .items}}{{.metadata.name}}|
{{- with .metadata.annotations}}
    {{- with index . "k3s-ha/member"}}{{.}}{{end}}|
    {{- with index . "k3s-ha/labels"}}{{.}}{{end}}|
    {{- with index . "k3s-ha/taints"}}{{.}}{{end}}
{{- else}}||
{{- end}}|
{{- with index .metadata.labels "node-role.kubernetes.io/control-plane"}}server{{end}}|
{{- range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}|,'"$MARKS"'{{"\n"}}{{end}}'

list_nodes() {
    kube get nodes -o "go-template=$NODE_LINES" >"$WORK/nodes" ||
        fail "the Nodes could not be listed: $(tail -n 1 "$WORK/kubectl.err")" \
            "look whether the API answers on this master: k3s kubectl get nodes"
}

# wanted KIND NODE: its labels or taints, sorted and joined by commas.
wanted() { setting "$1" | awk -v n="$2" '$1 == n { print $2 }' | sort | paste -sd , -; }
field() { awk -F'|' -v n="$1" -v f="$2" '$1 == n { print $f }' "$WORK/nodes"; }

# all_there ITEMS MARKS: every item of a list stands in the other one.
all_there() {
    printf '%s\n' "$1" | tr , '\n' | while read -r item; do
        case $2 in *",$item,"*) ;; *) [ -z "$item" ] || exit 1 ;; esac
    done
}

# keys LIST: of its labels `key=value` or taints `key=value:effect`, without an effect too.
keys() { printf '%s\n' "$1" | tr , '\n' | sed 's/=[^:]*//' | sort -u; }

# gone_from OLD NEW: entries' keys that are in OLD only, each with the ending that makes kubectl remove it.
gone_from() {
    keys "$2" >"$WORK/keys-new"
    keys "$1" | grep . | grep -vxF -f "$WORK/keys-new" | sed 's/$/-/' || true
}

# set_marks label|taint NODE NEW OLD: of one Node; this program notes them there, so that it knows later which are its
# own.
set_marks() {
    # shellcheck disable=SC2046
    kube "$1" node "$2" --overwrite $(printf '%s' "$3" | tr , ' ') >"$WORK/out" 2>&1 || [ -z "$3" ] ||
        fail "kubectl $1 node $2: $(tail -n 1 "$WORK/kubectl.err")" "correct nodes[].$1s in the stack file"
    for key in $(gone_from "$4" "$3"); do kube "$1" node "$2" "$key" >/dev/null || true; done
    kube annotate node "$2" --overwrite "k3s-ha/$1s=$3" >/dev/null ||
        fail "Node $2 could not be annotated: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    echo "nodes: $1s of $2: ${3:-none}"
}

# mark label|taint FIELD: makes the marks of one kind on every member what they should be.
mark() {
    while read -r name _; do
        new=$(wanted "$1" "$name")
        old=$(field "$name" "$2")
        grep -q "^$(pattern "$name")|" "$WORK/nodes" || continue
        if [ "$new" = "$old" ] && all_there "$new" "$(field "$name" 7)"; then continue; fi
        set_marks "$1" "$name" "$new" "$old"
    done <"$WORK/members-wanted"
}

# Nodes that were this stack's and are no longer: pods leave first. A master leaves etcd by its own removal, which comes
# after this.
leaving() {
    while IFS='|' read -r name member _ _ role ready _; do
        if [ "$member" != true ] || grep -q "^$(pattern "$name") " "$WORK/members-wanted"; then continue; fi
        [ "$ready" = True ] ||
            fail "Node $name is to be removed and is not Ready, so its pods cannot leave it in order" \
                "bring the host back, or put the node back into the stack file with lost: true if it is gone for good"
        seconds=$(setting leave-seconds 300)
        timeout "$((seconds + 30))" "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" drain "$name" --ignore-daemonsets \
            --delete-emptydir-data --force --timeout="${seconds}s" >"$WORK/drain" 2>&1 </dev/null || no_node "$name" ||
            fail "the pods of $name did not leave it within $seconds s: $(tail -n 2 "$WORK/drain")" \
                "look at their PodDisruptionBudgets (kubectl get pdb -A), or raise k3s-ha:rollout.drainTimeout; $name" \
                "is still a member, and cordoned"
        if [ "$role" != server ]; then delete_node "$name"; fi
        echo "nodes: $name drained${role:+, leaves etcd with its removal}"
    done <"$WORK/nodes"
}

converge() {
    setting member >"$WORK/members-wanted"
    list_nodes
    unmarked=$(awk -F'|' '
        NR == FNR { sub(/ .*/, ""); want[$0] = 1; next }
        ($1 in want) && $2 != "true" { print $1 }' "$WORK/members-wanted" "$WORK/nodes")
    # shellcheck disable=SC2086
    [ -z "$unmarked" ] || kube annotate nodes $unmarked --overwrite k3s-ha/member=true >/dev/null ||
        fail "the Nodes could not be annotated: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    mark label 3
    mark taint 4
    leaving
    for kind in label taint; do setting "$kind" | awk -v kind="$kind" 'NF > 0 { print kind, $0 }'; done | remember nodes
    echo "nodes: $(grep -c . "$WORK/members-wanted") members as the stack file has them"
}

main() {
    begin
    unpack
    case ${1-} in
        fence) fence ;;
        converge) converge ;;
        *)
            say "usage: nodes.sh fence|converge"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = nodes.sh ]; then main "$@"; fi
