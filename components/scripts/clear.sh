# shellcheck shell=sh
# Emptying folders of k3s's where a host has them as links to another disk or as mount points, and where others have
# mounted below them: a volume that a dead pod left mounted is somebody's data.
MOUNTS=${MOUNTS:-/proc/self/mounts}
# What k3s has outside of its data and its settings.
OTHER_FOLDERS="/var/lib/kubelet /etc/rancher/node /run/k3s /run/flannel"

# mounts_below FOLDER: what is mounted below it, one path a line; FOLDER is a real path.
mounts_below() {
    awk -v top="$1/" \
        '{ path = $2; gsub(/\\040/, " ", path); gsub(/\\134/, "\\", path); if (index(path, top) == 1) print path }' \
        "$MOUNTS"
}

# kept_files: what the steps manifests and stage have put into k3s's folders, as real paths; their own removals take it,
# and a k3s that is installed again needs it.
kept_files() {
    cat "$STATE/manifests" "$STATE/images" 2>/dev/null | sed 's/^[0-9a-f]* //' | while read -r kept_file; do
        readlink -f "$kept_file" || true
    done
}

# clear_folder FOLDER: deletes what is in the folder and, if it is a link, in the one that it names. What is mounted
# below it stays, also where it is of the same file system (a bind mount), and so do kept_files.
clear_folder() {
    : >"$WORK/mounts"
    clear_real=$(readlink -f "$1" 2>/dev/null) && [ -d "$clear_real" ] && [ "$clear_real" != / ] || return 0
    mounts_below "$clear_real" >"$WORK/mounts"
    set --
    while read -r clear_mount; do
        # -path takes a pattern.
        clear_mount=$(printf '%s\n' "$clear_mount" | sed 's/[][*?\\]/\\&/g')
        set -- "$@" ! -path "$clear_mount" ! -path "$clear_mount/*"
    done <"$WORK/mounts"
    kept_files >"$WORK/kept"
    while read -r clear_kept; do set -- "$@" ! -path "$clear_kept"; done <"$WORK/kept"
    # Folders above a mount are not empty.
    find "$clear_real" -xdev -depth -mindepth 1 "$@" -delete 2>/dev/null || true
}

# clear_etcd: k3s's datastore, which people like to have on a disk of its own.
clear_etcd() {
    clear_folder "$DATA/server/db/etcd"
    clear_folder "$DATA/server/db"
}

# clear_server: the same with all that a server keeps next to it.
clear_server() {
    clear_etcd
    clear_folder "$DATA/server"
    rmdir "$DATA/server" 2>/dev/null || true
}

# clear_k3s: all of k3s's data; says which file systems keep theirs (storage of local volumes, say).
clear_k3s() {
    clear_server
    for clear_dir in "$DATA/agent/containerd" "$DATA/agent" "$DATA" "$CONF" $OTHER_FOLDERS; do
        clear_folder "$clear_dir"
        while read -r clear_mount; do
            if [ -n "$(find "$clear_mount" -mindepth 1 -maxdepth 1 2>/dev/null | head -n 1)" ]; then
                echo "$clear_mount"
            fi
        done <"$WORK/mounts"
    done | sort -u | while read -r clear_mount; do
        say "$NODE: $clear_mount is mounted there and keeps what is in it"
    done
}
