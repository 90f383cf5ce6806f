# shellcheck shell=bash
# A host's disk: an ext4 file system of LAB_DISK in a sparse file. It holds what the host changes of the base image
# (overlay) and, since an overlay cannot lie on an overlay, /var/lib/rancher and /var/lib/kubelet.

disk_mounted() { mountpoint -q "$HOSTS_DIR/$1/disk"; }
root_mounted() { mountpoint -q "$HOSTS_DIR/$1/root"; }

# disk_up HOST: mounted, made when there is none. Without journal and barriers: what the host wrote is in the machine's
# page cache and outlives every death of the host; only a death of the machine would lose it.
disk_up() {
    local folder=$HOSTS_DIR/$1
    mkdir -p "$folder/disk" "$folder/root"
    if [[ ! -e $folder/disk.img ]]; then
        truncate -s "$LAB_DISK" "$folder/disk.img.new"
        mkfs.ext4 -q -F -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard "$folder/disk.img.new" >&2
        base_image >"$folder/base" # a disk stays with the base image it was made on
        mv "$folder/disk.img.new" "$folder/disk.img"
    fi
    if ! disk_mounted "$1"; then
        # See host_cleanup; neither mount nor fsck would notice.
        wait_for 10 disk_detached "$1" || fail "$1: its disk is still in use in another mount namespace"
        e2fsck -p "$folder/disk.img" >/dev/null || (($? < 4)) || fail "$1: its disk is damaged (lab/lab reset $1 makes a new one)"
        mount -o loop,noatime,barrier=0,discard "$folder/disk.img" "$folder/disk"
        mkdir -p "$folder"/disk/{upper,work,rancher,kubelet}
    fi
    [[ -d $(<"$folder/base") ]] || fail "$1: the base image of its disk is gone: lab/lab reset $1"
    root_mounted "$1" || mount -t overlay "lab-$LAB_NAME-$1" -o \
        "lowerdir=$(<"$folder/base"),upperdir=$folder/disk/upper,workdir=$folder/disk/work" "$folder/root"
}

disk_detached() { [[ -z $(losetup --associated "$HOSTS_DIR/$1/disk.img") ]]; }

# unmount_below FOLDER: every mount there, the last one first; within 10 s.
unmount_below() {
    local mountpoint
    while read -r mountpoint; do
        wait_for 10 umount --quiet "$mountpoint" 2>/dev/null || fail "$mountpoint cannot be unmounted: $(umount "$mountpoint" 2>&1)"
    done < <(awk -v below="$1/" 'index($5 "/", below) == 1 { print $5 }' /proc/self/mountinfo | tac)
}

disk_remove() {
    unmount_below "$HOSTS_DIR/$1"
    rm -rf --one-file-system "${HOSTS_DIR:?}/$1"/{disk,root,disk.img,disk.img.new,base,created,.#root.lck}
}

# disk_fill HOST / disk_unfill HOST: the last byte taken by a file that the host does not see.
disk_fill() {
    local file=$HOSTS_DIR/$1/disk/fill available
    available=$(df --output=avail --block-size=1 "$HOSTS_DIR/$1/disk" | tail -1)
    ((available == 0)) || fallocate --length "$available" --offset "$(stat -c %s "$file" 2>/dev/null || echo 0)" "$file" 2>/dev/null || true
    # What is left is less than fallocate needs for its own bookkeeping.
    dd if=/dev/zero bs=4k status=none 2>/dev/null >>"$file" || true
    available=$(df --output=avail --block-size=1 "$HOSTS_DIR/$1/disk" | tail -1)
    ((available == 0)) || fail "$1: $available bytes of its disk are still free"
}
disk_unfill() { rm -f "$HOSTS_DIR/$1/disk/fill"; }
