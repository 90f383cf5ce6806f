#!/bin/sh
# Brings haproxy to the configuration of a template: apply.sh TEMPLATE. Undoes its traces beside haproxy.cfg: apply.sh remove.
#
# A changed file is checked by `haproxy -c`, its addresses are checked, it replaces the old one atomically, haproxy reloads
# (it is never restarted: that would cut every connection) and the new worker is waited for. On any failure the old file
# stays or comes back. Where only remarks (indented comments) differ, the file is written and haproxy does not reload.
# stdout is one line: `haproxy: unchanged|reloaded|started; N of M masters up`.
#
# In the template (components/haproxy/render.ts):
#   @@stats-password@@, @@stats-password-hash@@, @@metrics-password-hash@@   filled in from the folder SECRETS
#   @@state-file@@                                                           STATE_FILE
#   a line that ends in `# haproxy >= X.Y`                                   left out on older versions
#   `verify required ca-file $CA_FILE check-sni N verifyhost N`              `verify none` while CA_FILE is missing
#   `# file PATH OWNER GROUP MODE`, `# | line`..., `# end of file`           ACL files, written to PATH
# Left out too, with a word about it: the exporter on a build without it, error files that this distribution does not
# have, addresses [::1] on a host without IPv6.
KIT=${KIT:-$(cd "$(dirname "$0")" && pwd)}
# lib.sh empties the environment; what the caller may set is noted before.
for name in NODE_NAME BACKEND CA_FILE LISTEN SECRETS APPLIED STATE_FILE HAPROXY_BIN HAPROXY_CFG MASTER_SOCKET PIDFILE RELOAD START WAIT; do
    eval "given_$name=\${$name-}"
done
. "$KIT/lib.sh"
. "$KIT/show-stat.sh"

# shellcheck disable=SC2154
{
    NODE=${given_NODE_NAME:-$NODE}          # how messages call this host
    BACKEND=$given_BACKEND                  # whose servers are counted; empty: none are
    CA_FILE=$given_CA_FILE                  # the cluster's CA; empty: nothing is taken back
    LISTEN=$given_LISTEN                    # lines `ADDRESS PORT` that must accept connections at the end
    SECRETS=${given_SECRETS:-$SECRETS}      # stats-password, stats-salt, metrics-password
    APPLIED=${given_APPLIED:-$STATE/haproxy.applied}         # sum of the file that haproxy was last seen to run
    STATE_FILE=${given_STATE_FILE:-$STATE/haproxy.servers}   # what the next worker is told of new servers
    HAPROXY_BIN=${given_HAPROXY_BIN:-haproxy}
    HAPROXY_CFG=${given_HAPROXY_CFG:-/etc/haproxy/haproxy.cfg}
    MASTER_SOCKET=${given_MASTER_SOCKET:-/run/haproxy-master.sock}
    PIDFILE=${given_PIDFILE:-/run/haproxy.pid}
    RELOAD=$given_RELOAD                    # commands; empty: systemctl or rc-service
    START=$given_START
    WAIT=${given_WAIT:-20}                  # seconds for a reload or start to be done
}
CFG_FOLDER=$(dirname "$HAPROXY_CFG")
# What a failure has to take back: whether the new file is in place, and whether there was one before.
replaced=no
had_old=no

# phase NAME: what the step is at, for failures.
phase() { STEP="haproxy ($1)"; }

# --- rendering -----------------------------------------------------------------------------------------------------------

# secret NAME: its file, which must hold one line of printable text.
secret() {
    [ -s "$SECRETS/$1" ] || fail "the secret $1 is missing ($SECRETS/$1)" "run pulumi up again: the prepare step brings it"
    if ! awk 'NR > 1 || /[\001-\037\177]/ { bad = 1 } END { exit bad }' "$SECRETS/$1"; then
        fail "the secret $1 is not one line of printable text" "choose another password in the stack config"
    fi
    printf '%s\n' "$SECRETS/$1"
}

