#!/bin/sh
# haproxy-apply.sh TEMPLATE: brings haproxy to the configuration of a template.
# haproxy-apply.sh remove: undoes its traces next to haproxy.cfg.
#
# A changed file is checked by `haproxy -c`, its addresses are checked, it replaces the old one atomically, haproxy
# reloads (it is never restarted: that would cut every connection) and the new worker is waited for. On any failure the
# old file stays or comes back. Where only remarks (indented comments) differ, the file is written and haproxy does not
# reload.
# stdout is one line: `haproxy: unchanged|reloaded|started; N of M servers up`.
#
# In the template (components/haproxy/render.ts):
#   @@stats-password@@, @@stats-password-hash@@, @@metrics-password-hash@@   filled in from the folder SECRETS
#   @@state-file@@                                                           STATE_FILE
#   a line that ends in `# haproxy >= X.Y`                                   left out on older versions
#   `verify required ca-file $CA_FILE check-sni N verifyhost N`              `verify none` while CA_FILE is missing
# Left out too, with a word about it: the exporter on a build without it, error files that this distribution does not
# have, addresses [::1] on a host without IPv6.
KIT=${KIT:-$(cd "$(dirname "$0")" && pwd)}
# lib.sh empties the environment; what the caller may set is noted before.
for name in NODE_NAME BACKEND CA_FILE LISTEN SECRETS APPLIED STATE_FILE HAPROXY_BIN HAPROXY_CFG MASTER_SOCKET PIDFILE \
    RELOAD START WAIT ACL_FILES; do
    eval "given_$name=\${$name-}"
done
. "$KIT/lib.sh"
. "$KIT/show-stat.sh"
. "$KIT/haproxy-render.sh"
. "$KIT/haproxy-acl.sh"
. "$KIT/haproxy-service.sh"
. "$KIT/haproxy-states.sh"
. "$KIT/haproxy-listeners.sh"

# shellcheck disable=SC2154
{
    NODE=${given_NODE_NAME:-$NODE}                         # how messages call this host
    BACKEND=$given_BACKEND                                 # whose servers are counted; empty: none are
    CA_FILE=$given_CA_FILE                                 # the cluster's CA; empty: nothing is taken back
    LISTEN=$given_LISTEN                                   # lines `ADDRESS PORT` that accept connections at the end
    SECRETS=${given_SECRETS:-$SECRETS}                     # stats-password, stats-salt, metrics-password
    APPLIED=${given_APPLIED:-$STATE/haproxy.applied}       # sum of the file that haproxy was last seen to run
    STATE_FILE=${given_STATE_FILE:-$STATE/haproxy.servers} # what the next worker is told of new servers
    ACL_FILES=$given_ACL_FILES                             # folder of ACL files (haproxy-acl.sh); empty: there are none
    ACL_APPLIED=$APPLIED.acl                               # paths of those that haproxy runs with
    HAPROXY_BIN=${given_HAPROXY_BIN:-haproxy}
    HAPROXY_CFG=${given_HAPROXY_CFG:-/etc/haproxy/haproxy.cfg}
    MASTER_SOCKET=${given_MASTER_SOCKET:-/run/haproxy-master.sock}
    PIDFILE=${given_PIDFILE:-/run/haproxy.pid}
    RELOAD=$given_RELOAD # commands in place of systemctl's, with a PIDFILE
    START=$given_START
    WAIT=${given_WAIT:-20} # seconds for a reload or start to be done
}
CFG_FOLDER=$(dirname "$HAPROXY_CFG")

# What its files share:
version=""    # of haproxy: MAJOR MINOR
OLD_MASTER="" # pids of the haproxy that runs before
OLD_WORKER=""
replaced=no # yes: the new file is in place, and a failure takes it back
had_old=no  # yes: there was one before

# phase NAME: what the step is at, for failures.
phase() { STEP="haproxy ($1)"; }

# The state of every server is known: none waits for its first check.
checks_done() {
    ask "show stat" >"$WORK/stat" || return 1
    servers_of "$BACKEND" <"$WORK/stat" >"$WORK/servers"
    ! awk -F, '$3 ~ /INI/ { waiting = 1 } END { exit !waiting }' "$WORK/servers"
}

