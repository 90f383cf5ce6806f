# shellcheck shell=sh
# ACL files: haproxy -c opens them, so they are written before it runs, and put back when it fails. For
# haproxy-apply.sh. The folder ACL_FILES has a file `list` with a line `NUMBER OWNER GROUP MODE PATH` per file, and the
# contents as files NUMBER; without the folder there are none. ACL_APPLIED has the paths of those in force.

# acl_paths_in_cfg CONFIG: before 0.2 they were comments of the configuration.
acl_paths_in_cfg() { [ ! -f "$1" ] || sed -n 's|^# file \(/[^ ]*\) [^ ]* [^ ]* [^ ]*$|\1|p' "$1"; }

# acl_paths CONFIG: those in force.
acl_paths() {
    cat "$ACL_APPLIED" 2>/dev/null || true
    acl_paths_in_cfg "$1"
}

saved_acl() { printf '%s/acl.%s' "$WORK" "$(printf '%s' "$1" | tr / %)"; }

write_acl_files() {
    phase "ACL files"
    : >"$WORK/acl.list"
    if [ -n "$ACL_FILES" ] && [ -f "$ACL_FILES/list" ]; then cat "$ACL_FILES/list" >"$WORK/acl.list"; fi
    # What the former configuration has as its comments.
    acl_paths "$HAPROXY_CFG" >"$WORK/acl.before"
    while read -r number owner group mode path; do
        saved=$(saved_acl "$path")
        # Noted first: a run that is killed after it has written the list has not made haproxy read it.
        cmp -s "$ACL_FILES/$number" "$path" || {
            : >"$WORK/acl.changed"
            rm -f "$APPLIED"
        }
        if [ -e "$path" ]; then cp -p "$path" "$saved.before"; else : >"$saved.absent"; fi
        mkdir -p "$(dirname "$path")"
        cat "$ACL_FILES/$number" >"$path.k3s-ha"
        chown -- "$owner:$group" "$path.k3s-ha" 2>"$WORK/chown" || {
            rm -f "$path.k3s-ha"
            fail "$(cat "$WORK/chown")" "correct owner and group of $path in acl_files"
        }
        chmod "$mode" "$path.k3s-ha"
        mv -f "$path.k3s-ha" "$path"
        printf '%s\n' "$path" >>"$WORK/acl.written"
    done <"$WORK/acl.list"
}

# keep_acl_files: the configuration that uses them runs; a later failure does not take them back.
keep_acl_files() {
    rm -f "$WORK/acl.written"
    sed 's/^\([^ ]* \)\{4\}//' "$WORK/acl.list" >"$WORK/acl.now"
    while read -r path; do
        grep -qxF -e "$path" "$WORK/acl.now" || rm -f "$path"
    done <"$WORK/acl.before"
    if [ -s "$WORK/acl.now" ]; then put "$WORK/acl.now" "$ACL_APPLIED" 0600; else rm -f "$ACL_APPLIED"; fi
}

restore_acl_files() {
    [ -f "$WORK/acl.written" ] || return 0
    while read -r path; do
        saved=$(saved_acl "$path")
        if [ -e "$saved.before" ]; then mv -f "$saved.before" "$path"; else rm -f "$path"; fi
    done <"$WORK/acl.written"
    rm -f "$WORK/acl.written"
}

remove_acl_files() {
    acl_paths "$1" | while read -r path; do rm -f "$path"; done
    rm -f "$ACL_APPLIED"
}
