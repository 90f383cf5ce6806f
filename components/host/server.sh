#!/bin/sh
# Step k3s on a server.
# found: the first start of the first server; --others=NAME@ADDRESS=DATA,… is what the other masters said of their etcd data
#   (none, or a cluster's id), --restore=SNAPSHOT what to found from. Founds a cluster only when nobody else can be one; else joins
#   as apply does.
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

ID_FILE=$DATA/server/k3s-ha-cluster-id

kube() { kubectl_admin "$@"; }
has_sqlite_data() { [ -f "$DATA/server/db/state.db" ]; }
on_etcd() { [ "$(setting datastore etcd)" = etcd ]; }

# True when something answers on the API or etcd port of a host. Any TCP answer counts, also of a broken master.
answers() {
    case $1 in *:*) host="[$1]" ;; *) host=$1 ;; esac
    for port in 6443 2379 2380; do
        if timeout 3 socat -u /dev/null "TCP:$host:$port,connect-timeout=2" 2>/dev/null; then return 0; fi
    done
    return 1
}

# Proof that no other master holds data or answers; else the cluster is there already and this host has to join it.
may_found() {
    printf '%s\n' "$others" | tr ',@=' '\n  ' >"$WORK/others"
    while read -r name _ data; do
        [ "${data:-none}" != none ] || continue
        # Whose cluster that is is known, so this master can join it.
        [ -z "$ca_hash" ] || return 1
        fail "$name holds etcd data (cluster $data), so the cluster exists; founding another one beside it would split it" \
            "start k3s on $name (systemctl start k3s) and run pulumi up again"
    done <"$WORK/others"
    while read -r name address _; do
        if [ -n "$name" ] && answers "$address"; then echo "$name"; fi
    done <"$WORK/others" >"$WORK/answering"
    [ ! -s "$WORK/answering" ] || return 1
}

# write_membership found|join|sqlite: the file that decides what a start without data does.
write_membership() {
    case $1 in
        found) echo '"cluster-init": true' ;;
        join) echo "\"server\": \"$(setting join-url)\"" ;;
        sqlite) rm -f "$MEMBERSHIP"; return 0 ;;
    esac >"$WORK/membership"
    put "$WORK/membership" "$MEMBERSHIP" 0644
}

decide_membership() {
    if was_removed; then
        [ "$(setting rebuilt 0)" != "$(cat "$STATE/rebuilt" 2>/dev/null || echo 0)" ] ||
            fail "the etcd member of this master was removed from the cluster, so k3s cannot start with the data that are here" \
                "raise nodes[].rebuilt of $NODE to let it join anew with an empty store, or take it out of the stack file; k3s was not restarted"
        systemctl stop "$UNIT" 2>/dev/null || true
        clear_etcd
        rm -rf "$DATA/server/tls" "$DATA/server/cred" "$DATA/server/token" /etc/rancher/node
    fi
    if [ -e "$STATE/founding" ] && has_etcd_data && journalctl -u "$UNIT" -n 200 --no-pager -o cat 2>/dev/null | grep -q 'no bootstrap data found in datastore'; then
        # k3s was killed between making etcd and saving what it starts from. Nobody has joined yet, so nothing is lost.
        systemctl stop "$UNIT" 2>/dev/null || true
        clear_etcd
        # Not what the step prepare has put beside it (host.files): manifests, an audit policy.
        for own in token agent-token node-token cred tls etc; do rm -rf "$DATA/server/$own"; done
    fi
    if has_etcd_data; then
        # k3s ignores both keys now; a founding that was interrupted carries on from its data.
        mode=member
    elif has_sqlite_data; then
        # k3s moves SQLite's keys to etcd when it is started with cluster-init.
        if on_etcd; then mode=convert; else mode=member; fi
    elif [ "$command" = found ] && may_found; then
        mode=found
    else
        mode='join'
        if [ -z "$ca_hash" ] && [ -s "$WORK/answering" ]; then
            fail "$(tr '\n' ' ' <"$WORK/answering")answers on the API or etcd port, so a cluster may exist and none is founded" \
                "if it is this stack's cluster, set k3s-ha:caHash (sed 's/^K10//; s/::.*//' /var/lib/rancher/k3s/server/token on that host) to let $NODE join it; else free the host of the other k3s"
        fi
        [ -n "$ca_hash" ] || fail "this server has no data and would have to join without knowing the cluster's CA" \
            "raise nodes[].rebuilt of $NODE, so that another server speaks for the cluster, or pulumi config set k3s-ha:caHash \"\$(pulumi stack output caHash)\"; then run pulumi up again"
    fi
}

