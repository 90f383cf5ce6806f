# shellcheck shell=sh
# The one reader of haproxy's `show stat`. It finds columns by the names in the first line: haproxy adds some with each
# version. It needs nothing of lib.sh: drain.sh, which k3s.service runs, and `npm run drill` and status use it too.

# columns_of BACKEND COLUMN…: of a `show stat` on stdin, a line for each server of the backend: these columns, with
# commas between.
columns_of() {
    stat_backend=$1
    shift
    awk -F, -v backend="$stat_backend" -v names="$*" '
        NR == 1 {
            sub(/^# /, "")
            for (i = 1; i <= NF; i++) column[$i] = i
            count = split(names, wanted, " ")
            next
        }
        # Of type 2 are servers; the others are the backend itself and, in a listen section, its frontend.
        $(column["pxname"]) == backend && $(column["type"]) == 2 {
            line = $(column[wanted[1]])
            for (i = 2; i <= count; i++) line = line "," $(column[wanted[i]])
            print line
        }'
}

# servers_of BACKEND: a line `NAME,STATUS,CHECK` for each server. STATUS is as haproxy has it (UP, "DOWN 1/2", "no
# check"), CHECK what the last check gave (L7OK; INI before the first one).
servers_of() { columns_of "$1" svname status check_status; }

# local_stat: the `show stat` of this host's haproxy; nothing when it does not answer.
local_stat() { echo "show stat" | timeout 3 socat -t 3 - /run/haproxy/admin.sock 2>/dev/null; }

# local_servers BACKEND: what servers_of says of it.
local_servers() { local_stat | servers_of "$1"; }

# local_servers_up BACKEND: the names of those that it sees up.
local_servers_up() { local_servers "$1" | awk -F, '$2 ~ /^UP/ { print $1 }'; }