# The password goes through stdin: arguments can be seen by every user of the host. The kept salt keeps the hash the same.
hash_secret() {
    file=$(secret "$1")
    salt_file=$(secret stats-salt)
    salt=$(cat "$salt_file")
    case $salt in *[!A-Za-z0-9./]* | "") fail "the stats salt has characters other than A-Z a-z 0-9 . /" "choose a salt of up to 16 of these" ;; esac
    openssl passwd -6 -salt "$salt" -stdin <"$file" >"$WORK/$1.hash" 2>"$WORK/openssl" ||
        fail "openssl could not hash $1: $(tail -n 1 "$WORK/openssl")" "install a current openssl (1.1.1 or newer)"
}

# Fills in secrets, once each; a value with characters that haproxy interprets is put in single quotes.
fill() {
    : >"$WORK/values"
    if grep -q '@@stats-password@@' "$1"; then
        file=$(secret stats-password)
        echo "@@stats-password@@ $file" >>"$WORK/values"
    fi
    for name in stats-password metrics-password; do
        if grep -q "@@$name-hash@@" "$1"; then
            hash_secret "$name"
            echo "@@$name-hash@@ $WORK/$name.hash" >>"$WORK/values"
        fi
    done
    awk -v values="$WORK/values" '
        function quoted(text,   out, i, c) {
            if (text ~ /^[A-Za-z0-9_.,:;+*=\/$@%!?&|~^()<>{}-]+$/) return text
            for (i = 1; i <= length(text); i++) { c = substr(text, i, 1); out = out (c == "\047" ? "\047\\\047\047" : c) }
            return "\047" out "\047"
        }
        BEGIN {
            while ((getline line < values) > 0) {
                split(line, part, " ")
                file = substr(line, length(part[1]) + 2)
                if ((getline text < file) > 0) { mark[++n] = part[1]; value[n] = quoted(text) }
                close(file)
            }
        }
        {
            rest = $0; out = ""
            while (1) {
                first = 0
                for (i = 1; i <= n; i++) {
                    at = index(rest, mark[i])
                    if (at > 0 && (first == 0 || at < first)) { first = at; which = i }
                }
                if (first == 0) break
                out = out substr(rest, 1, first - 1) value[which]
                rest = substr(rest, first + length(mark[which]))
            }
            print out rest
        }' "$1"
}