# One member per line.
members() { kubectl_admin get --raw /db/info | per_line; }
# As another master lists them, by this host's proxy.
elsewhere() { sed -n 's/^"server": "\(.*\)"$/\1/p' "$MEMBERSHIP" 2>/dev/null; }
members_elsewhere() { members_at "$(elsewhere)" "$CONF/token"; }
members_known() { members >"$WORK/members" && grep -q '"name"' "$WORK/members"; }
is_member() { grep -E "\"name\":\"$(pattern "$1")(-[0-9a-f]+)?\""; }
etcd_voter() { members >"$WORK/members" && is_member "$NODE" <"$WORK/members" | grep -qv '"isLearner":true'; }
# Asking k3s takes seconds while etcd does not answer it, so it is asked every fourth time only until this host's etcd says that it votes.
asked_etcd=0
becomes_voter() {
    asked_etcd=$((asked_etcd + 1))
    if hasten_promotion && [ "$((asked_etcd % 4))" != 0 ]; then return 1; fi
    etcd_voter
}
unit_active() { unit_is ActiveState active; }

# --- before a restart: the rest must be able to do without this master ------------------------------------------------------

# Other masters that this host's proxy sees up, and how many must be: etcd's majority without this one.
enough_others() { others_up=$(masters_up | grep -cvxF "$(proxy_name)") || true; [ "${others_up:-0}" -ge "$needed" ]; }

wait_for_the_others() {
    will_restart && on_etcd || return 0
    # One unanswered question says nothing. When nobody tells for a while there is no majority that could be lost.
    wait_for 20 members_known || members_elsewhere >"$WORK/members"
    count=$(grep -c '"name"' "$WORK/members") || true
    [ "$count" -ge 2 ] || return 0
    if [ "$count" = 2 ]; then needed=1; else needed=$((count / 2 + 1)); fi
    wait_for 90 enough_others || fail "only $others_up of the other $((count - 1)) masters are up ($(masters_up | tr '\n' ' ')); restarting this one now would take the majority from etcd" \
        "bring the others back first; k3s was not restarted here"
}

# before_upgrade INSTALLED-VERSION: a snapshot, taken by the old binary and named after what it was taken before. k3s's retention
# keeps it like any other.
before_upgrade() {
    if [ -z "$1" ] || [ "$1" = "$(setting version)" ]; then return 0; fi
    RESTART=1
    if [ "$(setting snapshot)" != before-upgrade ] || ! has_etcd_data || ! will_restart; then return 0; fi
    name=before-$(setting version | tr + -)
    take_snapshot "$name" ||
        fail "no etcd snapshot could be taken before the upgrade: $(tail -n 2 "$WORK/snapshot" | mask)" "look at the disk space below $(snapshot_dir); k3s was not restarted"
    say "$NODE: etcd snapshot ${snapshot_file##*/} taken${snapshot_object:+, also $snapshot_object}"
    # The upgrade may need it here; a bucket that is away is no reason to stay with the old release.
    [ -z "$bucket_problem" ] || say "$NODE: WARNING: this snapshot is not in the bucket: $bucket_problem; $BUCKET_ADVICE"
}

# --- tokens -----------------------------------------------------------------------------------------------------------------

# known_ca_hash: as this server's own token file has it.
known_ca_hash() { sed -n 's/^K10\([0-9a-f]\{64\}\)::.*/\1/p' "$DATA/server/token" 2>/dev/null; }

