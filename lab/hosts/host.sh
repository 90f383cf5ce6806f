# shellcheck shell=bash
# A host: a systemd-nspawn container with systemd, sshd, its own disk (disk.sh), link (network.sh) and cgroups (cgroup.sh).
# State in $HOSTS_DIR/NAME: nspawn.pid, console.log, keys/ (SSH host keys), disk.img, created, cut, netem.

# host_load NAME: sets HOST and ADDRESS.
host_load() {
    [[ -s $HOSTS_LIST ]] || fail "this lab has no hosts yet: lab/lab hosts up"
    while read -r HOST _ ADDRESS; do
        [[ $HOST != "$1" ]] || return 0
    done <"$HOSTS_LIST"
    fail "no host $1 in this lab; it has: $(cut -d' ' -f1 "$HOSTS_LIST" | paste -sd' ')"
}

host_running() { process_alive "$HOSTS_DIR/$1/nspawn.pid"; }

# host_leader HOST: pid of its init: supervising shell → nspawn → init. Asked anew each time, since hosts can reboot.
host_leader() {
    local pid child children line
    host_running "$1" || return 1
    # These files end without a line end, hence read's status says nothing.
    { read -r pid _ <"/proc/$PROCESS_PID/task/$PROCESS_PID/children" || [[ -n $pid ]]; } 2>/dev/null || return 1
    { read -ra children <"/proc/$pid/task/$pid/children" || ((${#children[@]})); } 2>/dev/null || return 1
    for child in "${children[@]}"; do
        # nspawn has other children while it starts; the init is process 1 of its own namespace.
        while read -ra line; do
            [[ ${line[0]-} == NSpid: && ${#line[@]} -ge 3 && ${line[-1]} == 1 ]] || continue
            echo "$child"
            return
        done 2>/dev/null <"/proc/$child/status" || true
    done
    return 1
}

# host_check HOST: systemds that share a cgroup kill each other's services, so better no host than such a one.
host_check() {
    local leader
    leader=$(host_leader "$1") || fail "$1 has no init"
    grep -q "^[0-9]*:\(name=systemd\)\?:/lab-$LAB_NAME/$1/" "/proc/$leader/cgroup" ||
        fail "$1 is not in cgroups of its own (started by another version of the lab?): lab/lab hosts down $1, then up"
}

host_state() {
    if ! host_running "$1"; then
        echo stopped
    elif cgroup_frozen "$1"; then
        echo paused
    elif [[ -e $HOSTS_DIR/$1/cut ]]; then
        echo cut
    else
        echo running
    fi
}

# host_inside HOST COMMAND…: in all its namespaces and its cgroup, as its root, with a login's environment.
host_inside() {
    local leader host=$1
    shift
    leader=$(host_leader "$host") || fail "$host is not running"
    cgroup_enter "$host/exec" 2>/dev/null || fail "$host is going down"
    exec nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root -- \
        /usr/bin/env --chdir=/root -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 ${TERM:+"TERM=$TERM"} \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# What makes this host of the base image; once per disk.
host_personalize() {
    local root=$HOSTS_DIR/$1/root user keys=$HOSTS_DIR/$1/keys
    [[ ! -e $HOSTS_DIR/$1/created ]] || return 0
    echo "$1" >"$root/etc/hostname"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    : >"$root/etc/resolv.conf" # no DNS, as in many a VPN; names are in /etc/hosts
    printf '[Match]\nName=host0\n\n[Network]\nAddress=%s/32\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Route]\nGateway=%s\nGatewayOnLink=yes\n' \
        "$2" "$ROUTER_ADDRESS" >"$root/etc/systemd/network/10-lab.network"
    echo "deb [trusted=yes] http://$ROUTER_ADDRESS:8081 ./" >"$root/etc/apt/sources.list"
    install -m 600 "$LAB_DIR/ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
    for user in deploy nosudo; do
        install -m 600 "$LAB_DIR/ssh/id_ed25519.pub" "$root/home/$user/.ssh/authorized_keys"
        chown --reference="$root/home/$user/.ssh" "$root/home/$user/.ssh/authorized_keys"
    done
    install -m 600 "$keys"/ssh_host_*_key "$root/etc/ssh/"
    install -m 644 "$keys"/ssh_host_*_key.pub "$root/etc/ssh/"
    touch "$HOSTS_DIR/$1/created"
}

# The names of all hosts of the lab, between two marks in /etc/hosts; also when hosts were added later.
host_names() {
    local file=$HOSTS_DIR/$1/root/etc/hosts wanted
    wanted=$(
        [[ ! -e $file ]] || sed '/^# lab: begin/,/^# lab: end/d' "$file"
        echo "# lab: begin"
        awk '{ print $3, $1 }' "$HOSTS_LIST"
        echo "# lab: end"
    )
    grep -qs localhost "$file" || wanted=$'127.0.0.1 localhost\n'$wanted
    [[ $wanted == "$(cat "$file" 2>/dev/null)" ]] || printf '%s\n' "$wanted" >"$file"
}

host_keys() {
    local keys=$HOSTS_DIR/$1/keys type bits
    # All that a distribution makes: a client that pins one must ask for that one.
    for type in ed25519 ecdsa rsa; do
        bits=
        [[ $type != rsa ]] || bits=2048 # 3072, the default, takes seconds for five hosts
        [[ -s $keys/ssh_host_${type}_key.pub ]] && continue
        mkdir -p "$keys"
        rm -f "$keys/ssh_host_${type}_key"
        ssh-keygen -q -t "$type" ${bits:+-b "$bits"} -N '' -C "root@$1" -f "$keys/ssh_host_${type}_key"
    done
}

known_hosts() {
    local name address _
    while read -r name _ address; do
        [[ ! -s $HOSTS_DIR/$name/keys/ssh_host_ed25519_key.pub ]] ||
            echo "$address $(cut -d' ' -f1,2 "$HOSTS_DIR/$name/keys/ssh_host_ed25519_key.pub")"
    done <"$HOSTS_LIST" >"$LAB_DIR/ssh/known_hosts.new"
    mv "$LAB_DIR/ssh/known_hosts.new" "$LAB_DIR/ssh/known_hosts"
}

_host_booted() {
    local leader state
    host_running "$1" || fail "$1 ended while starting, see $HOSTS_DIR/$1/console.log"
    leader=$(host_leader "$1") || return 1
    state=$(nsenter --target "$leader" --all -- systemctl is-system-running 2>/dev/null) || true
    case $state in
    running) ;;
    degraded) say "$1: degraded: $(nsenter --target "$leader" --all -- systemctl --failed --plain --no-legend | awk '{ print $1 }' | paste -sd' ')" ;;
    *) return 1 ;;
    esac
}
_host_sshd() {
    local banner
    banner=$(nsenter --net="/run/netns/$(host_netns "$1")" timeout 2 bash -c \
        "exec 3<>/dev/tcp/$2/22 && head -c 4 <&3" 2>/dev/null) && [[ $banner == SSH- ]]
}

# host_boot and all below: HOST and ADDRESS are those of host_load.
host_boot() {
    host_power
    # Also for a host that was launched by a command that was killed before it could wait for it.
    wait_for 120 _host_booted "$HOST" || fail "$HOST does not start within 120 s, see $HOSTS_DIR/$HOST/console.log"
    host_check "$HOST"
    host_answers 20
}
host_power() {
    mkdir -p "$HOSTS_DIR/$HOST"
    host_running "$HOST" || host_launch
}
# host_answers SECONDS
host_answers() {
    wait_for "$1" _host_sshd "$HOST" "$ADDRESS" || fail "$HOST: sshd does not answer, see $HOSTS_DIR/$HOST/console.log"
    touch "$HOSTS_DIR/$HOST/ready"
}
host_ready() { [[ -e $HOSTS_DIR/$1/ready ]] && host_running "$1"; }

host_launch() {
    local folder=$HOSTS_DIR/$HOST
    host_cleanup
    host_keys "$HOST"
    [[ -e $folder/created ]] || disk_remove "$HOST"
    disk_up "$HOST"
    host_personalize "$HOST" "$ADDRESS"
    host_names "$HOST"
    link_up "$HOST" "$ADDRESS"
    if [[ -e $folder/cut ]]; then link_cut "$ADDRESS"; else link_heal "$ADDRESS"; fi
    # shellcheck disable=SC2046
    [[ ! -e $folder/netem ]] || link_netem "$HOST" "$ADDRESS" $(<"$folder/netem")
    cgroup_make "$HOST"
    # nspawn leaves a reboot (133) to who started it. Its network is entered with nsenter, since "ip netns exec" would
    # hide /sys/fs/cgroup. Registration, units and journals are those of a machine's systemd, which need not be there.
    # shellcheck disable=SC2016
    process_start "$folder/nspawn.pid" "$folder/console.log" bash -c '
        . "$LAB_ROOT/lab/hosts/settings.sh"; . "$LAB_ROOT/lab/hosts/cgroup.sh"
        host=$1
        shift
        code=133
        while ((code == 133)); do
            code=0
            (cgroup_enter "$host" && exec "$@") || code=$?
        done
        exit "$code"' "lab-$LAB_NAME-$HOST" "$HOST" \
        nsenter --net="/run/netns/$(host_netns "$HOST")" \
        env -i PATH="$PATH" SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn --quiet --settings=no --boot \
        --register=no --keep-unit --console=pipe --capability=all --machine="$LAB_NAME-$HOST" --hostname="$HOST" \
        --directory="$folder/root" --link-journal=no --resolv-conf=off --timezone=off --bind=/dev/kmsg \
        --bind="$folder/disk/rancher:/var/lib/rancher" --bind="$folder/disk/kubelet:/var/lib/kubelet"
}

# What is left of a host that is not running. Its disk stays, and stays mounted: an unmount here would not reach the
# copies that other mount namespaces may have for a while, and a second mount beside these would destroy it.
host_cleanup() {
    rm -f "$HOSTS_DIR/$HOST"/{nspawn.pid,ready}
    cgroup_remove "$HOST"
    link_down "$HOST" "$ADDRESS"
    # What nspawn would have removed had it not been killed. Its lock is named after the root folder's device and inode.
    rm -rf "/run/systemd/nspawn/propagate/$LAB_NAME-$HOST" "/run/systemd/nspawn/unix-export/$LAB_NAME-$HOST"
    if root_mounted "$HOST"; then rm -f "/run/systemd/nspawn/locks/inode-$(stat -c %d:%i "$HOSTS_DIR/$HOST/root")"; fi
}

# host_kill: as if the power went: first the link, so that nobody hears of it, then every process at once.
host_kill() {
    local leader
    if host_running "$HOST"; then
        [[ ! -e /run/netns/$ROUTER_NETNS ]] || link_cut "$ADDRESS"
        ! leader=$(host_leader "$HOST") || kill -s KILL "$leader" 2>/dev/null || true
        if cgroup_frozen "$HOST"; then cgroup_freeze "$HOST" 0; fi
        wait_for 5 process_gone "$HOSTS_DIR/$HOST/nspawn.pid" || process_end "$HOSTS_DIR/$HOST/nspawn.pid" KILL
    fi
    host_cleanup
}

host_stop() {
    local leader
    host_running "$HOST" || { host_cleanup; return 0; }
    ! cgroup_frozen "$HOST" || fail "$HOST is paused: resume it first, or kill it"
    leader=$(host_leader "$HOST") || fail "$HOST has no init"
    kill -s RTMIN+4 "$leader" # systemd's poweroff.target
    wait_for 120 process_gone "$HOSTS_DIR/$HOST/nspawn.pid" || fail "$HOST does not stop within 120 s"
    host_cleanup
}

host_destroy() {
    host_kill
    disk_remove "$HOST"
    rm -f "$HOSTS_DIR/$HOST"/{cut,netem,console.log}
}

host_fault() {
    local folder=$HOSTS_DIR/$HOST fault=$1
    shift
    case $fault in
    slow | loss)
        [[ $# == 1 && $1 =~ ^[0-9]+$ ]] || fail "usage: lab/lab fault HOST slow MS | loss PERCENT"
        [[ $fault == slow || $1 -le 100 ]] || fail "loss $1: at most 100 percent"
        ;;
    *) (($# == 0)) || fail "usage: lab/lab fault HOST $fault" ;;
    esac
    case $fault in
    start)
        host_boot
        return
        ;;
    power)
        # Units that wait for what they cannot have are no reason to wait.
        host_power
        host_answers 60
        return
        ;;
    kill)
        host_kill
        return
        ;;
    stop)
        host_stop
        return
        ;;
    cut)
        touch "$folder/cut"
        if host_running "$HOST"; then link_cut "$ADDRESS"; fi
        return
        ;;
    heal)
        rm -f "$folder"/{cut,netem}
        if host_running "$HOST"; then link_heal "$ADDRESS" && link_netem "$HOST" "$ADDRESS"; fi
        return
        ;;
    esac
    host_running "$HOST" || fail "$HOST is not running"
    case $fault in
    pause) cgroup_freeze "$HOST" 1 ;;
    resume) cgroup_freeze "$HOST" 0 ;;
    slow) link_netem "$HOST" "$ADDRESS" delay "$1ms" && echo "delay $1ms" >"$folder/netem" ;;
    loss) link_netem "$HOST" "$ADDRESS" loss "$1%" && echo "loss $1%" >"$folder/netem" ;;
    fill) disk_fill "$HOST" ;;
    unfill) disk_unfill "$HOST" ;;
    *) fail "unknown fault $fault: stop, start, kill, pause, resume, cut, heal, slow MS, loss PERCENT, fill, unfill" ;;
    esac
}
