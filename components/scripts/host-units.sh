# shellcheck shell=sh
# Units that this program brings by itself: the mount of the BPF file system (host.bpffs) and the daily removal of
# images (host.pruneImages). Sourced by prepare.sh after lib.sh.

SYSTEM_UNITS=${SYSTEM_UNITS:-/etc/systemd/system}
BPFFS_UNIT=sys-fs-bpf.mount
# There while this program has mounted it: what was mounted before is not ours to unmount.
BPFFS_MOUNTED=${STATE:-/var/lib/k3s-ha}/bpffs.mounted
# There while the unit is this program's.
BPFFS_OURS=${STATE:-/var/lib/k3s-ha}/bpffs.unit
PRUNE_TIMER=k3s-ha-prune-images.timer
PRUNE_SERVICE=k3s-ha-prune-images.service

# Before what k3s waits for (network-online is after local-fs).
bpffs_unit() {
    cat <<'END'
[Unit]
Description=BPF file system (k3s-ha)
Documentation=https://docs.kernel.org/bpf/
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target

[Mount]
What=bpffs
Where=/sys/fs/bpf
Type=bpf
Options=rw,nosuid,nodev,noexec,relatime,mode=700

[Install]
WantedBy=local-fs.target
END
}

prune_service() {
    cat <<END
[Unit]
Description=Removes images that no container uses (k3s-ha)

[Service]
Type=oneshot
ExecStart=/bin/sh $KIT/prune-images.sh
TimeoutStartSec=1h
Nice=19
IOSchedulingClass=idle
CPUWeight=10
END
}

# Hosts do not all begin at the same time.
prune_timer() {
    cat <<'END'
[Unit]
Description=Removes images that no container uses, once a day (k3s-ha)

[Timer]
OnCalendar=daily
RandomizedDelaySec=6h
AccuracySec=1h
Persistent=true

[Install]
WantedBy=timers.target
END
}

bpffs_is_mounted() {
    awk '$2 == "/sys/fs/bpf" && $3 == "bpf" { f = 1 } END { exit !f }' "${MOUNTS:-/proc/self/mounts}"
}

# Some distributions mount it at boot without a unit: this one then takes that mount over as it is.
apply_bpffs() {
    if [ "$(setting bpffs)" != yes ]; then
        remove_bpffs
        return 0
    fi
    if [ ! -e "$BPFFS_OURS" ] && [ -e "$SYSTEM_UNITS/$BPFFS_UNIT" ]; then
        fail "the host has a unit $SYSTEM_UNITS/$BPFFS_UNIT already" \
            "take it away there (of k3s-ha:host.files too), or leave k3s-ha:host.bpffs out"
    fi
    : >"$BPFFS_OURS"
    bpffs_unit >"$WORK/bpffs.unit"
    before=$CHANGED
    put "$WORK/bpffs.unit" "$SYSTEM_UNITS/$BPFFS_UNIT" 0644
    if [ "$CHANGED" != "$before" ]; then systemctl daemon-reload; fi
    systemctl -q enable "$BPFFS_UNIT" 2>"$WORK/bpffs" ||
        fail "systemd could not enable $BPFFS_UNIT: $(tail -n 1 "$WORK/bpffs")" "run pulumi up again"
    bpffs_is_mounted && return 0
    : >"$BPFFS_MOUNTED"
    timeout 60 systemctl start "$BPFFS_UNIT" 2>"$WORK/bpffs" || true
    bpffs_is_mounted ||
        fail "the BPF file system could not be mounted at /sys/fs/bpf: $(tail -n 1 "$WORK/bpffs")" \
            "the kernel needs CONFIG_BPF_SYSCALL, and a container the right to mount it (systemctl status" \
            "$BPFFS_UNIT); else leave k3s-ha:host.bpffs out"
}

remove_bpffs() {
    [ -e "$BPFFS_OURS" ] || return 0
    systemctl -q disable "$BPFFS_UNIT" 2>/dev/null || true
    if [ -e "$BPFFS_MOUNTED" ] && bpffs_is_mounted; then
        timeout 60 systemctl stop "$BPFFS_UNIT" 2>/dev/null ||
            say "k3s-ha: $NODE: /sys/fs/bpf is in use and stays mounted until the next boot"
    fi
    rm -f "$SYSTEM_UNITS/$BPFFS_UNIT"
    systemctl daemon-reload
    rm -f "$BPFFS_OURS" "$BPFFS_MOUNTED"
}

apply_prune_images() {
    if [ "$(setting prune-images)" != yes ]; then
        remove_prune_images
        return 0
    fi
    prune_service >"$WORK/prune.service"
    prune_timer >"$WORK/prune.timer"
    before=$CHANGED
    put "$WORK/prune.service" "$SYSTEM_UNITS/$PRUNE_SERVICE" 0644
    put "$WORK/prune.timer" "$SYSTEM_UNITS/$PRUNE_TIMER" 0644
    if [ "$CHANGED" != "$before" ]; then systemctl daemon-reload; fi
    { systemctl -q enable "$PRUNE_TIMER" && systemctl start "$PRUNE_TIMER"; } 2>"$WORK/prune" ||
        fail "systemd could not start $PRUNE_TIMER: $(tail -n 1 "$WORK/prune")" "run pulumi up again"
}

remove_prune_images() {
    [ -e "$SYSTEM_UNITS/$PRUNE_TIMER" ] || [ -e "$SYSTEM_UNITS/$PRUNE_SERVICE" ] || return 0
    systemctl -q disable "$PRUNE_TIMER" 2>/dev/null || true
    systemctl stop "$PRUNE_TIMER" "$PRUNE_SERVICE" 2>/dev/null || true
    rm -f "$SYSTEM_UNITS/$PRUNE_TIMER" "$SYSTEM_UNITS/$PRUNE_SERVICE"
    systemctl daemon-reload
}

# units_left: for remember.
units_left() {
    if [ "$(setting bpffs)" = yes ]; then
        files_present "$SYSTEM_UNITS/$BPFFS_UNIT"
        echo "unit $BPFFS_UNIT"
    fi
    if [ "$(setting prune-images)" = yes ]; then
        files_present "$SYSTEM_UNITS/$PRUNE_TIMER" "$SYSTEM_UNITS/$PRUNE_SERVICE"
        echo "unit $PRUNE_TIMER"
    fi
}
