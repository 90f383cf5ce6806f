# shellcheck shell=sh
# The end of a step on k3s: what is trusted and remembered from then on; and its removal.
# shellcheck disable=SC2034,SC2154

# trust_ca FILE: the proxies check the servers' certificates from now on.
trust_ca() {
    dest=$(setting proxy-ca)
    [ -n "$dest" ] || return 0
    # The last line of a file that verifies (haproxy-apply.sh); a render that was cut off has not written it.
    if ! cmp -s "$1" "$dest" ||
        ! grep -qxF "# $dest sha256 $(sha256sum <"$1" | cut -d ' ' -f 1)" /etc/haproxy/haproxy.cfg; then
        put "$1" "$dest" 0644
        sh "$KIT/haproxy.sh" render >&2 || {
            failure_shown
            exit 1
        }
    fi
}

# After the start has come to its good end.
remember_renewal() { setting renew 0 >"$STATE/renewed"; }

# What drift.sh looks at. The membership is not in it: recover.sh changes it, and it counts only for a start without
# data.
remember_k3s() {
    remember_renewal
    {
        # install_binary has compared it with the staged one.
        echo "sum $(cat "$STATE/bin/$(setting version)/sha256") $BIN"
        files_present /usr/local/bin/k3s-killall.sh "$CONF/token" "$CONF/agent-token" "$CONF/config.yaml" \
            "$CONF/registries.yaml" "$CONF/authn.yaml" "$CONF/k3s-ha.env" \
            "$CONF/cis-audit.yaml" "$CONF/cis-admission.yaml" \
            "$REGISTRATION" "$S3_KEYS" "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf" "/etc/systemd/system/$UNIT" \
            "$(setting proxy-ca)"
        echo "unit $UNIT"
    } | remember "$ROLE"
    # Its name before 0.2.
    rm -f "$STATE/applied/k3s"
}

remove_k3s() {
    if [ -x /usr/local/bin/k3s-killall.sh ]; then
        sh /usr/local/bin/k3s-killall.sh >/dev/null 2>&1
    else
        sh "$KIT/k3s-killall.sh" >/dev/null 2>&1
    fi
    # The stop left the rule of drain.sh.
    address=$(sed -n 's/^ExecStartPost=.*drain\.sh end //p' "/etc/systemd/system/$UNIT" 2>/dev/null) || address=""
    [ -z "$address" ] || sh "$KIT/drain.sh" end "$address"
    systemctl -q disable "$UNIT" 2>/dev/null || true
    rm -rf "/etc/systemd/system/$UNIT" "/etc/systemd/system/$UNIT.env" "/etc/systemd/system/$UNIT.d" \
        "/run/systemd/system/$UNIT.d"
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    if [ -f "$STATE/links" ]; then
        while read -r link; do [ ! -L "$link" ] || rm -f "$link"; done <"$STATE/links"
    fi
    clear_k3s
    rm -rf "$BIN" /usr/local/bin/k3s-killall.sh "$STATE/links" "$STATE/k3s-role" "$STATE/k3s-unit" "$STATE/renewed" \
        "$STATE/adopted" "$STARTED" "$STATE/flannel-backend" "$STATE/cordoned" "$STATE/applied/$ROLE"
    # What is empty now: k3s's folders, and the one where the kubelet looks for volume plugins.
    plugins=/usr/libexec/kubernetes
    for dir in "$DATA" /var/lib/rancher "$CONF" /etc/rancher/node /etc/rancher /run/k3s /run/flannel /var/lib/kubelet \
        $plugins/kubelet-plugins/volume/exec $plugins/kubelet-plugins/volume $plugins/kubelet-plugins $plugins; do
        rmdir "$dir" 2>/dev/null || true
    done
}
