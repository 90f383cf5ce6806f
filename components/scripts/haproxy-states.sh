# shellcheck shell=sh
# For haproxy-apply.sh: the state file, from which the next worker learns which servers are down before it checks any.
# shellcheck disable=SC2154

# checks_of CONFIG: what servers are asked, and what they must answer.
checks_of() { grep '^ *http-check ' "$1" 2>/dev/null || true; }

# The next worker takes every server for up until it has checked it, and then cuts what is just being opened to one that
# it finds down. A server that is new is not there yet as a rule, so it is told that those begin as down, and those that
# are down now where another one is up and the check stays as it is.
hand_over_states() {
    echo 1 >"$WORK/states"
    same_check=0
    if [ "$(checks_of "$HAPROXY_CFG")" = "$(checks_of "$1")" ]; then same_check=1; fi
    if ask "show servers state" >"$WORK/known" && [ -n "$BACKEND" ]; then
        awk -v backend="$BACKEND" -v same_check="$same_check" '
            NR == FNR {
                if ($2 == backend) {
                    known[$4] = $5
                    down[$4] = ($6 == 0)
                    if ($6 != 0) some_up = 1
                    if (pattern == "") pattern = $0
                } else if ($1 == "#") head = $0
                next
            }
            pattern == "" { next }
            !begun { print head; begun = 1 }
            $1 == "backend" || $1 == "listen" || $1 == "frontend" {
                mine = ($1 == "backend" && $2 == backend)
                id = 0
                next
            }
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
    make_folder "$(dirname "$STATE_FILE")"
    cat "$1" >"$STATE_FILE.new"
    mv -f "$STATE_FILE.new" "$STATE_FILE"
}

# A later start knows nothing: what was true at the last reload may not be.
forget_states() {
    echo 1 >"$WORK/states"
    put_states "$WORK/states"
}