# The first server in the chain changes the cluster's token; the others start with what has been changed. The file that this
# program wrote tells what is in use: k3s changes its own before the datastore, also when that fails (pkg/server/handlers/token.go).
rotate_token() {
    if [ ! -s "$CONF/token" ] || [ "$(password "$CONF/token")" = "$(cat "$SECRETS/server-token")" ]; then return 0; fi
    if [ "$(setting rotates)" = yes ]; then
        printf '{"newToken":"%s"}' "$(escaped <"$SECRETS/server-token")" >"$WORK/new-token"
        code=$(supervisor server "$CONF/token" https://127.0.0.1:6443/v1-k3s/token -X PUT -H 'Content-Type: application/json' \
            --data-binary "@$WORK/new-token" -o "$WORK/answer" -w '%{http_code}') || code="none: $(tail -n 1 "$WORK/curl.err")"
        [ "$code" = 200 ] || fail "k3s did not take the new server token (answer $code: $(mask <"$WORK/answer" | head -c 300))" \
            "the old token stays in use; look whether all masters are ready, and run pulumi up again"
        say "$NODE: the cluster's server token was changed"
    fi
    RESTART=1
    # k3s reads the new one at its start, which a later part of this step may refuse: until then nothing counts as started.
    [ ! -s "$STARTED" ] || echo "with the former token" >"$STARTED"
}

write_tokens() {
    if [ "$mode" = found ] || [ "$mode" = restore ]; then ca_hash=""; fi
    if [ "$mode" = member ] && [ -z "$ca_hash" ]; then ca_hash=$(known_ca_hash); fi
    put_token server-token "$CONF/token" server
    before=$CHANGED
    put "$SECRETS/agent-token" "$CONF/agent-token" 0600
    [ "$CHANGED" = "$before" ] || RESTART=1
    write_s3_credentials
}

# Credentials are in no file that a preview shows; k3s reads them from a drop-in beside the public settings.
write_s3_credentials() {
    if [ ! -s "$SECRETS/s3-access-key" ]; then
        if [ -f "$S3_KEYS" ]; then
            rm -f "$S3_KEYS"
            RESTART=1
        fi
        return 0
    fi
    printf '"etcd-s3-access-key": "%s"\n"etcd-s3-secret-key": "%s"\n' "$(cat "$SECRETS/s3-access-key")" "$(cat "$SECRETS/s3-secret-key")" >"$WORK/s3"
    before=$CHANGED
    put "$WORK/s3" "$S3_KEYS" 0600
    [ "$CHANGED" = "$before" ] || RESTART=1
}

# k3s starts with a bucket that it cannot open and tells of it in its log only, at the next scheduled snapshot. New settings stop
# the roll here; those that worked before mean a bucket that is away, no reason to stop a change.
check_bucket() {
    if ! has_bucket || ! on_etcd; then rm -f "$STATE/bucket"; return 0; fi
    { grep '^etcd-s3' "$CONF/config.yaml"; if [ -f "$S3_KEYS" ]; then cat "$S3_KEYS"; fi; } | sha256sum >"$WORK/bucket"
    known=no
    if cmp -s "$WORK/bucket" "$STATE/bucket"; then known=yes; fi
    if [ "$known" = yes ] && [ "$outcome" = unchanged ]; then return 0; fi
    if bucket_opens; then
        cp "$WORK/bucket" "$STATE/bucket"
        return 0
    fi
    [ "$known" = yes ] ||
        fail "k3s runs and cannot open the bucket for its snapshots: $bucket_problem" "$BUCKET_ADVICE; then run pulumi up again. Other masters were left as they are"
    say "$NODE: WARNING: k3s cannot open the bucket for its snapshots now: $bucket_problem; $BUCKET_ADVICE"
}

# --- founding from a snapshot -------------------------------------------------------------------------------------------------

restore_failed() {
    if [ -n "$(bucket_words "$WORK/restore")" ]; then
        advice=$BUCKET_ADVICE
    else
        advice="the server token must be that of the cluster that the snapshot was taken of (k3s-ha:token)"
    fi
    fail "k3s could not restore $restore: $(tail -n 3 "$WORK/restore" | mask)" "$advice; remove $DATA/server on this host before the next try"
}

