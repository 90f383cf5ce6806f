# shellcheck shell=sh
# What the steps server and agent share: binary, files, unit, start, waiting, and telling which layer a failure is in.
# ROLE is server or agent; UNIT its systemd unit.
# shellcheck disable=SC2034,SC2154
BIN=/usr/local/bin/k3s
CONF=/etc/rancher/k3s
DATA=/var/lib/rancher/k3s
CA=$DATA/server/tls/server-ca.crt
RESTART=0

# The staged binary takes its place by a rename; the running process keeps the old one until it is restarted.
install_binary() {
    staged=$STATE/bin/$(setting version)/k3s
    printf '%s\n' "$ROLE" >"$STATE/k3s-role"
    [ -x "$staged" ] || fail "the binary $staged is not there" "run pulumi up again; if it stays so: pulumi up --replace the resource $NODE-stage"
    if ! cmp -s "$staged" "$BIN"; then
        ln -f "$staged" "$BIN.new" 2>/dev/null || cp "$staged" "$BIN.new" || fail "could not write $BIN.new" "free some space below /usr/local"
        chmod 0755 "$BIN.new"
        mv -f "$BIN.new" "$BIN"
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

# Files of the bundle whose change needs a restart of k3s.
install_files() {
    before=$CHANGED
    put_files "$CONF/"
    put_files "$DATA/agent/etc/"
    # A file that the plan has no longer: k3s would go on reading it.
    for path in "$CONF/registries.yaml" "$CONF/authn.yaml" "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf"; do
        if [ -f "$path" ] && ! content "$path" >/dev/null; then
            rm -f "$path"
            CHANGED=$((CHANGED + 1))
        fi
    done
    [ "$CHANGED" = "$before" ] || RESTART=1
    before=$CHANGED
    put_files /etc/systemd/system/
    if [ "$CHANGED" != "$before" ]; then
        systemctl daemon-reload
        RESTART=1
    fi
}

# put_token SECRET FILE USER: the token in the form that pins the cluster's CA, where it is known; a changed form is no restart.
put_token() {
    if [ -n "$ca_hash" ]; then
        printf 'K10%s::%s:%s\n' "$ca_hash" "$3" "$(cat "$SECRETS/$1")" >"$WORK/token"
    else
        cp "$SECRETS/$1" "$WORK/token"
    fi
    put "$WORK/token" "$2" 0600
}

kubectl_admin() { timeout 15 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" --request-timeout=10s "$@" 2>"$WORK/kubectl.err"; }

unit_is() { [ "$(systemctl show -p "$1" --value "$UNIT")" = "$2" ]; }
restarts() { systemctl show -p NRestarts --value "$UNIT"; }

# start_unit: enabled, and running with what is installed now. Never blocks: k3s's units have no start limit.
start_unit() {
    systemctl -q enable "$UNIT" 2>/dev/null || systemctl enable "$UNIT" >&2
    started=$(now)
    if [ "$RESTART" = 1 ] && ! unit_is ActiveState inactive; then
        systemctl restart --no-block "$UNIT"
        outcome=restarted
    elif ! unit_is ActiveState active; then
        systemctl reset-failed "$UNIT" 2>/dev/null || true
        systemctl start --no-block "$UNIT"
        outcome=started
    else
        outcome=unchanged
    fi
    restarts_before=$(restarts)
}

# A process that systemd had to start four times is not going to come up by waiting.
crash_loop() { [ "$(($(restarts) - restarts_before))" -ge 4 ]; }

# stage_wait NAME COMMAND…: waits for one stage of the start; on failure names the layer that is in the way.
stage_wait() {
    stage=$1
    shift
    until "$@"; do
        if crash_loop; then why="k3s ends again and again while waiting for: $stage"; break; fi
        if [ "$(now)" -ge "$deadline" ]; then why="no success within $limit s while waiting for: $stage"; break; fi
        # kubectl costs more processor time than what it waits for.
        sleep 0.5 2>/dev/null || sleep 1
        why=""
    done
    [ -z "${why-}" ] || diagnose "$why"
    say "$NODE: $stage ($(($(now) - started)) s)"
}

process_up() { unit_is SubState running || { unit_is ActiveState activating && ! unit_is MainPID 0; }; }

# proxy_up: how many masters the local proxy sees up, or nothing when it cannot be asked.
proxy_up() {
    echo "show stat" | socat -t 3 - /run/haproxy/admin.sock 2>/dev/null |
        awk -F, -v be="$(setting backend)" '$1 == be && $2 != "BACKEND" && $18 ~ /^UP/ { n++ } END { print n + 0 }'
}

# True on a node that needs another master to start: an agent, or a server that joins.
joins() { [ "$ROLE" = agent ] || grep -qs server "$CONF/config.yaml.d/50-membership.yaml"; }

# diagnose WHAT: which layer is in the way (port, TLS, token, clock, etcd), from k3s's own words and the proxy's view.
diagnose() {
    since=$(date -d "@$started" '+%Y-%m-%d %H:%M:%S' 2>/dev/null || echo "-10min")
    journalctl -u "$UNIT" --since "$since" --no-pager -o cat 2>/dev/null | tail -n 400 >"$WORK/journal"
    seen() { grep -Eqi "$1" "$WORK/journal"; }
    up=$(proxy_up)
    if seen 'not yet valid|certificate has expired'; then
        layer=clock remedy="compare the clocks of the nodes (date -u; is time synchronisation running?) and run pulumi up again"
    elif seen 'token CA hash does not match'; then
        layer="token (its CA hash is not this cluster's)" remedy="the master that answered belongs to another cluster, or k3s-ha:caHash is wrong; compare with pulumi stack output caHash"
    elif seen 'not authorized|401 Unauthorized|invalid token|password does not match|token is not valid|bootstrap data already found and encrypted with different token'; then
        layer=token remedy="the token of this node is not the cluster's; if the Node existed before under this name, delete it (kubectl delete node $NODE) and run pulumi up again"
    elif seen 'duplicate node name|Node password rejected|hash does not match'; then
        layer="etcd (a member or Node of this name is still known)" remedy="delete the old Node, which removes its etcd member: kubectl delete node $NODE, then run pulumi up again"
    elif seen 'critical configuration value mismatch'; then
        layer="configuration (differs from the other servers')" remedy="the settings named in the log must be equal on all servers"
    elif seen 'learner|unhealthy cluster|etcd cluster join failed|no leader|context deadline exceeded.*etcd|waiting for etcd'; then
        layer=etcd remedy="look at the members (k3s kubectl get --raw /db/info on a master): all voters must be up and reach ports 2379 and 2380 of $(setting address)"
    elif joins && [ "${up:-0}" = 0 ]; then
        layer="port (the local proxy sees no master up)" remedy="from this host, reach port 6443 of the masters ($(awk '$1 == "server" { print $3 }' /etc/haproxy/haproxy.cfg | sort -u | tr '\n' ' ')): firewall, VPN routes; the proxy's view: echo 'show stat' | socat - /run/haproxy/admin.sock"
    elif seen 'x509|tls:'; then
        layer=TLS remedy="a certificate is not accepted; read the log lines above"
    elif seen 'address already in use'; then
        layer="port (already in use on this host)" remedy="find what listens (ss -ltnp) and stop it"
    else
        layer="k3s itself" remedy="read the log lines above (journalctl -u $UNIT)"
    fi
    fail "$1
  layer: $layer
  seen: unit $(systemctl show -p ActiveState --value "$UNIT")/$(systemctl show -p SubState --value "$UNIT"), restarted $(restarts) times, local proxy sees ${up:-?} masters up" "$remedy"
}

# trust_ca FILE: the proxies check the masters' certificates from now on.
trust_ca() {
    dest=$(setting proxy-ca)
    [ -n "$dest" ] || return 0
    if ! cmp -s "$1" "$dest"; then
        put "$1" "$dest" 0644
        sh "$KIT/haproxy.sh" render >&2
    fi
}

remove_k3s() {
    if [ -x /usr/local/bin/k3s-killall.sh ]; then sh /usr/local/bin/k3s-killall.sh >/dev/null 2>&1; else sh "$KIT/k3s-killall.sh" >/dev/null 2>&1; fi
    systemctl -q disable "$UNIT" 2>/dev/null || true
    rm -rf "/etc/systemd/system/$UNIT" "/etc/systemd/system/$UNIT.env" "/etc/systemd/system/$UNIT.d"
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    if [ -f "$STATE/links" ]; then
        while read -r link; do [ ! -L "$link" ] || rm -f "$link"; done <"$STATE/links"
    fi
    # The data folder may be a mount point; its content goes in any case.
    find "$DATA" -mindepth 1 -delete 2>/dev/null || rm -rf "${DATA:?}"/* 2>/dev/null || true
    rm -rf "$CONF" /etc/rancher/node /run/k3s /run/flannel "$BIN" /usr/local/bin/k3s-killall.sh "$STATE/links" "$STATE/k3s-role"
    find /var/lib/kubelet -mindepth 1 -delete 2>/dev/null || true
    # What is empty now: k3s's folders, and the one where the kubelet looks for volume plugins.
    plugins=/usr/libexec/kubernetes
    for dir in "$DATA" /var/lib/rancher /etc/rancher /var/lib/kubelet \
        $plugins/kubelet-plugins/volume/exec $plugins/kubelet-plugins/volume $plugins/kubelet-plugins $plugins; do rmdir "$dir" 2>/dev/null || true; done
}
