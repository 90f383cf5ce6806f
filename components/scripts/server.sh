#!/bin/sh
# Step server.
# found: the first start of the first server; --others=NAME@ADDRESS=DATA,… is what the other servers said of their etcd
# data
#   (none, or a cluster's id), --restore=SNAPSHOT what to found from. Founds a cluster only when nobody else can be one;
#   else joins as apply does.
# apply: joins through the local proxy, or brings a member to the configured state. Never founds.
# remove: leaves the cluster where it still stands, then uninstalls.
# --ca-hash=HEX in any place pins the cluster's CA.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
ROLE=server
UNIT=k3s.service
. "$KIT/k3s-lib.sh"
. "$KIT/adopt.sh"
. "$KIT/snapshot-lib.sh"
. "$KIT/promote.sh"
. "$KIT/server-membership.sh"
. "$KIT/server-etcd.sh"
. "$KIT/server-tokens.sh"
. "$KIT/server-snapshots.sh"
. "$KIT/server-encryption.sh"
. "$KIT/server-leave.sh"

kube() { kubectl_admin "$@"; }
has_sqlite_data() { [ -f "$DATA/server/db/state.db" ]; }
on_etcd() { [ "$(setting datastore etcd)" = etcd ]; }

# bring_data: what a server without data starts from, by its mode.
bring_data() {
    make_folder "$DATA"
    # It is there already where host.files has manifests in it.
    mkdir -p "$DATA/server"
    chmod 0700 "$DATA/server"
    # Left by the step prepare, which refuses etcd data with another id.
    put "$STATE/cluster-id" "$ID_FILE" 0600
    case $mode in
        found)
            rm -f "$STATE/restoring"
            : >"$STATE/founding"
            if on_etcd; then write_membership found; else write_membership sqlite; fi
            ;;
        restore)
            rm -f "$MEMBERSHIP"
            : >"$STATE/restoring"
            restore_snapshot
            ;;
        join)
            # A restore that failed here is no matter of the cluster that this server joins.
            rm -f "$STATE/restoring"
            write_membership join
            ;;
    esac
    RESTART=1
}

run() {
    lock k3s 900
    wait_seconds=$(setting wait-seconds 300)
    : >"$WORK/answering"
    decide_membership
    if [ "$mode" = 'join' ]; then check_clock; fi
    if [ "$mode" = found ] && [ -n "$restore" ]; then mode=restore; fi
    if [ "$mode" = member ]; then
        adopt_begin
        rotate_token
        before_upgrade "$(installed_version)"
    fi
    install_binary
    make_folder "$CONF"
    write_tokens
    install_files
    adopt_decide
    note_missed_restart
    note_encryption
    case $mode in
        member)
            if [ ! -f "$MEMBERSHIP" ] && on_etcd; then write_membership join; fi
            ;;
        convert)
            write_membership found
            RESTART=1
            ;;
        *) bring_data ;;
    esac
    wait_for_the_others
    drain
    start_unit
    deadline=$((start_time + wait_seconds))
    stage_wait "process up" process_up
    if on_etcd; then stage_wait "etcd voter" becomes_voter; fi
    stage_wait "API ready" api_ready
    rm -f "$STATE/founding"
    if [ -e "$STATE/restoring" ]; then
        stage_wait "the snapshot's Nodes forgotten" forget_old_nodes
        rm -f "$STATE/restoring"
    fi
    wait_for_node
    stage_wait "unit active" unit_active
    stage_wait "schedulable again" uncordon
    # From now on this server is like any other: without its disk it joins, it never founds again.
    if on_etcd; then write_membership join; fi
    printf '%s\n' "$(setting rebuilt 0)" >"$STATE/rebuilt"
    trust_ca "$CA"
    remember_k3s
    settle_encryption
    check_bucket
    case $mode in found) outcome=founded ;;
    join) outcome=joined ;;
    restore) outcome=restored ;;
    convert) outcome="moved from SQLite to etcd" ;;
    esac
    if on_etcd; then store="$(grep -c '"name"' "$WORK/members") etcd members"; else store=SQLite; fi
    echo "server: $outcome, $(setting version), $store"
}

remove() {
    lock k3s 120
    leave
    remove_k3s
    rm -f "$STATE/rebuilt" "$STATE/founding" "$STATE/restoring" "$STATE/bucket" "$ENCRYPTION_DONE" "$ENCRYPTION_BEGUN"
    echo "server: removed"
}

main() {
    command=${1-}
    shift || true
    for arg in "$@"; do
        case $arg in
            --ca-hash=*) ca_hash=${arg#--ca-hash=} ;;
            --others=*) other_servers=${arg#--others=} ;;
            --restore=*) restore=${arg#--restore=} ;;
        esac
    done
    begin
    if [ "$command" = remove ]; then unpack_any; else unpack; fi
    case $command in
        found | apply) run ;;
        remove) remove ;;
        *)
            say "usage: server.sh found|apply|remove [--others=NAME@ADDRESS=DATA,…] [--restore=SNAPSHOT]" \
                "[--ca-hash=HEX]"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = server.sh ]; then main "$@"; fi
