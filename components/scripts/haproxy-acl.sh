# shellcheck shell=sh
# The ACL files that the configuration carries in comments: written before it is checked, put back when it fails. For
# haproxy-apply.sh.

acl_paths() { sed -n 's|^# file \(/[^ ]*\) [^ ]* [^ ]* [^ ]*$|\1|p' "$1"; }

# haproxy -c opens them, so they come first; what stood there is kept until the new configuration runs.
write_acl_files() {
    phase "ACL files"
    sed -n 's|^# file /|/|p' "$1" >"$WORK/acl.list"
    while read -r path owner group mode; do
        saved=$WORK/acl.$(printf '%s' "$path" | tr / %)
        if [ -e "$path" ]; then cp -p "$path" "$saved.before"; else : >"$saved.absent"; fi
        mkdir -p "$(dirname "$path")"
        awk -v path="$path" '
            /^# file / { on = ($3 == path); next }
            /^# end of file$/ { on = 0 }
            on && /^# \| / { print substr($0, 5) }' "$1" >"$path.k3s-ha"
        chown -- "$owner:$group" "$path.k3s-ha" 2>"$WORK/chown" || {
            rm -f "$path.k3s-ha"
            fail "$(cat "$WORK/chown")" "correct owner and group of $path in acl_files"
        }
        chmod "$mode" "$path.k3s-ha"
        mv -f "$path.k3s-ha" "$path"
        printf '%s\n' "$path" >>"$WORK/acl.written"
    done <"$WORK/acl.list"
}

restore_acl_files() {
    [ -f "$WORK/acl.written" ] || return 0
    while read -r path; do
        saved=$WORK/acl.$(printf '%s' "$path" | tr / %)
        if [ -e "$saved.before" ]; then mv -f "$saved.before" "$path"; else rm -f "$path"; fi
    done <"$WORK/acl.written"
    rm -f "$WORK/acl.written"
}

# remove_old_acl_files OLD NEW: those that only OLD names.
remove_old_acl_files() {
    acl_paths "$1" | while read -r path; do
        acl_paths "$2" | grep -qxF -e "$path" || rm -f "$path"
    done
}
