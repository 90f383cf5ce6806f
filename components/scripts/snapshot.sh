#!/bin/sh
# Step snapshot: one etcd snapshot on demand, on this server and in the bucket where one is configured. Prints where it
# lies.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=server
UNIT=k3s.service
. "$KIT/k3s-lib.sh"
. "$KIT/snapshot-lib.sh"

main() {
    begin
    unpack
    take_snapshot "$(setting name)" ||
        fail "k3s could not take the snapshot: $(tail -n 2 "$WORK/snapshot" | mask)" \
            "look at the disk space below $(snapshot_dir), and at: k3s etcd-snapshot ls"
    [ -z "$bucket_problem" ] ||
        fail "the snapshot is on this server only ($snapshot_file), not in the bucket: $bucket_problem" \
            "$BUCKET_ADVICE; then run pulumi up again, which takes another one"
    # After what start files of the login shell have printed, perhaps without an end of line.
    printf '\n%s\n' "snapshot: $snapshot_file on $NODE${snapshot_object:+ and $snapshot_object}"
}

# Tests source this file.
if [ "${0##*/}" = snapshot.sh ]; then main "$@"; fi
