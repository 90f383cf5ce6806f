# shellcheck shell=sh
# Snapshots in the course of a step: one before an upgrade, the bucket tried after a start, founding from one.
# shellcheck disable=SC2034,SC2154

# before_upgrade INSTALLED-VERSION: a snapshot, taken by the old binary and named after what it was taken before. k3s's
# retention keeps it like any other.
before_upgrade() {
    if [ -z "$1" ] || [ "$1" = "$(setting version)" ]; then return 0; fi
    RESTART=1
    if [ "$(setting snapshot)" != before-upgrade ] || ! has_etcd_data || ! will_restart; then return 0; fi
    name=before-$(setting version | tr + -)
    take_snapshot "$name" ||
        fail "no etcd snapshot could be taken before the upgrade: $(tail -n 2 "$WORK/snapshot" | mask)" \
            "look at the disk space below $(snapshot_dir); k3s was not restarted"
    say "$NODE: etcd snapshot ${snapshot_file##*/} taken${snapshot_object:+, also $snapshot_object}"
    # The upgrade may need it here; a bucket that is away is no reason to stay with the old release.
    [ -z "$bucket_problem" ] ||
        say "$NODE: WARNING: this snapshot is not in the bucket: $bucket_problem; $BUCKET_ADVICE"
}

# k3s starts with a bucket that it cannot open and tells of it in its log only, at the next scheduled snapshot. New
# settings stop the roll here; those that worked before mean a bucket that is away, no reason to stop a change.
check_bucket() {
    if ! has_bucket || ! on_etcd; then
        rm -f "$STATE/bucket"
        return 0
    fi
    {
        grep '^etcd-s3' "$CONF/config.yaml"
        if [ -f "$S3_KEYS" ]; then cat "$S3_KEYS"; fi
    } | sha256sum >"$WORK/bucket"
    known=no
    if cmp -s "$WORK/bucket" "$STATE/bucket"; then known=yes; fi
    if [ "$known" = yes ] && [ "$outcome" = unchanged ]; then return 0; fi
    if bucket_opens; then
        cp "$WORK/bucket" "$STATE/bucket"
        return 0
    fi
    [ "$known" = yes ] ||
        fail "k3s runs and cannot open the bucket for its snapshots: $bucket_problem" \
            "$BUCKET_ADVICE; then run pulumi up again. Other servers were left as they are"
    say "$NODE: WARNING: k3s cannot open the bucket for its snapshots now: $bucket_problem; $BUCKET_ADVICE"
}

restore_failed() {
    if [ -n "$(bucket_words "$WORK/restore")" ]; then
        advice=$BUCKET_ADVICE
    else
        advice="the server token must be that of the cluster that the snapshot was taken of (k3s-ha:token)"
    fi
    fail "k3s could not restore $restore: $(tail -n 3 "$WORK/restore" | mask)" \
        "$advice; remove $DATA/server on this host before the next try"
}

restore_snapshot() {
    set -- server --cluster-reset "--cluster-reset-restore-path=$restore"
    case $restore in
        /*)
            [ -r "$restore" ] ||
                fail "there is no readable snapshot $restore" "put it there, or correct k3s-ha:snapshots.restore"
            # With a bucket k3s looks there for paths, too.
            set -- "$@" --etcd-s3=false
            ;;
        *) has_bucket ||
            fail "the snapshot $restore is no path, and no bucket is configured to have it" \
                "set k3s-ha:snapshots.s3, or copy it here and give its absolute path in k3s-ha:snapshots.restore" ;;
    esac
    # k3s insists on this file although its settings name the token's (pkg/cli/server, 1.36.3).
    if [ ! -s "$DATA/server/token" ]; then
        password "$CONF/token" >"$WORK/token"
        put "$WORK/token" "$DATA/server/token" 0600
    fi
    # k3s waits up to 5 minutes for the bucket.
    with_proxy timeout "$((wait_seconds + 300))" "$BIN" "$@" >"$WORK/restore" 2>&1 || restore_failed
    say "$NODE: restored from $restore"
}

# The snapshot knows the Nodes of the old cluster and their passwords, which no host here has. k3s's finalizers keep a
# Node a while after its deletion; until then others would take it for one of theirs.
forget_old_nodes() {
    kube get nodes -o name >"$WORK/nodes" || return 1
    grep -vxF "node/$NODE" "$WORK/nodes" >"$WORK/old-nodes" || true
    while read -r old; do
        kube delete "$old" --wait=false --ignore-not-found >/dev/null || return 1
    done <"$WORK/old-nodes"
    [ ! -s "$WORK/old-nodes" ] || return 1
    kube -n kube-system get secrets -o name >"$WORK/all-secrets" || return 1
    grep '\.node-password\.k3s$' "$WORK/all-secrets" >"$WORK/old-secrets" || true
    while read -r old; do kube -n kube-system delete "$old" >/dev/null || return 1; done <"$WORK/old-secrets"
}
