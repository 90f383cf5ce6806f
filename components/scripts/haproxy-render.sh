# shellcheck shell=sh
# From the template to this host's haproxy.cfg: secrets filled in, and what its haproxy cannot do left out. For
# haproxy-apply.sh.
# shellcheck disable=SC2154

# secret NAME: its file, which must hold one line of printable text.
secret() {
    [ -s "$SECRETS/$1" ] ||
        fail "the secret $1 is missing ($SECRETS/$1)" "run pulumi up again: the prepare step brings it"
    if ! awk 'NR > 1 || /[\001-\037\177]/ { bad = 1 } END { exit bad }' "$SECRETS/$1"; then
        fail "the secret $1 is not one line of printable text" "choose another password in the stack config"
    fi
    printf '%s\n' "$SECRETS/$1"
}

# The password goes through stdin: arguments can be seen by every user of the host. The kept salt keeps the hash the
# same.
hash_secret() {
    file=$(secret "$1")
    salt_file=$(secret stats-salt)
    salt=$(cat "$salt_file")
    case $salt in
        *[!A-Za-z0-9./]* | "")
            fail "the stats salt has characters other than A-Z a-z 0-9 . /" "choose a salt of up to 16 of these"
            ;;
    esac
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
            for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1)
                out = out (c == "\047" ? "\047\\\047\047" : c)
            }
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

# adapt MAJOR MINOR: leaves out what this host's haproxy cannot do. Notes go to $WORK/notes.
adapt() {
    exporter=no
    if "$HAPROXY_BIN" -vv 2>/dev/null | grep -q prometheus-exporter; then exporter=yes; fi
    ipv6=no
    if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; then ipv6=yes; fi
    ca=none
    if [ -n "$CA_FILE" ]; then
        if [ -s "$CA_FILE" ]; then ca=there; else ca=missing; fi
    fi
    awk -v major="$1" -v minor="$2" -v exporter="$exporter" -v ipv6="$ipv6" -v ca="$ca" -v ca_file="$CA_FILE" \
        -v notes="$WORK/notes" '
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
                if ((getline first < word[3]) < 0) {
                    note("no " word[3] " on this host: haproxy uses its own page")
                    next
                }
                close(word[3])
            }
            start = "verify required ca-file " ca_file " check-sni "
            if (ca == "missing" && (at = index(line, start)) > 0) {
                rest = substr(line, at + length(start))
                if (match(rest, /^[^ ]+ verifyhost [^ ]+/)) {
                    line = substr(line, 1, at - 1) "verify none" substr(rest, RLENGTH + 1)
                    note("certificates of the servers are not verified yet: " ca_file " is not there")
                }
            }
            print line
        }'
    # haproxy reads the CA at start, so another CA means another configuration.
    if [ "$ca" = there ]; then echo "# $CA_FILE sha256 $(sha256sum <"$CA_FILE" | cut -d ' ' -f 1)"; fi
}

# render_config TEMPLATE: the new configuration, as $WORK/new.cfg.
render_config() {
    # shellcheck disable=SC2086
    sed "s|@@state-file@@|$STATE_FILE|" "$1" | adapt $version >"$WORK/adapted"
    fill "$WORK/adapted" >"$WORK/new.cfg"
    if grep -q '@@[a-z-]*@@' "$WORK/new.cfg"; then
        fail "nothing is known for $(grep -o '@@[a-z-]*@@' "$WORK/new.cfg" | sort -u | tr '\n' ' ')" \
            "use @@stats-password@@, @@stats-password-hash@@ or @@metrics-password-hash@@ in k3s-ha:proxy.haproxy"
    fi
    [ -n "$(admin_socket "$WORK/new.cfg")" ] ||
        fail "the configuration has no stats socket, which drains and health reports need" \
            "keep a 'stats socket' of level admin in k3s-ha:proxy.haproxy.global.stats"
    if [ -f "$WORK/notes" ]; then sed "s/^/k3s-ha: $NODE: /" "$WORK/notes" >&2; fi
}
