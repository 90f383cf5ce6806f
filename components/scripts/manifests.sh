#!/bin/sh
# Step manifests, on a server: files that k3s applies, before it starts. k3s looks at them every 15 s and needs no
# restart. A file that goes deletes nothing in the cluster; prune-manifests.sh does.
# apply: stdin is a bundle.
# remove: the files that this step wrote.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
DATA=/var/lib/rancher/k3s
# Where k3s reads them.
MANIFESTS=$DATA/server/manifests
# Paths of the step's own files.
RECORD=$STATE/manifests

# take_back: files of the record that $WORK/paths has no longer.
take_back() {
    while read -r path; do
        grep -qxF "$path" "$WORK/paths" || rm -f "$path"
    done <"$RECORD"
}

apply() {
    begin
    unpack
    lock manifests 300
    make_folder "$DATA"
    # As k3s makes them; its data are nobody's but root's.
    mkdir -p "$MANIFESTS"
    awk '{ print $3 }' "$WORK/manifest" | sort >"$WORK/paths"
    # First what will be there as well: a run that is cut off leaves no file that nobody knows.
    { cat "$RECORD" 2>/dev/null || true; } | sort -u - "$WORK/paths" >"$WORK/record"
    put "$WORK/record" "$RECORD" 0600
    before=$CHANGED
    put_files "$MANIFESTS/"
    changed=$((CHANGED - before))
    take_back
    setting absent | while read -r name; do [ -z "$name" ] || rm -f "$MANIFESTS/$name"; done
    put "$WORK/paths" "$RECORD" 0600
    sed 's/^/file /' "$RECORD" | remember manifests
    echo "manifests: $(grep -c . "$RECORD" || true) files, $changed changed"
}

remove() {
    begin
    : >"$WORK/paths"
    if [ -f "$RECORD" ]; then take_back; fi
    rm -f "$RECORD" "$STATE/manifests.lock" "$STATE/applied/manifests"
    # What is empty now: where k3s never ran, or was removed before.
    for dir in "$MANIFESTS" "$DATA/server" "$DATA" "${DATA%/*}"; do rmdir "$dir" 2>/dev/null || break; done
    echo "manifests: removed"
}

main() {
    case ${1-} in
        apply) apply ;;
        remove) remove ;;
        *)
            say "usage: manifests.sh apply|remove"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = manifests.sh ]; then main "$@"; fi
