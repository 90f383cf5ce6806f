#!/bin/sh
# Step haproxy: the distribution's package, the node's haproxy.cfg, a service that runs it.
# apply: stdin is a bundle. render: the kept configuration once more, after the CA became known. remove: as it was
# before (called by prepare.sh).
# settle: the end of a changed readiness mode. The resource of this step is replaced then, and Pulumi deletes the old
# one after all servers have changed: that deletion runs this, on all hosts. Until then both modes' answers are
# accepted.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/packages.sh"

CFG=/etc/haproxy/haproxy.cfg
DROPIN=/etc/systemd/system/haproxy.service.d/k3s-ha.conf
KEPT=$STATE/haproxy
settling=no

# What stood there before us comes back at the removal; a package that we brought takes its own file along.
keep_original() {
    [ ! -e "$KEPT/kept" ] || return 0
    mkdir -p "$KEPT"
    if command -v haproxy >/dev/null 2>&1; then
        systemctl is-enabled haproxy >"$KEPT/was-enabled" 2>/dev/null || true
        systemctl is-active haproxy >"$KEPT/was-active" 2>/dev/null || true
        # Moved aside by the user, who was asked to (foreign.sh).
        if [ -f "$CFG" ]; then
            cp -p "$CFG" "$KEPT/original.cfg"
        elif [ -f "$CFG.before-k3s-ha" ]; then
            mv "$CFG.before-k3s-ha" "$KEPT/original.cfg"
        fi
    fi
    : >"$KEPT/kept"
}

# After a boot an address may come late, and the package's unit gives up after five tries: here it tries on. The page's
# own address does not stop haproxy (`transparent`), one in the user's sections may.
write_dropin() {
    {
        unit=$(setting vpn-unit)
        echo "[Unit]"
        [ -z "$unit" ] || printf 'After=%s\nWants=%s\n' "$unit" "$unit"
        printf 'StartLimitIntervalSec=0\n\n[Service]\nRestart=always\nRestartSec=1\n'
    } >"$WORK/dropin"
    before=$CHANGED
    put "$WORK/dropin" "$DROPIN" 0644
    [ "$CHANGED" = "$before" ] || systemctl daemon-reload
}

# The file as it is in force: while servers change their readiness mode, the check accepts the former code too.
in_force() {
    if [ -s "$KEPT/also-expect" ] && [ "$settling" = no ]; then
        sed "s/^\( *http-check expect status [0-9]*\)\( .*\)*\$/\1,$(cat "$KEPT/also-expect")\2/" "$KEPT/desired.cfg"
    else
        cat "$KEPT/desired.cfg"
    fi >"$WORK/in-force.cfg"
}

note_mode_change() {
    code=$(setting expect)
    former=$(cat "$KEPT/expect" 2>/dev/null || true)
    if [ -n "$former" ] && [ "$former" != "$code" ]; then printf '%s\n' "$former" >"$KEPT/also-expect"; fi
    printf '%s\n' "$code" >"$KEPT/expect"
}

# Servers that still give the former code.
not_changed() {
    awk -v backend="$(cat "$KEPT/backend")" \
        '$1 == "backend" { mine = ($2 == backend) } mine && $1 == "server" { print $2, $3 }' "$KEPT/desired.cfg" |
        while read -r name address; do
            if [ "$(curl -sk -o /dev/null -w '%{http_code}' --max-time 3 "https://$address/readyz" 2>/dev/null)" = \
                "$(cat "$KEPT/also-expect")" ]; then
                echo "$name"
            fi
        done >"$WORK/not-changed"
    [ -s "$WORK/not-changed" ]
}
all_changed() { ! not_changed; }

settle() {
    begin
    if [ ! -s "$KEPT/also-expect" ]; then
        echo "haproxy: nothing to settle"
        return
    fi
    NODE=$(cat "$KEPT/node")
    lock haproxy 180
    wait_for 60 all_changed ||
        fail "these servers still answer as in the former readiness mode: $(tr '\n' ' ' <"$WORK/not-changed")" \
            "run pulumi up again; until then the proxy of this host accepts both answers"
    # Forgotten only when the new file is in force: the run after a failure settles it.
    settling=yes
    render
    rm -f "$KEPT/also-expect"
}

