# shellcheck shell=sh
# The running haproxy: its master process, its worker, its admin socket, its reload and start. For haproxy-apply.sh.
# shellcheck disable=SC2154

# Pid of the master process, or nothing.
main_pid() {
    if [ -z "$RELOAD" ]; then
        pid=$(systemctl show -p MainPID haproxy.service 2>/dev/null | sed -n 's/^MainPID=//p')
    else
        pid=$(head -n 1 "$PIDFILE" 2>/dev/null || true)
    fi
    if [ -n "$pid" ] && [ "$pid" != 0 ] && kill -0 "$pid" 2>/dev/null; then printf '%s\n' "$pid"; fi
}

parent_of() { sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || true; }

# ours PID MASTER: the master itself or one of its workers.
ours() { [ -n "$2" ] && { [ "$1" = "$2" ] || [ "$(parent_of "$1")" = "$2" ]; }; }

# service reload|start
service() {
    if [ "$1" = reload ] && [ -n "$RELOAD" ]; then
        sh -c "$RELOAD"
    elif [ "$1" = start ] && [ -n "$START" ]; then
        sh -c "$START"
    else
        if [ "$1" = start ]; then systemctl reset-failed haproxy.service 2>/dev/null || true; fi
        timeout 60 systemctl "$1" haproxy.service
    fi
}

# Path of the admin socket in a configuration.
admin_socket() { sed -n 's|^ *stats socket \(/[^ ]*\).*|\1|p' "$1" 2>/dev/null | head -n 1; }

# Folder of the admin socket: packages of some distributions do not make the one that is written in the file.
make_socket_folder() {
    socket_folder=$(dirname "$(admin_socket "$1")")
    [ ! -d "$socket_folder" ] || return 0
    case $socket_folder in
        /run/*)
            if [ -d /etc/tmpfiles.d ]; then
                echo "d $socket_folder 0755 haproxy haproxy -" >/etc/tmpfiles.d/k3s-ha-haproxy.conf
            fi
            ;;
    esac
    make_folder "$socket_folder"
}

# ask COMMAND: over the admin socket of the configuration in place.
ask() {
    socket=$(admin_socket "$HAPROXY_CFG")
    [ -S "$socket" ] || return 1
    printf '%s\n' "$1" | timeout 5 socat -t 5 - "UNIX-CONNECT:$socket" 2>/dev/null
}

# Pid of the worker that serves the admin socket, or nothing.
worker_pid() { ask "show info" | sed -n 's/^Pid: //p'; }

# A worker other than the one before answers: the reload or start has happened.
new_worker() {
    current=$(worker_pid) && [ -n "$current" ] && [ "$current" != "$OLD_WORKER" ]
}

new_worker_or_gone() { new_worker || [ -z "$(main_pid)" ]; }

# show proc lists the running worker under `# workers`; after a failed reload the old one stays there.
failed_reloads() {
    [ -S "$MASTER_SOCKET" ] || return 0
    echo "show proc" | timeout 5 socat -t 5 - "UNIX-CONNECT:$MASTER_SOCKET" 2>/dev/null |
        sed -n 's/^.*[Ff]ailed[^0-9]*\([1-9][0-9]*\).*$/\1/p' | head -n 1
}