restore_snapshot() {
    set -- server --cluster-reset "--cluster-reset-restore-path=$restore"
    case $restore in
        /*)
            [ -r "$restore" ] || fail "there is no readable snapshot $restore" "put it there, or correct k3s-ha:snapshots.restore"
            # With a bucket k3s looks there for paths, too.
            set -- "$@" --etcd-s3=false
            ;;
        *) has_bucket || fail "the snapshot $restore is no path, and no bucket is configured to have it" "set k3s-ha:snapshots.s3, or copy it here and give its absolute path in k3s-ha:snapshots.restore" ;;
    esac
    # k3s insists on this file although its settings name the token's (pkg/cli/server, 1.36.3).
    if [ ! -s "$DATA/server/token" ]; then
        password "$CONF/token" >"$WORK/token"
        put "$WORK/token" "$DATA/server/token" 0600
    fi
    # k3s waits up to 5 minutes for the bucket.
    with_proxy timeout "$((limit + 300))" "$BIN" "$@" >"$WORK/restore" 2>&1 || restore_failed
    say "$NODE: restored from $restore"
}

# The snapshot knows the Nodes of the old cluster and their passwords, which no host here has. k3s's finalizers keep a Node a while
# after its deletion; until then others would take it for one of theirs.
forget_old_nodes() {
    kube get nodes -o name >"$WORK/nodes" || return 1
    grep -vxF "node/$NODE" "$WORK/nodes" >"$WORK/old-nodes" || true
    while read -r old; do kube delete "$old" --wait=false --ignore-not-found >/dev/null || return 1; done <"$WORK/old-nodes"
    [ ! -s "$WORK/old-nodes" ] || return 1
    kube -n kube-system get secrets -o name >"$WORK/all-secrets" || return 1
    grep '\.node-password\.k3s$' "$WORK/all-secrets" >"$WORK/old-secrets" || true
    while read -r old; do kube -n kube-system delete "$old" >/dev/null || return 1; done <"$WORK/old-secrets"
}

# --- the step -----------------------------------------------------------------------------------------------------------------

run() {
    lock k3s 900
    limit=$(setting wait-seconds 300)
    mode=""
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
    folder "$CONF"
    write_tokens
    install_files
    adopt_decide
    note_missed_restart
    case $mode in
        member)
            if [ ! -f "$MEMBERSHIP" ] && on_etcd; then write_membership join; fi
            ;;
        convert) write_membership found; RESTART=1 ;;
        *)
            folder "$DATA"
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
                    # A restore that failed here is no matter of the cluster that this master joins.
                    rm -f "$STATE/restoring"
                    write_membership join
                    ;;
            esac
            RESTART=1
            ;;
    esac
    wait_for_the_others
    drain
    start_unit
    deadline=$((started + limit))
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
    # From now on this master is like any other: without its disk it joins, it never founds again.
    if on_etcd; then write_membership join; fi
    printf '%s\n' "$(setting rebuilt 0)" >"$STATE/rebuilt"
    trust_ca "$CA"
    remember_k3s
    check_bucket
    case $mode in found) outcome=founded ;; join) outcome=joined ;; restore) outcome=restored ;; convert) outcome="moved from SQLite to etcd" ;; esac
    if on_etcd; then store="$(grep -c '"name"' "$WORK/members") etcd members"; else store=SQLite; fi
    echo "server: $outcome, $(setting version), $store"
}

# --- leaving ------------------------------------------------------------------------------------------------------------------

gone() { members_elsewhere >"$WORK/members" && grep -q '"name"' "$WORK/members" && ! is_member "$NODE" <"$WORK/members" >/dev/null; }

# etcd_api PATH BODY: etcd's own HTTP API on this master; k3s has it on port 2382, older releases beside gRPC on 2379. JSON in one line.
etcd_api() {
    for port in 2382 2379; do
        if curl -sf --max-time 5 --cacert "$DATA/server/tls/etcd/server-ca.crt" --cert "$DATA/server/tls/etcd/client.crt" \
            --key "$DATA/server/tls/etcd/client.key" -d "$2" "https://127.0.0.1:$port/v3/$1" >"$WORK/etcd.answer" 2>/dev/null; then
            tr -d ' ' <"$WORK/etcd.answer"
            return 0
        fi
    done
    return 1
}

# A leader that leaves is missed until the others have elected one, 5 to 10 s by k3s's settings; one that hands over is not.
hand_over_leadership() {
    etcd_api maintenance/status '{}' >"$WORK/etcd" || return 0
    me=$(sed -n 's/.*"member_id":"\([0-9]*\)".*/\1/p' "$WORK/etcd")
    grep -q "\"leader\":\"$me\"" "$WORK/etcd" || return 0
    etcd_api cluster/member/list '{}' | per_line >"$WORK/etcd" || return 0
    next=$(grep -v '"isLearner":true' "$WORK/etcd" | sed -n 's/.*"ID":"\([0-9]*\)","name":"..*/\1/p' | grep -vx "$me" | head -n 1)
    if [ -n "$next" ] && etcd_api maintenance/transfer-leadership "{\"targetID\":\"$next\"}" >/dev/null; then say "$NODE: hands etcd's leadership over"; fi
}