result() {
    phase result
    if [ -z "$BACKEND" ]; then
        echo "haproxy: $1"
        return
    fi
    wait_for 10 checks_done || true
    [ -s "$WORK/stat" ] || fail "haproxy does not answer on its socket $(admin_socket "$HAPROXY_CFG")" \
        "keep a 'stats socket' of level admin in k3s-ha:proxy.haproxy.global.stats"
    awk -F, -v what="$1" \
        '$2 ~ /^UP/ && $3 !~ /INI/ { up++ } END { printf "haproxy: %s; %d of %d servers up\n", what, up, NR }' \
        "$WORK/servers"
}

# without_remarks CONFIG: what of it haproxy takes notice of.
without_remarks() { sed '/^ \{1,\}#/d' "$1"; }

# True when haproxy runs the new configuration already, whatever its remarks say.
runs_already() {
    [ -f "$HAPROXY_CFG" ] || return 1
    [ -n "$OLD_MASTER" ] || return 1
    [ ! -e "$WORK/acl.changed" ] || return 1
    [ "$(cat "$APPLIED" 2>/dev/null)" = "$(sha256sum <"$HAPROXY_CFG")" ] || return 1
    without_remarks "$HAPROXY_CFG" >"$WORK/plain.old"
    without_remarks "$WORK/new.cfg" >"$WORK/plain.new"
    cmp -s "$WORK/plain.old" "$WORK/plain.new" && all_accept
}

# put_in_place FILE [no]: haproxy.cfg is replaced as a whole; with `no` a later failure does not bring the old one back.
put_in_place() {
    phase write
    chmod 0600 "$1"
    cp "$1" "$CFG_FOLDER/.k3s-ha.new" || fail "haproxy.cfg could not be written ($(free_space "$CFG_FOLDER"))" \
        "free some space on the host and run pulumi up again"
    flush_to_disk "$CFG_FOLDER/.k3s-ha.new"
    replaced=${2:-yes}
    mv -f "$CFG_FOLDER/.k3s-ha.new" "$HAPROXY_CFG"
}

# write_remarks: of a configuration that runs already.
write_remarks() {
    keep_acl_files
    if cmp -s "$WORK/new.cfg" "$HAPROXY_CFG"; then
        chmod 0600 "$HAPROXY_CFG"
    else
        put_in_place "$WORK/new.cfg" no
        printf '%s\n' "$sum" >"$APPLIED"
    fi
}

# check_config: haproxy's own check of the new configuration.
check_config() {
    phase "haproxy -c"
    make_socket_folder "$WORK/new.cfg"
    hand_over_states "$WORK/new.cfg"
    if ! "$HAPROXY_BIN" -c -f "$WORK/new.cfg" >"$WORK/check" 2>&1; then
        mask <"$WORK/check" | sed "s|$WORK/new.cfg|haproxy.cfg|; s/^/    /" | grep -E 'ALERT|WARNING|rror' |
            tail -n 20 >&2 || true
        fail "haproxy refuses the new configuration; the old one stays" \
            "correct k3s-ha:proxy in the stack config; the lines are those of the file that 'pulumi preview --diff'" \
            "shows"
    fi
    if grep -q WARNING "$WORK/check"; then
        grep WARNING "$WORK/check" | mask | sed "s|$WORK/new.cfg|haproxy.cfg|; s/^/k3s-ha: /" >&2
    fi
}

