#!/bin/sh
# Step prune-manifests, on one server: deletes the objects of manifests whose state is absent, when no server has their
# files any more. k3s deletes nothing for a file that is gone. For an empty one it deletes what its Addon had (k3s's
# pkg/deploy/controller.go: the kinds that the Addon has noted, and in them the objects with its label).
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/nodes-lib.sh"
MANIFESTS=$DATA/server/manifests
# SHA-256 of an empty file: an Addon has it when its objects are deleted.
EMPTY=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

# Whatever ends the run: an empty file of a name that is used again would delete that one's objects, too.
undo() {
    [ -n "$WORK" ] && [ -s "$WORK/emptied" ] || return 0
    while read -r emptied; do [ -s "$MANIFESTS/$emptied" ] || rm -f "$MANIFESTS/$emptied"; done <"$WORK/emptied"
}

addon_of() { printf '%s\n' "${1%%.*}"; }

# read_addon ADDON: its checksum and the kinds that its objects have, as two lines in $WORK/addon; nothing where there
# is no such Addon. False when the API does not say.
read_addon() {
    kube -n kube-system get addons.k3s.cattle.io "$1" --ignore-not-found -o 'go-template={{.spec.checksum}}
{{with .metadata.annotations}}{{index . "addon.k3s.cattle.io/gvks"}}{{end}}
' >"$WORK/addon"
}

emptied() { read_addon "$1" && [ "$(sed -n 1p "$WORK/addon")" = "$EMPTY" ]; }

# kinds_in LINE: "apps/v1, Kind=Deployment;/v1, Kind=Secret" as kubectl names them, one a line: Deployment.v1.apps
kinds_in() {
    printf '%s\n' "$1" | tr ';' '\n' |
        sed -n 's#^\([^/,]*\)/\([^,]*\), Kind=\(.*\)$#\3.\2.\1#p'
}

# label_of ADDON: by which k3s knows its objects: SHA-1 of the Addon's kind, name and namespace.
label_of() { printf 'k3s.cattle.io/v1, Kind=Addon%skube-system' "$1" | sha1sum | cut -d ' ' -f 1; }

# left_of ADDON: objects that are still there, in $WORK/left. Those that say so themselves stay.
left_of() {
    selector="objectset.rio.cattle.io/hash=$(label_of "$1"),objectset.rio.cattle.io/prune!=false"
    while read -r kind; do
        # A kind may be gone with its definition.
        kube get "$kind" -A -l "$selector" -o name || grep -q "doesn't have a resource type" "$WORK/kubectl.err" ||
            return 1
    done <"$STATE/prune.$1" >"$WORK/left"
}
none_left() { left_of "$1" && [ ! -s "$WORK/left" ]; }

# begin_prune NAME: an empty file, where the cluster has an Addon of it.
begin_prune() {
    addon=$(addon_of "$1")
    wait_for 30 read_addon "$addon" ||
        fail "Addon $addon cannot be read: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    if [ ! -s "$WORK/addon" ]; then
        rm -f "$STATE/prune.$addon"
        echo "prune-manifests: $1: the cluster has none of it"
        return
    fi
    # Kept for a run that follows one that was cut off: k3s forgets them when it has begun to delete.
    kinds_in "$(sed -n 2p "$WORK/addon")" >"$WORK/kinds"
    if [ -s "$WORK/kinds" ] || [ ! -f "$STATE/prune.$addon" ]; then put "$WORK/kinds" "$STATE/prune.$addon" 0600; fi
    echo "$1" >>"$WORK/emptied"
    : >"$WORK/empty"
    put "$WORK/empty" "$MANIFESTS/$1" 0600
}

# end_prune NAME: until the objects are gone; then file and Addon go.
end_prune() {
    addon=$(addon_of "$1")
    wait_for "$(left_time)" emptied "$addon" || fail "k3s did not delete the objects of $1 within $wait_seconds s" \
        "look at what it says: k3s kubectl -n kube-system describe addon $addon; then run pulumi up again"
    wait_for "$(left_time)" none_left "$addon" || {
        [ -s "$WORK/left" ] ||
            fail "what is left of $1 cannot be listed: $(tail -n 1 "$WORK/kubectl.err")" \
                "check whether all APIs answer (k3s kubectl get apiservices), and run pulumi up again"
        fail "objects of $1 are still there after $wait_seconds s: $(head -n 5 "$WORK/left" | tr '\n' ' ')" \
            "look at their finalizers (kubectl get … -o yaml), and run pulumi up again"
    }
    rm -f "$MANIFESTS/$1"
    kube -n kube-system delete addons.k3s.cattle.io "$addon" --ignore-not-found >/dev/null ||
        fail "Addon $addon could not be deleted: $(tail -n 1 "$WORK/kubectl.err")" "run pulumi up again"
    rm -f "$STATE/prune.$addon"
    echo "prune-manifests: $1: its objects are deleted"
}

left_time() {
    left_seconds=$((deadline - $(now)))
    [ "$left_seconds" -gt 1 ] || left_seconds=1
    echo "$left_seconds"
}

prune() {
    lock manifests 300
    wait_for 60 api_ready ||
        fail "the API does not answer on this server" "look at k3s here: journalctl -u k3s; then run pulumi up again"
    wait_seconds=$(setting wait-seconds 300)
    deadline=$(($(now) + wait_seconds))
    : >"$WORK/emptied"
    setting absent >"$WORK/absent"
    while read -r name; do begin_prune "$name"; done <"$WORK/absent"
    cp "$WORK/emptied" "$WORK/pruned"
    while read -r name; do end_prune "$name"; done <"$WORK/pruned"
}

main() {
    begin
    unpack
    prune
}

# Tests source this file.
if [ "${0##*/}" = prune-manifests.sh ]; then main "$@"; fi
