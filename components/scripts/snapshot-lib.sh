# shellcheck shell=sh
# etcd snapshots by k3s: on this server, and in the bucket where one is configured. Needs k3s-lib.sh.
# shellcheck disable=SC2034,SC2154

# What to look at when the bucket is the problem.
BUCKET_ADVICE="look at k3s-ha:snapshots.s3 (bucket, endpoint, region, endpointCa), at the secrets k3s-ha:s3AccessKey"
BUCKET_ADVICE="$BUCKET_ADVICE and s3SecretKey, and whether this host reaches the endpoint"

# What take_snapshot found, and bucket_opens of the bucket.
snapshot_file=""
snapshot_object=""
bucket_problem=""

has_bucket() { grep -qsx 'etcd-s3: true' "$CONF/config.yaml"; }

# bucket_words FILE: what k3s said of the bucket when that is why it ended; else nothing.
bucket_words() {
    tail -n 3 "$1" |
        sed -n 's/.*\(failed to initialize S3 client: .*\)/\1/p; s/.*\(failed to download snapshot from S3: .*\)/\1/p' |
        sed 's/"$//' | tail -n 1 | mask
}

# upload_error: the last one in k3s's log.
upload_error() {
    journalctl -u "$UNIT" -n 400 --no-pager -o cat 2>/dev/null |
        sed -n 's/.*\(Error received during snapshot upload to S3: .*\)/\1/p' | sed 's/"$//' | tail -n 1 | mask
}

# Where k3s keeps them on this server.
snapshot_dir() {
    dir=$(sed -n 's/^etcd-snapshot-dir: "\(.*\)"$/\1/p' "$CONF/config.yaml" 2>/dev/null) || dir=""
    echo "${dir:-$DATA/server/db/snapshots}"
}

# save_snapshot NAME [FLAG…]: k3s gives up by itself after 7 minutes, 5 of them for the bucket.
save_snapshot() {
    snapshot_name=$1
    shift
    with_proxy timeout 450 "$BIN" etcd-snapshot save --name "$snapshot_name" "$@" >"$WORK/snapshot" 2>&1
}

# take_snapshot NAME: false when none could be taken; else snapshot_file is the one on this server, and where a bucket
# is configured snapshot_object the one there (s3://…), or bucket_problem why there is none. k3s takes none at all while
# it cannot open the bucket, and tells of a failed upload in its log only (k3s 1.36.3, pkg/etcd/snapshot.go).
take_snapshot() {
    snapshot_object="" bucket_problem=""
    : >"$WORK/before-snapshot"
    if ! save_snapshot "$1"; then
        bucket_problem=$(bucket_words "$WORK/snapshot")
        [ -n "$bucket_problem" ] || return 1
        save_snapshot "$1" --etcd-s3=false || return 1
    fi
    snapshot_file=$(find "$(snapshot_dir)" -name "$1-*" -newer "$WORK/before-snapshot" 2>/dev/null | sort | tail -n 1)
    if [ -z "$snapshot_file" ]; then
        echo "k3s reports a snapshot and no file of that name is below $(snapshot_dir)" >"$WORK/snapshot"
        return 1
    fi
    if ! has_bucket || [ -n "$bucket_problem" ]; then return 0; fi
    # A list that fails says no more than an error's number when the bucket was there before.
    with_proxy timeout 450 "$BIN" etcd-snapshot ls >"$WORK/snapshots" 2>&1 || true
    snapshot_object=$(awk -v name="${snapshot_file##*/}" '$1 == name && $2 ~ /^s3:/ { print $2 }' "$WORK/snapshots")
    [ -n "$snapshot_object" ] || bucket_problem=$(bucket_words "$WORK/snapshots")
    [ -n "$snapshot_object$bucket_problem" ] ||
        bucket_problem="k3s does not list it there; its log has: $(upload_error)"
}

# bucket_opens: false and bucket_problem when k3s, which has just started, cannot open it. A refused connection is tried
# for 5 minutes by k3s.
bucket_opens() {
    bucket_problem=""
    if with_proxy timeout 60 "$BIN" etcd-snapshot ls >"$WORK/snapshots" 2>&1; then return 0; else code=$?; fi
    bucket_problem=$(bucket_words "$WORK/snapshots")
    if [ -z "$bucket_problem" ] && [ "$code" = 124 ]; then bucket_problem="no answer of the endpoint within 60 s"; fi
    [ -n "$bucket_problem" ] || bucket_problem=$(tail -n 1 "$WORK/snapshots" | mask)
    return 1
}
