# shellcheck shell=sh
# Files of k3s on this host: its binary, its settings, its unit, its token, and the digest of all that it reads at its
# start.
# shellcheck disable=SC2034,SC2153,SC2154

# The staged binary takes its place by a rename; the running process keeps the old one until it is restarted.
install_binary() {
    staged=$STATE/bin/$(setting version)/k3s
    printf '%s\n' "$ROLE" >"$STATE/k3s-role"
    [ -x "$staged" ] || fail "the binary $staged is not there" "raise nodes[].rebuilt of $NODE and run pulumi up again"
    if ! cmp -s "$staged" "$BIN"; then
        # A copy: a link would keep SELinux's label of /var/lib, which systemd may not execute.
        cp "$staged" "$BIN.new" || {
            rm -f "$BIN.new"
            fail "could not write $BIN.new ($(free_space /usr/local))" "free some space there and run pulumi up again"
        }
        chmod 0755 "$BIN.new"
        flush_to_disk "$BIN.new"
        mv -f "$BIN.new" "$BIN"
        # k3s's policy, where it is installed, has a label of its own for this file.
        if command -v restorecon >/dev/null 2>&1; then restorecon "$BIN" 2>/dev/null || true; fi
        RESTART=1
    fi
    for tool in kubectl crictl ctr; do
        if ! command -v "$tool" >/dev/null 2>&1; then
            ln -s k3s "/usr/local/bin/$tool"
            echo "/usr/local/bin/$tool" >>"$STATE/links"
        fi
    done
    put "$KIT/k3s-killall.sh" /usr/local/bin/k3s-killall.sh 0755
}

# The release of the installed binary, or nothing.
installed_version() { [ ! -x "$BIN" ] || "$BIN" --version 2>/dev/null | sed -n 's/^k3s version \([^ ]*\).*/\1/p'; }

# Files of the bundle whose change needs a restart of k3s, and the registration, whose change needs none.
install_files() {
    if registration=$(bundle_file "$REGISTRATION"); then
        put "$registration" "$REGISTRATION" 0600
    else
        rm -f "$REGISTRATION"
    fi
    before=$CHANGED
    put_files "$CONF/"
    put_files "$DATA/agent/etc/"
    # A file that the plan has no longer: k3s would go on reading it.
    for path in "$CONF/registries.yaml" "$CONF/authn.yaml" "$CONF/k3s-ha.env" "$CONF/cis-audit.yaml" \
        "$CONF/cis-admission.yaml" \
        "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf"; do
        if [ -f "$path" ] && ! bundle_file "$path" >/dev/null; then
            rm -f "$path"
            CHANGED=$((CHANGED + 1))
        fi
    done
    [ "$CHANGED" = "$before" ] || RESTART=1
    before=$CHANGED
    put_unit
    if [ "$CHANGED" != "$before" ]; then
        systemctl daemon-reload
        RESTART=1
    fi
}

# The unit under its name on this host, which an agent that was taken over has kept (adopt.sh).
put_unit() {
    while read -r unit_n unit_mode unit_path; do
        case $unit_path in /etc/systemd/system/*) ;; *) continue ;; esac
        sed "s#^\(EnvironmentFile=-/etc/systemd/system/\).*#\1$UNIT.env#" "$WORK/file.$unit_n" >"$WORK/unit"
        put "$WORK/unit" "/etc/systemd/system/$UNIT" "$unit_mode"
    done <"$WORK/manifest"
}

# All that k3s reads at its start and not later.
start_digest() {
    {
        cat "$STATE/bin/$(setting version)/sha256"
        for path in "$CONF/config.yaml" "$CONF/agent-token" "$CONF/registries.yaml" "$CONF/authn.yaml" "$S3_KEYS" \
            "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf" "/etc/systemd/system/$UNIT"; do
            echo "$path"
            if [ -f "$path" ]; then cat "$path"; fi
        done
        # Named only where they are there, so that what older versions of this program started counts.
        for path in "$CONF/k3s-ha.env" "$CONF/cis-audit.yaml" "$CONF/cis-admission.yaml"; do
            if [ -f "$path" ]; then
                echo "$path"
                cat "$path"
            fi
        done
        # What an agent takes from the servers at its start.
        setting from-servers | grep . || true
        # Files of the user's that k3s reads (host.files), as the step prepare has written them.
        setting reads | while read -r path _; do
            if [ -n "$path" ]; then
                echo "$path"
                cat "$path" 2>/dev/null || true
            fi
        done
    } | sha256sum | cut -d ' ' -f 1
}

# put_token SECRET FILE USER: the token in the form that pins the cluster's CA, where it is known.
put_token() {
    if [ -n "$ca_hash" ]; then
        printf 'K10%s::%s:%s\n' "$ca_hash" "$3" "$(cat "$SECRETS/$1")" >"$WORK/token"
    else
        cp "$SECRETS/$1" "$WORK/token"
    fi
    put "$WORK/token" "$2" 0600
}