# Leaves an intact cluster as `kubectl delete node` does: the etcd member goes with the Node. k3s would join again at its next
# start, so it is not started again. It runs until the member is gone, since two members are needed to let one of two go.
leave() {
    [ -x "$BIN" ] && [ -s "$CONF/k3s.yaml" ] && [ -s "$MEMBERSHIP" ] && has_etcd_data || return 0
    # k3s here may be down or without a leader; the others know better. Nobody answers: the whole cluster goes.
    at=""
    if ! wait_for 30 members_known; then
        at=$(elsewhere)
        members_elsewhere >"$WORK/members"
    fi
    is_member "$NODE" <"$WORK/members" >/dev/null || return 0
    count=$(grep -c '"name"' "$WORK/members")
    [ "$count" -gt 1 ] || return 0
    folder "/run/systemd/system/$UNIT.d"
    printf '[Service]\nRestart=no\n' >"/run/systemd/system/$UNIT.d/50-leaving.conf"
    systemctl daemon-reload
    address=$(sed -n 's/^node-ip: "\(.*\)"$/\1/p' "$CONF/config.yaml")
    MAINPID=$(systemctl show -p MainPID --value "$UNIT") sh "$KIT/drain.sh" begin "$(proxy_name)" "$address" "$(cat "$STATE/haproxy/backend" 2>/dev/null)"
    hand_over_leadership
    timeout 30 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" ${at:+--server "$at"} delete node "$NODE" --wait=false --ignore-not-found >&2 || true
    if wait_for 60 gone; then
        say "$NODE: left the cluster, $(grep -c '"name"' "$WORK/members") etcd members remain"
    elif [ "$count" -gt 2 ]; then
        fail "the etcd member of $NODE is still listed after 60 s" "look at the members (k3s kubectl get --raw /db/info on a master); run pulumi up again"
    else
        say "$NODE: the etcd member was still listed after 60 s"
    fi
}

remove() {
    lock k3s 120
    leave
    remove_k3s
    rm -f "$STATE/rebuilt" "$STATE/founding" "$STATE/restoring" "$STATE/bucket"
    echo "server: removed"
}

command=${1-}
others=""
ca_hash=""
restore=""
shift || true
for arg in "$@"; do
    case $arg in
        --ca-hash=*) ca_hash=${arg#--ca-hash=} ;;
        --others=*) others=${arg#--others=} ;;
        --restore=*) restore=${arg#--restore=} ;;
    esac
done
begin
if [ "$command" = remove ]; then unpack_any; else unpack; fi
case $command in
    found | apply) run ;;
    remove) remove ;;
    *) say "usage: server.sh found|apply|remove [--others=NAME@ADDRESS=DATA,…] [--restore=SNAPSHOT] [--ca-hash=HEX]"; exit 2 ;;
esac