# Leaves out what this host's haproxy cannot do. Notes go to $WORK/notes.
adapt() {
    exporter=no
    if "$HAPROXY_BIN" -vv 2>/dev/null | grep -q prometheus-exporter; then exporter=yes; fi
    ipv6=no
    if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; then ipv6=yes; fi
    ca=none
    if [ -n "$CA_FILE" ]; then
        if [ -s "$CA_FILE" ]; then ca=there; else ca=missing; fi
    fi
    awk -v major="$1" -v minor="$2" -v exporter="$exporter" -v ipv6="$ipv6" -v ca="$ca" -v ca_file="$CA_FILE" -v notes="$WORK/notes" '
        function note(text) { if (!(text in noted)) { noted[text] = 1; print text >notes } }
        /^#/ { print; next }
        {
            line = $0
            if (match(line, / +# haproxy >= [0-9]+\.[0-9]+$/)) {
                wanted = substr(line, RSTART, RLENGTH)
                sub(/.*>= /, "", wanted)
                split(wanted, version, ".")
                if (major + 0 < version[1] + 0 || (major + 0 == version[1] + 0 && minor + 0 < version[2] + 0)) next
                line = substr(line, 1, RSTART - 1)
            }
            if (exporter == "no" && line ~ /use-service +prometheus-exporter/) {
                note("this build of haproxy has no Prometheus exporter: /metrics is not served")
                next
            }
            if (ipv6 == "no" && line ~ /^ +bind \[::1\]:/) { note("this host has no IPv6: [::1] is left out"); next }
            if (line ~ /^ +errorfile [0-9]+ \/etc\/haproxy\/errors\//) {
                split(line, word, " ")
                if ((getline first < word[3]) < 0) { note("no " word[3] " on this host: haproxy uses its own page"); next }
                close(word[3])
            }
            start = "verify required ca-file " ca_file " check-sni "
            if (ca == "missing" && (at = index(line, start)) > 0) {
                rest = substr(line, at + length(start))
                if (match(rest, /^[^ ]+ verifyhost [^ ]+/)) {
                    line = substr(line, 1, at - 1) "verify none" substr(rest, RLENGTH + 1)
                    note("certificates of the masters are not verified yet: " ca_file " is not there")
                }
            }
            print line
        }'
    # haproxy reads the CA at start, so another CA means another configuration.
    if [ "$ca" = there ]; then echo "# $CA_FILE sha256 $(sha256sum <"$CA_FILE" | cut -d ' ' -f 1)"; fi
}

# --- ACL files -----------------------------------------------------------------------------------------------------------

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

# --- the service ---------------------------------------------------------------------------------------------------------

# Pid of the master process, or nothing.
main_pid() {
    if [ -z "$RELOAD" ] && [ -d /run/systemd/system ]; then
        pid=$(systemctl show -p MainPID haproxy.service 2>/dev/null | sed -n 's/^MainPID=//p')
    else
        pid=$(head -n 1 "$PIDFILE" 2>/dev/null || true)
    fi
    if [ -n "$pid" ] && [ "$pid" != 0 ] && kill -0 "$pid" 2>/dev/null; then printf '%s\n' "$pid"; fi
}

# service reload|start
service() {
    if [ "$1" = reload ] && [ -n "$RELOAD" ]; then
        sh -c "$RELOAD"
    elif [ "$1" = start ] && [ -n "$START" ]; then
        sh -c "$START"
    elif [ -d /run/systemd/system ]; then
        if [ "$1" = start ]; then systemctl reset-failed haproxy.service 2>/dev/null || true; fi
        timeout 60 systemctl "$1" haproxy.service
    elif command -v rc-service >/dev/null 2>&1; then
        timeout 60 rc-service haproxy "$1"
    else
        say "neither systemd nor OpenRC runs this host"
        return 1
    fi
}

# Path of the admin socket in a configuration.
admin_socket() { sed -n 's|^ *stats socket \(/[^ ]*\).*|\1|p' "$1" 2>/dev/null | head -n 1; }

# ask COMMAND: over the admin socket of the configuration in place.
ask() {
    socket=$(admin_socket "$HAPROXY_CFG")
    [ -S "$socket" ] || return 1
    printf '%s\n' "$1" | timeout 5 socat -t 5 - "UNIX-CONNECT:$socket" 2>/dev/null
}

# checks_of CONFIG: what servers are asked, and what they must answer.
checks_of() { grep '^ *http-check ' "$1" 2>/dev/null || true; }

# The next worker takes every server for up until it has checked it, and then cuts what is just being opened to one that it finds
# down. A master that is new is not there yet as a rule, so it is told that those begin as down, and those that are down now where
# another one is up and the check stays as it is.
hand_over_states() {
    echo 1 >"$WORK/states"
    same_check=0
    if [ "$(checks_of "$HAPROXY_CFG")" = "$(checks_of "$1")" ]; then same_check=1; fi
    if ask "show servers state" >"$WORK/known" && [ -n "$BACKEND" ]; then
        awk -v backend="$BACKEND" -v same_check="$same_check" '
            NR == FNR {
                if ($2 == backend) { known[$4] = $5; down[$4] = ($6 == 0); if ($6 != 0) some_up = 1; if (pattern == "") pattern = $0 }
                else if ($1 == "#") head = $0
                next
            }
            pattern == "" { next }
            !begun { print head; begun = 1 }
            $1 == "backend" || $1 == "listen" || $1 == "frontend" { mine = ($1 == "backend" && $2 == backend); id = 0; next }
            mine && $1 == "server" {
                id++
                port = $3; sub(/.*:/, "", port)
                address = $3; sub(/:[0-9]+$/, "", address); gsub(/[][]/, "", address)
                if (($2 in known) && known[$2] == address && !(same_check && some_up && down[$2])) next
                # Operational state and health 0: down. The other fields are as those of a known server.
                n = split(pattern, field, " ")
                field[3] = id; field[4] = $2; field[5] = address; field[6] = 0; field[13] = 0; field[19] = port
                line = field[1]
                for (i = 2; i <= n; i++) line = line " " field[i]
                print line
            }' "$WORK/known" "$1" >>"$WORK/states"
    fi
    put_states "$WORK/states"
}

# put_states FILE: the state file is always there, since haproxy warns of one that is not.
put_states() {
    folder "$(dirname "$STATE_FILE")"
    cat "$1" >"$STATE_FILE.new"
    mv -f "$STATE_FILE.new" "$STATE_FILE"
}

# A later start knows nothing: what was true at the last reload may not be.
forget_states() {
    echo 1 >"$WORK/states"
    put_states "$WORK/states"
}

# Pid of the worker that serves the admin socket, or nothing.
worker_pid() { ask "show info" | sed -n 's/^Pid: //p'; }

parent_of() { sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || true; }

# ours PID MASTER: the master itself or one of its workers.
ours() { [ -n "$2" ] && { [ "$1" = "$2" ] || [ "$(parent_of "$1")" = "$2" ]; }; }

# listeners CONFIG: lines `ADDRESS PORT FLAG` of what it binds to; FLAG is transparent or -.
listeners() {
    awk '
        /^[a-z]/ { on = ($1 == "listen" || $1 == "frontend") }
        on && $1 == "bind" {
            flag = "-"
            for (i = 3; i <= NF; i++) if ($i == "transparent") flag = "transparent"
            n = split($2, list, ",")
            for (i = 1; i <= n; i++) {
                item = list[i]
                sub(/^(ipv4|ipv6|tcp|tcp4|tcp6)@/, "", item)
                if (item ~ /^\// || item ~ /@/ || item !~ /:[0-9]+$/) continue
                port = item; sub(/.*:/, "", port)
                address = substr(item, 1, length(item) - length(port) - 1)
                gsub(/[][]/, "", address)
                if (address == "" || address == "*") address = "0.0.0.0"
                print address, port, flag
            }
        }' "$1"
}

# haproxy -c does not bind. A reload that cannot bind stops the working listeners for a second or two, so ask first.
check_listeners() {
    phase listeners
    command -v ss >/dev/null 2>&1 || fail "the command ss is missing" "install iproute2 on the host"
    master=$(main_pid)
    listeners "$1" >"$WORK/listeners"
    ss -Hltnp >"$WORK/sockets" 2>/dev/null || true
    while read -r address port flag; do
        case $address in
            0.0.0.0 | ::) ;;
            *)
                case $address in *:*) nonlocal=/proc/sys/net/ipv6/ip_nonlocal_bind ;; *) nonlocal=/proc/sys/net/ipv4/ip_nonlocal_bind ;; esac
                # transparent lets haproxy start without the address; what must answer at the end has to be there now.
                if printf '%s\n' "$LISTEN" | grep -qxF "$address $port"; then flag=-; fi
                if [ "$flag" != transparent ] && [ "$(cat "$nonlocal" 2>/dev/null)" != 1 ] && ! is_local "$address"; then
                    fail "$address, to which haproxy is to bind port $port, is not an address of this host" \
                        "bring the VPN up on the host, or correct the node's address or k3s-ha:proxy.stats.address"
                fi
                ;;
        esac
        owner=$(socket_owner "$address" "$port" "$master")
        [ -z "$owner" ] || fail "port $port on $address is taken by $owner" \
            "stop that program, or choose another port (k3s-ha:proxy.port, k3s-ha:proxy.stats.port)"
    done <"$WORK/listeners"
}

