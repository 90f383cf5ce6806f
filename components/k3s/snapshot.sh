#!/bin/sh
# Step snapshot: one etcd snapshot on demand, on this master and where k3s's own settings send it besides. Prints its name.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=server
UNIT=k3s.service
. "$KIT/k3s-lib.sh"

begin
unpack
name=$(setting name)
timeout 300 "$BIN" etcd-snapshot save --name "$name" >"$WORK/snapshot" 2>&1 ||
    fail "k3s could not take the snapshot: $(tail -n 2 "$WORK/snapshot" | mask)" "look at the disk space below $DATA/server/db/snapshots and at the S3 settings"
file=$(find "$DATA/server/db/snapshots" -name "$name-*" -newer "$WORK/manifest" 2>/dev/null | sort | tail -n 1)
[ -n "$file" ] || fail "k3s reports a snapshot and no file of that name is below $DATA/server/db/snapshots" "look at: k3s etcd-snapshot ls"
echo "snapshot: $file on $NODE"