# take_effect: haproxy reloads or starts, and its new worker serves. Sets done to what it did.
take_effect() {
    if [ -n "$OLD_MASTER" ]; then action=reload done=reloaded; else action=start done=started; fi
    phase "$action"
    # Its last words are part of a failure from here on.
    if [ -z "$RELOAD" ]; then UNIT=haproxy.service; fi
    if ! service "$action" >"$WORK/service" 2>&1 9>&-; then
        mask <"$WORK/service" | sed 's/^/    /' >&2
        fail "haproxy did not $action; the old configuration is back" "look at 'journalctl -u haproxy' on the host"
    fi
    wait_for "$WAIT" new_worker_or_gone || true
    # It was about to stop when it was told to reload.
    if [ "$action" = reload ] && [ -z "$(main_pid)" ]; then
        action=start done=started
        phase start
        service start >"$WORK/service" 2>&1 9>&- || true
    fi
    if ! wait_for "$WAIT" new_worker; then
        still=${OLD_WORKER:+ (worker $OLD_WORKER still serves)}
        fail "no new worker within $WAIT s$still; the old configuration is back" \
            "look at 'journalctl -u haproxy' on the host"
    fi
    if ! wait_for "$WAIT" all_accept; then
        fail "nothing accepts connections at $(cat "$WORK/deaf"); the old configuration is back" \
            "compare the addresses in k3s-ha:proxy with the bind lines of k3s-ha:proxy.haproxy"
    fi
    bad=$(failed_reloads)
    [ -z "$bad" ] ||
        fail "haproxy counts $bad failed reloads; the old configuration is back" \
            "look at 'journalctl -u haproxy' on the host"
}

apply() {
    phase render
    [ -s "$1" ] || fail "there is no template $1" "run pulumi up again"
    version=$("$HAPROXY_BIN" -v 2>/dev/null | sed -n 's/^HA-*Proxy version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    [ -n "$version" ] ||
        fail "haproxy does not run: $("$HAPROXY_BIN" -v 2>&1 | head -n 1)" "install the distribution's package haproxy"
    command -v socat >/dev/null 2>&1 || fail "the command socat is missing" "install the distribution's package socat"

    make_folder "$CFG_FOLDER"
    begin_with "$CFG_FOLDER/.k3s-ha."
    lock_file "$CFG_FOLDER/.k3s-ha.lock" 120
    # What an older version of this program left when it was killed.
    rm -rf "$CFG_FOLDER"/.k3s-ha.??????

    render_config "$1"
    sum=$(sha256sum <"$WORK/new.cfg")
    OLD_MASTER=$(main_pid)
    OLD_WORKER=$(worker_pid || true)
    write_acl_files
    if runs_already; then
        write_remarks
        result unchanged
        return
    fi

    check_config
    check_listeners "$WORK/new.cfg"
    if [ -f "$HAPROXY_CFG" ]; then
        had_old=yes
        cp -p "$HAPROXY_CFG" "$WORK/old.cfg"
    fi
    rm -f "$APPLIED"
    put_in_place "$WORK/new.cfg"
    take_effect

    replaced=no
    forget_states
    keep_acl_files
    (umask 077 && mkdir -p "$(dirname "$APPLIED")")
    printf '%s\n' "$sum" >"$APPLIED"
    result "$done"
}

# undo STATUS: whatever ended the run, without a confirmed new configuration the old one is in place and runs (lib.sh
# calls it).
undo() {
    if [ "$1" != 0 ] && [ -s "$WORK/states" ]; then forget_states; fi
    restore_acl_files
    if [ "$replaced" = yes ]; then
        if [ "$had_old" = yes ]; then
            cp -p "$WORK/old.cfg" "$CFG_FOLDER/.k3s-ha.new"
            mv -f "$CFG_FOLDER/.k3s-ha.new" "$HAPROXY_CFG"
            # The master of a failed reload runs on without a configuration of its own; the old one brings it back.
            if [ -n "$OLD_MASTER" ]; then service reload >/dev/null 2>&1 9>&- || true; fi
        else
            rm -f "$HAPROXY_CFG"
        fi
    fi
    rm -f "$CFG_FOLDER/.k3s-ha.new"
}

remove() {
    remove_acl_files "$HAPROXY_CFG"
    rm -f "$APPLIED" "$STATE_FILE" /etc/tmpfiles.d/k3s-ha-haproxy.conf "$CFG_FOLDER/.k3s-ha.lock"
    rm -rf "$CFG_FOLDER"/.k3s-ha.*.?????? "$CFG_FOLDER"/.k3s-ha.??????
}

main() {
    case ${1-} in
        remove) remove ;;
        "" | -*)
            say "usage: haproxy-apply.sh TEMPLATE | haproxy-apply.sh remove"
            exit 2
            ;;
        *) apply "$1" ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = haproxy-apply.sh ]; then main "$@"; fi