is_local() {
    case $1 in
        *:*) ip -6 -o route get "$1" 2>/dev/null | grep -q '^local ' ;;
        *) ip -4 -o route get "$1" 2>/dev/null | grep -q '^local ' ;;
    esac
}

# socket_owner ADDRESS PORT MASTER: who else listens there, or nothing. An address in brackets or with a * is any.
socket_owner() {
    awk -v address="$1" -v port="$2" '
        {
            at = $4; p = at; sub(/.*:/, "", p)
            a = substr(at, 1, length(at) - length(p) - 1)
            gsub(/[][]/, "", a); sub(/%.*/, "", a)
            if (p != port) next
            any = (a == "*" || a == "0.0.0.0" || a == "::")
            users = index($0, "users:")
            if (a == address || any || address == "0.0.0.0" || address == "::") print users ? substr($0, users) : ""
        }' "$WORK/sockets" | while read -r users; do
        found=""
        for pid in $(printf '%s\n' "$users" | tr ',' '\n' | sed -n 's/^pid=\([0-9]*\).*/\1/p'); do
            if ours "$pid" "$3"; then found=yes; fi
        done
        if [ -z "$found" ]; then
            printf '%s\n' "${users:-another program}" | sed 's/^users:((\("[^"]*"\),pid=\([0-9]*\).*/\1 (pid \2)/'
            break
        fi
    done
}

