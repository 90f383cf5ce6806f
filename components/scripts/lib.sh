# shellcheck shell=sh
# What every script on a node shares: reading its data, replacing files, waiting, and failing in a way that helps.
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# What /etc/environment and a login shell's start files hand on must not decide what a step does: options of the shell
# (bash's SHELLOPTS), functions, and variables that commands read (K3S_…, CURL_HOME, GREP_OPTIONS, SYSTEMD_COLORS, …).
set +afvxC
for name in $(env | sed -n 's/^BASH_FUNC_\([A-Za-z_][A-Za-z0-9_]*\)%%=.*/\1/p'); do unset -f "$name" || true; done
# Proxies are for downloads alone (with_proxy): a question to this host or to a server is not theirs.
PROXIES=""
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
        *_proxy | *_PROXY)
            case ${name%_*} in
                http | https | ftp | all | no | HTTP | HTTPS | FTP | ALL | NO)
                    eval "kept_$name=\$$name"
                    PROXIES="$PROXIES $name"
                    ;;
            esac
            unset "$name"
            ;;
        PATH | PWD | HOME | USER | LOGNAME | SHELL | KIT | STATE | OS_RELEASE | LD_LIBRARY_PATH) ;;
        SSL_CERT_FILE | SSL_CERT_DIR | CURL_CA_BUNDLE | SHELLOPTS | BASHOPTS | UID | EUID | PPID) ;;
        *) unset "$name" ;;
    esac
done
LC_ALL=C
export LC_ALL PATH

# with_proxy COMMAND…: with the proxies that the host's environment names. In no argument: they may have a password.
with_proxy() {
    (
        for proxy in $PROXIES; do
            eval "$proxy=\$kept_$proxy"
            # shellcheck disable=SC2163
            export "$proxy"
        done
        "$@"
    )
}

KIT=${KIT:-/usr/local/lib/k3s-ha}
STATE=${STATE:-/var/lib/k3s-ha}
SECRETS=$STATE/secrets
WORK=""
NODE=$(uname -n)
STEP=${0##*/}
STEP=${STEP%.sh}
# The unit whose last log lines a failure shows.
UNIT=""
# How many files put has changed.
CHANGED=0
# Next to etcd's data: the id of the cluster that they are of.
# shellcheck disable=SC2034
ID_FILE=/var/lib/rancher/k3s/server/k3s-ha-cluster-id

say() { printf '%s\n' "$*" >&2; }

# Replaces every known secret in stdin; literal text, no patterns.
mask() {
    for mask_file in "$SECRETS"/* "$WORK"/*.hash /etc/rancher/k3s/token /etc/rancher/k3s/agent-token \
        /var/lib/rancher/k3s/server/token; do
        [ ! -f "$mask_file" ] || awk 'length($0) >= 4' "$mask_file"
    done >"$WORK/masks" 2>/dev/null
    # Variables of the user's may be secrets, and short ones are none.
    sed -n 's/^[^=]*="\(........*\)"$/\1/p' /etc/rancher/k3s/k3s-ha.env >>"$WORK/masks" 2>/dev/null || true
    awk -v masks="$WORK/masks" '
        BEGIN { while ((getline line < masks) > 0) secret[++n] = line }
        {
            text = $0
            for (i = 1; i <= n; i++)
                while ((at = index(text, secret[i])) > 0)
                    text = substr(text, 1, at - 1) "[secret]" substr(text, at + length(secret[i]))
            gsub(/K10[0-9a-f]+::[^ "]*/, "[secret]", text)
            # k3s logs a new key in clear (pkg/server/handlers/secrets-encrypt.go).
            gsub(/secrets-encryption key: .*/, "secrets-encryption key: [secret]", text)
            print text
        }'
}

# failure_shown: the failure has its message; a mark that outlives a subshell.
failure_shown() { [ -z "$WORK" ] || : >"$WORK/failure-shown"; }

# fail WHAT REMEDY…: which host, which step, what was seen, what to do next; ends the script.
fail() {
    failure_shown
    {
        say "k3s-ha: FAILED on node $NODE, step $STEP: $1"
        if [ -n "$UNIT" ] && [ -n "$WORK" ] && command -v journalctl >/dev/null 2>&1; then
            say "  last log lines of $UNIT:"
            journalctl -u "$UNIT" -n 12 --no-pager -o cat 2>/dev/null | cut -c 1-400 | mask | sed 's/^/    /' >&2
        fi
        shift
        say "  next: $*"
    }
    exit 1
}

