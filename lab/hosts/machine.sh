# shellcheck shell=bash
# The one setting of the machine that the lab changes, and changes back with the last lab's end: how many inotify
# instances root may have. The kernel counts those of all hosts together; a host needs 7, with k3s up to 20, and beyond
# the limit (128 on many machines) systemd fails in odd ways.
INOTIFY_LIMIT=/proc/sys/fs/inotify/max_user_instances
INOTIFY_WANTED=8192
INOTIFY_BEFORE=/run/k3s-ha-lab.inotify

inotify_raise() {
    local before
    before=$(<"$INOTIFY_LIMIT")
    ((before < INOTIFY_WANTED)) || return 0
    [[ -e $INOTIFY_BEFORE ]] || echo "$before" >"$INOTIFY_BEFORE"
    echo "$INOTIFY_WANTED" >"$INOTIFY_LIMIT" ||
        fail "fs.inotify.max_user_instances is $before and cannot be raised; many hosts need more"
}

# inotify_restore: when no lab of any name is left.
inotify_restore() {
    local mountpoint labs _
    [[ -e $INOTIFY_BEFORE ]] || return 0
    while read -r _ mountpoint; do
        labs=("$mountpoint"/lab-*/)
        ((${#labs[@]} == 0)) || return 0
    done <<<"$(cgroup_hierarchies)"
    cat "$INOTIFY_BEFORE" >"$INOTIFY_LIMIT"
    rm -f "$INOTIFY_BEFORE"
}