accepts() {
    target=$1
    case $1 in 0.0.0.0 | "*") target=127.0.0.1 ;; ::) target=::1 ;; esac
    case $target in *:*) target="TCP6:[$target]:$2" ;; *) target="TCP4:$target:$2" ;; esac
    timeout 5 socat -u OPEN:/dev/null "$target,connect-timeout=2" 2>/dev/null
}

# All expected addresses accept connections; says which one does not.
all_accept() {
    printf '%s\n' "$LISTEN" >"$WORK/expected"
    while read -r address port; do
        [ -z "$address" ] || accepts "$address" "$port" || {
            echo "$address port $port" >"$WORK/deaf"
            return 1
        }
    done <"$WORK/expected"
}

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

# The state of every master is known: none waits for its first check.
checks_done() {
    ask "show stat" >"$WORK/stat" || return 1
    servers_of "$BACKEND" <"$WORK/stat" >"$WORK/servers"
    ! awk -F, '$3 ~ /INI/ { waiting = 1 } END { exit !waiting }' "$WORK/servers"
}

result() {
    phase result
    if [ -z "$BACKEND" ]; then
        echo "haproxy: $1"
        return
    fi
    wait_for 10 checks_done || true
    [ -s "$WORK/stat" ] || fail "haproxy does not answer on its socket $(admin_socket "$HAPROXY_CFG")" \
        "keep a 'stats socket' of level admin in k3s-ha:proxy.haproxy.global.stats"
    awk -F, -v what="$1" '$2 ~ /^UP/ && $3 !~ /INI/ { up++ } END { printf "haproxy: %s; %d of %d masters up\n", what, up, NR }' "$WORK/servers"
}