# keep_lists: the ACL files of the bundle, for this run and for `render`; see haproxy-acl.sh.
keep_lists() {
    mkdir "$WORK/acl"
    setting acl | while read -r owner group mode path; do
        [ -n "$path" ] || continue
        number=$((${number:-0} + 1))
        cp "$(bundle_file "$path")" "$WORK/acl/$number"
        printf '%s %s %s %s %s\n' "$number" "$owner" "$group" "$mode" "$path" >>"$WORK/acl/list"
    done
    # What a run leaves that is cut off here is found by render.
    rm -rf "$KEPT/acl.old"
    if [ -e "$KEPT/acl" ]; then mv "$KEPT/acl" "$KEPT/acl.old"; fi
    if [ -f "$WORK/acl/list" ]; then mv "$WORK/acl" "$KEPT/acl"; fi
    rm -rf "$KEPT/acl.old"
}

render() {
    in_force
    [ -e "$KEPT/acl" ] || [ ! -e "$KEPT/acl.old" ] || mv "$KEPT/acl.old" "$KEPT/acl"
    ACL_FILES=$KEPT/acl BACKEND=$(cat "$KEPT/backend") CA_FILE=$(cat "$KEPT/ca-file") NODE_NAME=$NODE \
    LISTEN=$(cat "$KEPT/listen") \
        sh "$KIT/haproxy-apply.sh" "$WORK/in-force.cfg" || {
        failure_shown
        exit 1
    }
    {
        echo "package haproxy"
        files_present "$CFG" "$DROPIN"
        # shellcheck disable=SC2046
        if [ -f "$KEPT/acl/list" ]; then files_present $(cut -d ' ' -f 5 "$KEPT/acl/list"); fi
        echo "unit haproxy.service"
    } | remember haproxy
}

apply() {
    begin
    unpack
    lock haproxy 180
    UNIT=""
    keep_original
    install_packages haproxy
    check_haproxy
    write_dropin
    setting backend >"$KEPT/backend"
    setting ca-file >"$KEPT/ca-file"
    setting listen >"$KEPT/listen"
    printf '%s\n' "$NODE" >"$KEPT/node"
    note_mode_change
    put "$(bundle_file "$CFG")" "$KEPT/desired.cfg" 0600
    keep_lists
    systemctl -q enable haproxy 2>/dev/null || systemctl enable haproxy >&2
    render
}

remove() {
    begin
    UNIT=""
    sh "$KIT/haproxy-apply.sh" remove
    if [ -s "$KEPT/original.cfg" ]; then
        cp -p "$KEPT/original.cfg" "$CFG"
        if grep -qx active "$KEPT/was-active" 2>/dev/null; then
            systemctl reload-or-restart haproxy || true
        else
            systemctl stop haproxy || true
        fi
        grep -qx enabled "$KEPT/was-enabled" 2>/dev/null || systemctl -q disable haproxy 2>/dev/null || true
    else
        timeout 60 systemctl stop haproxy 2>/dev/null || true
    fi
    if [ -s "$KEPT/ca-file" ]; then rm -f "$(cat "$KEPT/ca-file")"; fi
    rm -f "$DROPIN"
    rmdir "${DROPIN%/*}" 2>/dev/null || true
    systemctl daemon-reload
    rm -rf "$KEPT" "$STATE/haproxy.lock" "$STATE/applied/haproxy"
    echo "haproxy: removed"
}

main() {
    case ${1-} in
        apply) apply ;;
        render)
            begin
            NODE=$(cat "$KEPT/node")
            render
            ;;
        settle) settle ;;
        remove) remove ;;
        *)
            say "usage: haproxy.sh apply|render|settle|remove"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = haproxy.sh ]; then main "$@"; fi
