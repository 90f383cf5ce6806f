#!/bin/sh
# Step members, on one server: labels and taints of the Nodes; those that leave are drained.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/nodes-lib.sh"

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
            "check whether the API answers on this server: k3s kubectl get nodes"
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
    echo "members: $1s of $2: ${3:-none}"
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

# Nodes that were this stack's and are no longer: pods leave first. A server leaves etcd by its own removal, which comes
# after this.
leaving() {
    while IFS='|' read -r name member _ _ role ready _; do
        if [ "$member" != true ] || grep -q "^$(pattern "$name") " "$WORK/members-wanted"; then continue; fi
        [ "$ready" = True ] ||
            fail "Node $name is to be removed and is not Ready, so its pods cannot leave it in order" \
                "bring the host back, or, if it is gone permanently, put the node back into the stack file with" \
                "lost: true"
        seconds=$(setting leave-seconds 300)
        timeout "$((seconds + 30))" "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" drain "$name" --ignore-daemonsets \
            --delete-emptydir-data --force --timeout="${seconds}s" >"$WORK/drain" 2>&1 </dev/null || no_node "$name" ||
            fail "the pods of $name did not leave it within $seconds s: $(tail -n 2 "$WORK/drain")" \
                "look at their PodDisruptionBudgets (kubectl get pdb -A), or raise k3s-ha:rollout.drainTimeout; $name" \
                "is still a member, and cordoned"
        if [ "$role" != server ]; then delete_node "$name"; fi
        echo "members: $name drained${role:+, leaves etcd with its removal}"
    done <"$WORK/nodes"
}

members() {
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
    for kind in label taint; do
        setting "$kind" | awk -v kind="$kind" 'NF > 0 { print kind, $0 }'
    done | remember members
    rm -f "$STATE/applied/nodes"
    echo "members: $(grep -c . "$WORK/members-wanted") members as the stack file has them"
}

main() {
    begin
    unpack
    members
}

# Tests source this file.
if [ "${0##*/}" = members.sh ]; then main "$@"; fi
