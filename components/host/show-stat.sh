# shellcheck shell=sh
# The one reader of haproxy's `show stat`. It finds columns by the names in the first line: haproxy adds some with each
# version. It needs nothing of lib.sh: drain.sh, which k3s.service runs, and `npm run drill` use it too.

# servers_of BACKEND: of a `show stat` on stdin, a line `NAME,STATUS,CHECK` for each server of the backend. STATUS is as
# haproxy has it (UP, "DOWN 1/2", "no check"), CHECK what the last check gave (L7OK; INI before the first one).
servers_of() {
    awk -F, -v backend="$1" '
        NR == 1 { sub(/^# /, ""); for (i = 1; i <= NF; i++) column[$i] = i; next }
        # Of type 2 are servers; the others are the backend itself and, in a listen section, its frontend.
        $(column["pxname"]) == backend && $(column["type"]) == 2 {
            print $(column["svname"]) "," $(column["status"]) "," $(column["check_status"])
        }'
}

# local_servers BACKEND: the same of this host's haproxy; nothing when it does not answer.
local_servers() {
    echo "show stat" | timeout 3 socat -t 3 - /run/haproxy/admin.sock 2>/dev/null | servers_of "$1"
}

# local_servers_up BACKEND: the names of those that it sees up.
local_servers_up() { local_servers "$1" | awk -F, '$2 ~ /^UP/ { print $1 }'; }