# Folder of the admin socket: packages of some distributions do not make the one that is written in the file.
make_socket_folder() {
    socket_folder=$(dirname "$(admin_socket "$1")")
    [ ! -d "$socket_folder" ] || return 0
    case $socket_folder in
        /run/*)
            if [ -d /etc/tmpfiles.d ]; then echo "d $socket_folder 0755 haproxy haproxy -" >/etc/tmpfiles.d/k3s-ha-haproxy.conf; fi
            ;;
    esac
    folder "$socket_folder"
}

# What haproxy is told: a configuration without its remarks.
told_to_haproxy() { sed '/^ \{1,\}#/d' "$1"; }

# True when haproxy runs the new configuration already, whatever its remarks say.
runs_already() {
    [ -f "$HAPROXY_CFG" ] || return 1
    [ -n "$OLD_MASTER" ] || return 1
    [ "$(cat "$APPLIED" 2>/dev/null)" = "$(sha256sum <"$HAPROXY_CFG")" ] || return 1
    told_to_haproxy "$HAPROXY_CFG" >"$WORK/told.old"
    told_to_haproxy "$WORK/new.cfg" >"$WORK/told.new"
    cmp -s "$WORK/told.old" "$WORK/told.new" && all_accept
}

# put_in_place FILE [no]: haproxy.cfg is replaced as a whole; with `no` a later failure does not bring the old one back.
put_in_place() {
    phase write
    chmod 0600 "$1"
    cp "$1" "$CFG_FOLDER/.k3s-ha.new" || fail "haproxy.cfg could not be written ($(free_space "$CFG_FOLDER"))" \
        "free some space on the host and run pulumi up again"
    on_disk "$CFG_FOLDER/.k3s-ha.new"
    replaced=${2:-yes}
    mv -f "$CFG_FOLDER/.k3s-ha.new" "$HAPROXY_CFG"
}

# --- main ----------------------------------------------------------------------------------------------------------------

apply() {
    template=$1
    phase render
    [ -s "$template" ] || fail "there is no template $template" "run pulumi up again"
    version=$("$HAPROXY_BIN" -v 2>/dev/null | sed -n 's/^HA-*Proxy version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    [ -n "$version" ] || fail "haproxy does not run: $("$HAPROXY_BIN" -v 2>&1 | head -n 1)" "install the distribution's package haproxy"
    command -v socat >/dev/null 2>&1 || fail "the command socat is missing" "install the distribution's package socat"

    folder "$CFG_FOLDER"
    begin_with "$CFG_FOLDER/.k3s-ha."
    lock_file "$CFG_FOLDER/.k3s-ha.lock" 120
    # What an older version of this program left when it was killed.
    rm -rf "$CFG_FOLDER"/.k3s-ha.??????

    # shellcheck disable=SC2086
    sed "s|@@state-file@@|$STATE_FILE|" "$template" | adapt $version >"$WORK/adapted"
    fill "$WORK/adapted" >"$WORK/new.cfg"
    if grep -q '@@[a-z-]*@@' "$WORK/new.cfg"; then
        fail "nothing is known for $(grep -o '@@[a-z-]*@@' "$WORK/new.cfg" | sort -u | tr '\n' ' ')" \
            "use @@stats-password@@, @@stats-password-hash@@ or @@metrics-password-hash@@ in k3s-ha:proxy.haproxy"
    fi
    [ -n "$(admin_socket "$WORK/new.cfg")" ] || fail "the configuration has no stats socket, which drains and health reports need" \
        "keep a 'stats socket' of level admin in k3s-ha:proxy.haproxy.global.stats"
    if [ -f "$WORK/notes" ]; then sed "s/^/k3s-ha: $NODE: /" "$WORK/notes" >&2; fi

    sum=$(sha256sum <"$WORK/new.cfg")
    OLD_MASTER=$(main_pid)
    OLD_WORKER=$(worker_pid || true)
    write_acl_files "$WORK/new.cfg"
    if runs_already; then
        rm -f "$WORK/acl.written"
        if cmp -s "$WORK/new.cfg" "$HAPROXY_CFG"; then
            chmod 0600 "$HAPROXY_CFG"
        else
            put_in_place "$WORK/new.cfg" no
            printf '%s\n' "$sum" >"$APPLIED"
        fi
        result unchanged
        return
    fi

    phase "haproxy -c"
    make_socket_folder "$WORK/new.cfg"
    hand_over_states "$WORK/new.cfg"
    if ! "$HAPROXY_BIN" -c -f "$WORK/new.cfg" >"$WORK/check" 2>&1; then
        mask <"$WORK/check" | sed "s|$WORK/new.cfg|haproxy.cfg|; s/^/    /" | grep -E 'ALERT|WARNING|rror' | tail -n 20 >&2 || true
        fail "haproxy refuses the new configuration; the old one stays" \
            "correct k3s-ha:proxy in the stack config; the lines are those of the file that 'pulumi preview --diff' shows"
    fi
    if grep -q WARNING "$WORK/check"; then grep WARNING "$WORK/check" | mask | sed "s|$WORK/new.cfg|haproxy.cfg|; s/^/k3s-ha: /" >&2; fi
    check_listeners "$WORK/new.cfg"

    if [ -f "$HAPROXY_CFG" ]; then
        had_old=yes
        cp -p "$HAPROXY_CFG" "$WORK/old.cfg"
    fi
    rm -f "$APPLIED"
    put_in_place "$WORK/new.cfg"

    if [ -n "$OLD_MASTER" ]; then action=reload done=reloaded; else action=start done=started; fi
    phase "$action"
    # Its last words are part of a failure from here on.
    if [ -z "$RELOAD" ]; then UNIT=haproxy.service; fi
    if ! service "$action" >"$WORK/service" 2>&1 9>&-; then
        mask <"$WORK/service" | sed 's/^/    /' >&2
        fail "haproxy did not $action; the old configuration is back" "look at 'journalctl -u haproxy' on the host"
    fi
    wait_for "$WAIT" new_worker_or_gone || true
    # It was about to stop when it was told to reload.
    if [ "$action" = reload ] && [ -z "$(main_pid)" ]; then
        action=start done=started
        phase start
        service start >"$WORK/service" 2>&1 9>&- || true
    fi
    if ! wait_for "$WAIT" new_worker; then
        fail "no new worker within $WAIT s${OLD_WORKER:+ (worker $OLD_WORKER still serves)}; the old configuration is back" \
            "look at 'journalctl -u haproxy' on the host"
    fi
    if ! wait_for "$WAIT" all_accept; then
        fail "nothing accepts connections at $(cat "$WORK/deaf"); the old configuration is back" \
            "compare the addresses in k3s-ha:proxy with the bind lines of k3s-ha:proxy.haproxy"
    fi
    bad=$(failed_reloads)
    [ -z "$bad" ] || fail "haproxy counts $bad failed reloads; the old configuration is back" "look at 'journalctl -u haproxy' on the host"

    replaced=no
    forget_states
    rm -f "$WORK/acl.written"
    if [ "$had_old" = yes ]; then remove_old_acl_files "$WORK/old.cfg" "$WORK/new.cfg"; fi
    (umask 077 && mkdir -p "$(dirname "$APPLIED")")
    printf '%s\n' "$sum" >"$APPLIED"
    result "$done"
}

# undo STATUS: whatever ended the run, without a confirmed new configuration the old one is in place and runs (lib.sh calls it).
undo() {
    if [ "$1" != 0 ] && [ -s "$WORK/states" ]; then forget_states; fi
    restore_acl_files
    if [ "$replaced" = yes ]; then
        if [ "$had_old" = yes ]; then
            cp -p "$WORK/old.cfg" "$CFG_FOLDER/.k3s-ha.new"
            mv -f "$CFG_FOLDER/.k3s-ha.new" "$HAPROXY_CFG"
            # The master of a failed reload runs on without a configuration of its own; the old one brings it back.
            if [ -n "$OLD_MASTER" ]; then service reload >/dev/null 2>&1 9>&- || true; fi
        else
            rm -f "$HAPROXY_CFG"
        fi
    fi
    rm -f "$CFG_FOLDER/.k3s-ha.new"
}

remove() {
    if [ -f "$HAPROXY_CFG" ]; then acl_paths "$HAPROXY_CFG" | while read -r path; do rm -f "$path"; done; fi
    rm -f "$APPLIED" "$STATE_FILE" /etc/tmpfiles.d/k3s-ha-haproxy.conf "$CFG_FOLDER/.k3s-ha.lock"
    rm -rf "$CFG_FOLDER"/.k3s-ha.*.?????? "$CFG_FOLDER"/.k3s-ha.??????
}

case ${1-} in
    remove) remove ;;
    "" | -*)
        say "usage: apply.sh TEMPLATE | apply.sh remove"
        exit 2
        ;;
    *) apply "$1" ;;
esac