# free_space PATH: for messages.
free_space() { echo "$(df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }') KiB free below $1"; }

# remove_stale PREFIX: temporary files PREFIX<pid>.* of runs that are over: killed, or the host lost its power.
remove_stale() {
    for stale in "$1"*.??????; do
        stale_pid=${stale#"$1"}
        stale_pid=${stale_pid%.??????}
        case $stale_pid in "" | *[!0-9]*) continue ;; esac
        kill -0 "$stale_pid" 2>/dev/null || rm -rf "$stale"
    done
}

# undo STATUS: what a script has to take back at its end, whatever ended it; that script defines its own.
undo() { :; }

# end_run STATUS: whatever ends the run, nothing is left behind, and no failure is without its host and step.
end_run() {
    trap '' PIPE
    trap - EXIT
    if [ "$1" != 0 ] && [ -n "$WORK" ] && [ ! -e "$WORK/failure-shown" ]; then
        case $1 in
            129 | 130 | 141 | 143) say "k3s-ha: FAILED on node $NODE, step $STEP: the run was cut off" ;;
            *) say "k3s-ha: FAILED on node $NODE, step $STEP: a command ended with status $1" \
                "($(free_space "${WORK%/*}"))" ;;
        esac
        say "  next: see the lines above; if no space is free, make some; then run pulumi up again"
    fi
    undo "$1"
    rm -rf "$WORK"
    exit "$1"
}

# begin: a private folder for this run, removed at its end.
begin() { begin_with "$STATE/run."; }

# begin_with PREFIX: the same as PREFIX<pid>.* elsewhere.
begin_with() {
    [ "$(id -u)" -eq 0 ] || {
        say "k3s-ha: $STEP must run as root"
        exit 1
    }
    remove_stale "$1"
    { mkdir -p "${1%/*}" "$SECRETS" && WORK=$(mktemp -d "$1$$.XXXXXX"); } ||
        fail "nothing can be written ($(free_space "$(dirname "${1%/*}")"))" \
            "free some space on the host and run pulumi up again"
    # kubectl keeps a cache in its home.
    HOME=$WORK
    export HOME
    trap 'end_run $?' EXIT
    trap 'exit 129' HUP
    # The SSH session is gone and nobody reads any more.
    trap 'exit 141' PIPE
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# lock NAME SECONDS: steps that touch the same thing wait for each other (a killed `up` may have left one running).
lock() { lock_file "$STATE/$1.lock" "$2"; }

# lock_file FILE SECONDS: the same with a file elsewhere.
lock_file() {
    exec 9>"$1"
    if command -v flock >/dev/null 2>&1 && ! flock -w "$2" 9; then
        fail "another run of this step holds $1 for more than $2 s" \
            "wait until it has ended (ps -ef | grep k3s-ha) and run pulumi up again"
    fi
}

# unpack_any: reads a bundle (components/remote/bundle.ts) from stdin into $WORK, or what there is of one: for a
# removal, which needs none.
unpack_any() {
    : >"$WORK/manifest"
    awk -v dir="$WORK" '
        /^    / { if (out != "") print substr($0, 5) > out; next }
        /^file: / {
            if (out != "") close(out)
            out = dir "/file." ++n
            printf "" > out
            print n, $3, $2 > (dir "/manifest")
            next
        }
        /^[a-z0-9-]+: / { key = $1; sub(/:$/, "", key); print substr($0, length(key) + 3) > (dir "/set." key) }'
    if [ -s "$WORK/set.node" ]; then NODE=$(cat "$WORK/set.node"); fi
}

# unpack: a whole one. A connection that breaks before or within the data looks like their end, so their last line says
# that it is.
unpack() {
    unpack_any
    [ "$(setting end)" = yes ] ||
        fail "its data did not arrive whole" "the connection was cut, and nothing was changed: run pulumi up again"
    # Every bundle begins with its node: a start file that reads the input has taken that line.
    [ -s "$WORK/set.node" ] || fail "the beginning of its data is missing" \
        "start files of the login shell read the input (.bashrc, .zshenv, config.fish): let them do that in" \
        "interactive sessions only ([ -t 0 ]); nothing was changed"
}

# setting KEY [DEFAULT]: a value of the bundle; several lines for a list.
setting() {
    if [ -f "$WORK/set.$1" ]; then cat "$WORK/set.$1"; else printf '%s\n' "${2-}"; fi
}

# bundle_file PATH: where the text of that file of the bundle lies; fails when the bundle has none.
bundle_file() {
    awk -v dir="$WORK" -v path="$1" '$3 == path { print dir "/file." $1; found = 1 } END { exit !found }' \
        "$WORK/manifest"
}

# make_folder PATH…: readable by all, parents too, whatever this script's umask.
make_folder() { (umask 022 && mkdir -p "$@"); }

# flush_to_disk FILE: before it takes another one's place; else a power cut may leave an empty file under the new name.
flush_to_disk() { sync "$1" 2>/dev/null || true; }

# put SOURCE DEST MODE: replaces DEST atomically when content or mode differ; counts in CHANGED.
put() {
    remove_stale "$(dirname "$2")/.k3s-ha."
    if [ -f "$2" ] && [ ! -L "$2" ] && cmp -s "$1" "$2" && [ "$(stat -c %a "$2")" = "${3#0}" ]; then return 0; fi
    make_folder "$(dirname "$2")"
    put_new=$(mktemp "$(dirname "$2")/.k3s-ha.$$.XXXXXX") || put_new=""
    if [ -z "$put_new" ] || ! cat "$1" >"$put_new"; then
        rm -f "$put_new"
        fail "could not write $2 ($(free_space "$(dirname "$2")"))" \
            "free some space on the host and run pulumi up again"
    fi
    chmod "$3" "$put_new"
    flush_to_disk "$put_new"
    mv -f "$put_new" "$2"
    CHANGED=$((CHANGED + 1))
}

# put_files PREFIX: all files of the bundle below PREFIX.
put_files() {
    while read -r put_n put_mode put_path; do
        case $put_path in "$1"*) put "$WORK/file.$put_n" "$put_path" "$put_mode" ;; esac
    done <"$WORK/manifest"
}

# remember STEP: what the step leaves, for drift.sh; stdin has lines `file PATH`, `sum SHA256 PATH` for a large file
# whose sum is known, `unit NAME`, `sysctl KEY`, `package NAME`, `module NAME`, `service UNIT`. Only root may read it:
# it holds digests of secrets.
remember() {
    mkdir -p "$STATE/applied"
    while read -r kind what; do
        case $kind in
            file) printf 'file %s %s %s\n' "$(stat -c %a "$what")" "$(sha256sum <"$what" | cut -d ' ' -f 1)" "$what" ;;
            sum) printf 'file %s %s\n' "$(stat -c %a "${what#* }")" "$what" ;;
            sysctl) printf 'sysctl %s %s\n' "$what" "$(sysctl -n "$what" | tr '\t' ' ')" ;;
            *) printf '%s %s\n' "$kind" "$what" ;;
        esac
    done >"$WORK/applied"
    put "$WORK/applied" "$STATE/applied/$1" 0600
}

# files_present PATH…: those that are there, as lines for remember.
files_present() { for path in "$@"; do [ ! -f "$path" ] || echo "file $path"; done; }

# pattern TEXT: a name as a pattern that means just it: names may have dots.
pattern() { printf '%s\n' "$1" | sed 's/\./\\./g'; }

# For kubectl's go-template, of a Node: its labels and taints, each followed by a comma.
# shellcheck disable=SC2016,SC2034
MARKS='{{range $key, $value := .metadata.labels}}{{$key}}={{$value}},{{end}}
    {{- range .spec.taints}}{{.key}}{{with .value}}={{.}}{{end}}:{{.effect}},{{end}}'

now() { date +%s; }

# progress WHAT SECONDS SINCE: called while something is waited for; every 15 s a line that `pulumi up` shows: what for,
# since when, how long at most.
progress() {
    progress_now=$(now)
    if [ "${progress_what-}" != "$1" ]; then progress_what=$1 progress_next=$(($3 + 15)); fi
    [ "$progress_now" -ge "$progress_next" ] || return 0
    progress_next=$((progress_now + 15))
    say "$NODE: still waiting for: $1 ($((progress_now - $3)) s, at most $2 s)"
}

# wait_for SECONDS COMMAND…: until the command succeeds; false when the time is over. Asks about four times a second.
wait_for() {
    wait_end=$(($(now) + $1))
    shift
    until "$@"; do
        [ "$(now)" -lt "$wait_end" ] || return 1
        sleep 0.25 2>/dev/null || sleep 1
    done
}

# fetch URL FILE SECONDS: downloads, with the curl that step prepare has brought.
fetch() {
    with_proxy curl -gfsSL --retry 3 --retry-delay 1 --connect-timeout 10 --max-time "$3" -o "$2" "$1" \
        2>"$WORK/fetch.err"
}
