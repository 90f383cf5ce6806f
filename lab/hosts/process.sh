# shellcheck shell=bash
# Processes in the background, known by a file with pid and start time: a pid alone may be another process's by now.

# process_start_time PID: clock ticks after boot, field 22 of /proc/PID/stat (proc(5)); fails when there is none.
process_start_time() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) } # the command's name before it may hold blanks
    # shellcheck disable=SC2086
    set -- $stat
    [[ $1 != Z ]] || return 1
    echo "${20}"
}

# process_alive FILE: sets PROCESS_PID; fails when the process that FILE names is gone.
process_alive() {
    local start
    PROCESS_PID=
    { read -r PROCESS_PID start <"$1"; } 2>/dev/null || return 1
    [[ $(process_start_time "$PROCESS_PID") == "$start" ]]
}
process_gone() { ! process_alive "$1"; }

# process_end FILE [SIGNAL SECONDS]: signal (default TERM, 5 s), then KILL; afterwards neither process nor file.
process_end() {
    if process_alive "$1"; then
        kill -s "${2:-TERM}" "$PROCESS_PID" 2>/dev/null || true
        if ! wait_for "${3:-5}" process_gone "$1" && process_alive "$1"; then
            kill -s KILL "$PROCESS_PID" 2>/dev/null || true
            wait_for 10 process_gone "$1" || fail "process $PROCESS_PID ($1) survives SIGKILL"
        fi
    fi
    rm -f "$1"
}

# process_start FILE LOG COMMAND…: COMMAND in a session of its own, in the lab's own cgroup "router", without our file descriptors.
process_start() {
    local file=$1 log=$2
    shift 2
    rm -f "$file"
    # shellcheck disable=SC2016
    setsid bash -c '
        for fd in /proc/self/fd/*; do # such as a pipe whose reader would wait for our end
            fd=${fd##*/}
            ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
        done
        . "$1/lab/hosts/settings.sh"; . "$1/lab/hosts/cgroup.sh"; . "$1/lab/hosts/process.sh"
        cgroup_enter router
        echo "$$ $(process_start_time $$)" >"$2.new" && mv "$2.new" "$2"
        shift 2
        exec "$@"' lab "$LAB_ROOT" "$file" "$@" </dev/null >>"$log" 2>&1 &
    wait_for 10 test -s "$file" || { tail -n 5 "$log" >&2; fail "could not start $1, see $log"; }
}
