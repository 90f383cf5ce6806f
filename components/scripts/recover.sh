#!/bin/sh
# For people, as root on a server (docs/runbooks/lost-majority.md and restore-snapshot.md). It brings etcd back when its
# majority is lost, or its content to an earlier state. Not run by pulumi up.
# cluster-reset: this server becomes the only etcd member, with its data. restore SNAPSHOT: the same with the data of a
# snapshot (a file here, or a name in the configured S3 bucket). rejoin: this server gives up its data and joins the
# others again.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
STEP=recover
ROLE=server
UNIT=k3s.service
. "$KIT/k3s-lib.sh"
. "$KIT/snapshot-lib.sh"

kube() { kubectl_admin "$@"; }
stop_k3s() { timeout 120 systemctl stop "$UNIT" || systemctl kill -s KILL "$UNIT" || true; }
start_k3s() {
    start_time=$(now)
    deadline=$((start_time + 300)) wait_seconds=300 restarts_before=$(restarts)
    systemctl start --no-block "$UNIT"
    stage_wait "process up" process_up
    stage_wait "API ready" api_ready
    stage_wait "Node Ready" node_ready
}

# Other servers whose etcd listens. It would take the new one for the member that it knows, which may end that one
# ("tocommit is out of range", seen after a second restore), and clients would be answered by two clusters.
others_running() {
    servers_known | awk -v me="$(proxy_name)" '$1 != me' >"$WORK/servers"
    while read -r name address; do
        if timeout 3 socat -u /dev/null "TCP:${address%:*}:2380,connect-timeout=2" 2>/dev/null; then echo "$name"; fi
    done <"$WORK/servers"
}

# reset_failed BEGAN: says what is where now.
reset_failed() {
    # k3s fetches first and touches its data then.
    fetch_problem=""
    [ "$from_bucket" = no ] || fetch_problem=$(bucket_words "$WORK/reset")
    if [ -n "$fetch_problem" ]; then
        systemctl start --no-block "$UNIT"
        fail "k3s could not fetch the snapshot: $fetch_problem" \
            "nothing was changed, and k3s is started again with the data that it had; $BUCKET_ADVICE, and at the" \
            "name: k3s etcd-snapshot ls"
    fi
    # k3s puts the time into the name of the folder that it moves away.
    aside=$(find "$DATA/server/db" -maxdepth 1 -name 'etcd-old-*' 2>/dev/null |
        awk -F- -v began="$1" '$NF >= began' | sort | tail -n 1)
    if [ -n "$aside" ]; then
        data="in $aside: to have them back, remove $DATA/server/db/etcd and move that folder there"
    else
        data="as they were"
    fi
    advice=""
    if grep -q 'encrypted with different token' "$WORK/reset"; then
        advice="the snapshot is of another server token: put that one into $CONF/token on every server,"
        advice="$advice then the same command again; "
    fi
    fail "k3s could not reset etcd: $(tail -n 4 "$WORK/reset" | mask)" \
        "${advice}k3s is stopped on this server; its data are $data"
}

# k3s resets only a server that joins nobody; the membership comes back in any case.
reset() {
    from_bucket=no
    case ${1-} in
        "") set -- server --cluster-reset ;;
        /*)
            [ -r "$1" ] || fail "there is no readable snapshot $1" "k3s etcd-snapshot ls lists those of this server"
            # With a bucket k3s looks there for paths, too.
            set -- server --cluster-reset "--cluster-reset-restore-path=$1" --etcd-s3=false
            ;;
        *)
            has_bucket ||
                fail "the snapshot $1 is no path, and no bucket is configured to have it" \
                    "give the absolute path of a file on this server"
            from_bucket=yes
            set -- server --cluster-reset "--cluster-reset-restore-path=$1"
            ;;
    esac
    running=$(others_running | tr '\n' ' ')
    [ -z "$running" ] ||
        fail "k3s still runs on ${running% }, and only this server may run meanwhile" \
            "systemctl stop k3s on every other server that is alive, then the same command again; nothing was changed"
    stop_k3s
    # One that was cut off has left it aside.
    [ ! -e "$MEMBERSHIP" ] || mv -f "$MEMBERSHIP" "$STATE/membership.aside"
    done=yes began=$(now)
    # k3s waits up to 5 minutes for the bucket.
    with_proxy timeout 600 "$BIN" "$@" >"$WORK/reset" 2>&1 || done=no
    mv -f "$STATE/membership.aside" "$MEMBERSHIP"
    [ "$done" = yes ] || reset_failed "$began"
    rm -f "$DATA/server/db/etcd/tombstone"
    start_k3s
    echo "recover: $NODE is the only etcd member; now 'recover.sh rejoin' on every other server that is alive, then" \
        "pulumi up"
}

another_up() { servers_up | grep -vxF "$(proxy_name)" | grep -q .; }

rejoin() {
    grep -qs '^"server"' "$MEMBERSHIP" || fail "$MEMBERSHIP names no server to join" "run pulumi up, which writes it"
    # The one that was just reset is up for this proxy after two checks only.
    wait_for 60 another_up ||
        fail "this host's proxy sees no other server up" \
            "run 'recover.sh cluster-reset' or 'restore' on one server first"
    stop_k3s
    clear_etcd
    start_k3s
    echo "recover: $NODE joined again"
}

main() {
    [ "$#" -ge 1 ] || {
        say "usage: recover.sh cluster-reset | restore SNAPSHOT | rejoin"
        exit 2
    }
    command=$1
    begin
    : >"$WORK/manifest"
    NODE=$(cat "$STATE/haproxy/node" 2>/dev/null || uname -n)
    cp "$STATE/haproxy/backend" "$WORK/set.backend"
    installed_version >"$WORK/set.version"
    lock k3s 900
    case $command in
        cluster-reset) reset ;;
        restore)
            [ -n "${2-}" ] || {
                say "usage: recover.sh restore SNAPSHOT"
                exit 2
            }
            reset "$2"
            ;;
        rejoin) rejoin ;;
        *)
            say "usage: recover.sh cluster-reset | restore SNAPSHOT | rejoin"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = recover.sh ]; then main "$@"; fi
