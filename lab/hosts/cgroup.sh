# shellcheck shell=bash
# Every host has a cgroup of its own in every hierarchy, below one that carries the lab's name. Without it the hosts'
# systemds share one tree and kill each other's services.

# The mounted hierarchies as "VERSION MOUNTPOINT": v1 controllers, v1 name=systemd, v2 (the only one on newer machines).
cgroup_hierarchies() {
    local fields type
    while read -r -a fields; do
        type=" ${fields[*]} "
        type=${type#* - }
        case ${fields[4]}:$type in
        /sys/fs/cgroup*:"cgroup2 "*) echo "2 ${fields[4]}" ;;
        /sys/fs/cgroup*:"cgroup "*) echo "1 ${fields[4]}" ;;
        esac
    done <<<"$(</proc/self/mountinfo)" # at once: read would seek in it, and lose its place when mounts come and go
}

# cgroup_make NAME: below the lab's cgroup in every hierarchy.
cgroup_make() {
    local version mountpoint group controller parent
    while read -r version mountpoint; do
        parent=$mountpoint
        for group in "$mountpoint/lab-$LAB_NAME" "$mountpoint/lab-$LAB_NAME/$1"; do
            mkdir -p "$group"
            if [[ $version == 1 && -e $group/cpuset.cpus ]]; then
                # Empty at first, and no process may enter before they are filled.
                [[ -n $(<"$group/cpuset.cpus") ]] || cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
                [[ -n $(<"$group/cpuset.mems") ]] || cat "$parent/cpuset.mems" >"$group/cpuset.mems"
                echo 1 >"$group/cgroup.clone_children" # so that cgroups made inside are filled, too
            elif [[ $version == 2 && $mountpoint == /sys/fs/cgroup ]]; then
                # Not beside v1, where the controllers are. One by one: a controller that cannot be had below a busy parent must not cost the others.
                for controller in $(<"$parent/cgroup.controllers"); do
                    echo "+$controller" 2>/dev/null >"$parent/cgroup.subtree_control" || true
                done
            fi
            if [[ $parent == "$mountpoint" ]]; then _cgroup_weigh "$group"; fi
            parent=$group
        done
    done <<<"$(cgroup_hierarchies)"
}

# _cgroup_weigh GROUP: all hosts together weigh as much as eight busy threads of the machine. By default they weigh as much as one: then
# a deployer with some threads starves every k3s for seconds, and the proxies take it for a dead one. Hosts have processors of their own.
_cgroup_weigh() {
    if [[ -e $1/cpu.shares ]]; then echo 8192 >"$1/cpu.shares"; fi
    if [[ -e $1/cpu.weight ]]; then echo 800 >"$1/cpu.weight"; fi
}

# cgroup_enter NAME: moves this shell there.
cgroup_enter() {
    local version mountpoint
    while read -r version mountpoint; do
        [[ -d $mountpoint/lab-$LAB_NAME/$1 ]] || mkdir -p "$mountpoint/lab-$LAB_NAME/$1"
        echo "$BASHPID" >"$mountpoint/lab-$LAB_NAME/$1/cgroup.procs"
    done <<<"$(cgroup_hierarchies)"
}

# cgroup_pids [NAME]: all processes in it, in any hierarchy.
cgroup_pids() {
    local version mountpoint
    while read -r version mountpoint; do
        [[ ! -d $mountpoint/lab-$LAB_NAME/${1:-} ]] ||
            find "$mountpoint/lab-$LAB_NAME/${1:-}" -name cgroup.procs -exec cat {} + 2>/dev/null
    done < <(cgroup_hierarchies) | sort -nu
}

# cgroup_remove [NAME]: ends what is left inside, by pid, and removes the folders, leaves first.
cgroup_remove() {
    local version mountpoint folder file
    while read -r version mountpoint; do
        while read -r file; do
            case $file in
            *cgroup.freeze) echo 0 >"$file" ;;
            *) echo THAWED >"$file" ;;
            esac
        done < <(find "$mountpoint/lab-$LAB_NAME/${1:-}" -name cgroup.freeze -o -name freezer.state 2>/dev/null)
    done <<<"$(cgroup_hierarchies)"
    # shellcheck disable=SC2317  # called through wait_for
    _cgroup_empty() {
        local pids
        pids=$(cgroup_pids "$1")
        [[ -n $pids ]] || return 0
        # shellcheck disable=SC2086
        kill -s KILL $pids 2>/dev/null || true
        return 1
    }
    wait_for 20 _cgroup_empty "${1:-}" || fail "processes left in cgroup lab-$LAB_NAME/${1:-}: $(cgroup_pids "${1:-}")"
    # shellcheck disable=SC2317
    _cgroup_rmdir() {
        [[ ! -d $1 ]] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
    }
    while read -r version mountpoint; do
        folder=$mountpoint/lab-$LAB_NAME/${1:-}
        wait_for 5 _cgroup_rmdir "${folder%/}" || fail "cgroup $folder cannot be removed"
    done <<<"$(cgroup_hierarchies)"
}

# The file that freezes a cgroup: v2's where there is one (also beside v1 controllers), since its frozen processes can
# still be killed; else v1's freezer.
_cgroup_freezer() {
    local version mountpoint folder found=
    while read -r version mountpoint; do
        folder=$mountpoint/lab-$LAB_NAME/$1
        if [[ -e $folder/cgroup.freeze ]]; then
            echo "$folder/cgroup.freeze"
            return
        elif [[ -e $folder/freezer.state ]]; then
            found=$folder/freezer.state
        fi
    done <<<"$(cgroup_hierarchies)"
    echo "$found"
}

# cgroup_freeze NAME 1|0: returns when every process is frozen (or runs again), at most 10 s.
cgroup_freeze() {
    local file
    file=$(_cgroup_freezer "$1")
    case $file in
    *cgroup.freeze)
        echo "$2" >"$file"
        wait_for 10 grep -q "^frozen $2" "${file%freeze}events" || fail "$1: processes do not freeze"
        ;;
    *freezer.state)
        if (($2)); then echo FROZEN; else echo THAWED; fi >"$file"
        if (($2)); then wait_for 10 grep -qx FROZEN "$file" || fail "$1: processes do not freeze"; fi
        ;;
    *) fail "no cgroup freezer on this machine, hosts cannot be paused" ;;
    esac
}

cgroup_frozen() {
    local file state
    file=$(_cgroup_freezer "${1:-}")
    [[ -n $file ]] && read -r state <"$file" && [[ $state == 1 || $state == FR* ]]
}
