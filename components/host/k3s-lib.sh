# shellcheck shell=sh
# What the steps on k3s share: binary, files, unit, start, waiting, drain. Which layer a failure is in: diagnose.sh.
# ROLE is server or agent; UNIT its systemd unit. A step defines kube: kubectl as this node may use it.
# shellcheck disable=SC2034,SC2154
BIN=/usr/local/bin/k3s
CONF=/etc/rancher/k3s
DATA=/var/lib/rancher/k3s
CA=$DATA/server/tls/server-ca.crt
MEMBERSHIP=$CONF/config.yaml.d/50-membership.yaml
REGISTRATION=$CONF/config.yaml.d/40-registration.yaml
# Keys of the bucket for snapshots, on servers; written from secrets, in no bundle.
S3_KEYS=$CONF/config.yaml.d/60-s3.yaml
# What k3s was last started with.
STARTED=$STATE/k3s-started
RESTART=0
. "$KIT/clear.sh"
. "$KIT/diagnose.sh"
. "$KIT/flannel.sh"
. "$KIT/show-stat.sh"
# MainPID that a restart ends, and when the new one was first seen.
old_pid=""
up_since=0

# The staged binary takes its place by a rename; the running process keeps the old one until it is restarted.
install_binary() {
    staged=$STATE/bin/$(setting version)/k3s
    printf '%s\n' "$ROLE" >"$STATE/k3s-role"
    [ -x "$staged" ] || fail "the binary $staged is not there" "raise nodes[].rebuilt of $NODE and run pulumi up again"
    if ! cmp -s "$staged" "$BIN"; then
        # A copy: a link would keep SELinux's label of /var/lib, which systemd may not execute.
        cp "$staged" "$BIN.new" || { rm -f "$BIN.new"; fail "could not write $BIN.new ($(free_space /usr/local))" "free some space there and run pulumi up again"; }
        chmod 0755 "$BIN.new"
        on_disk "$BIN.new"
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
    if registration=$(content "$REGISTRATION"); then put "$registration" "$REGISTRATION" 0600; else rm -f "$REGISTRATION"; fi
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
        # What an agent takes from the servers at its start.
        setting from-servers | grep . || true
        # Files of the user's that k3s reads (host.files), as the step prepare has written them.
        setting reads | while read -r path _; do
            if [ -n "$path" ]; then echo "$path"; cat "$path" 2>/dev/null || true; fi
        done
    } | sha256sum | cut -d ' ' -f 1
}

# A run that was cut off between writing and restarting: what runs is not what the files say.
note_missed_restart() {
    if [ -s "$STARTED" ] && [ "$(start_digest)" != "$(cat "$STARTED")" ]; then
        RESTART=1
        # A drop-in of the unit may be among them.
        systemctl daemon-reload
    fi
    lost_link=$(missing_flannel "$UNIT")
    if [ -n "$lost_link" ]; then
        say "$NODE: restarts for: the pod network's interface $lost_link is missing or down"
        RESTART=1
    fi
    note_renewal
}

# note_renewal: the user has raised rotate.certificates since this node's certificates were last renewed.
RENEW=0
note_renewal() {
    [ "$(setting renew 0)" != "$(cat "$STATE/renewed" 2>/dev/null || echo 0)" ] || return 0
    # A node that has never run makes new ones anyway.
    if [ -s "$STARTED" ] && unit_is ActiveState active; then RENEW=1 RESTART=1; fi
}

# renew: k3s by itself does so only in the last months of its certificates; its command does at any time, while k3s does not run.
renew() {
    systemctl stop "$UNIT"
    if ! timeout 60 "$BIN" certificate rotate >"$WORK/renew" 2>&1; then
        systemctl start --no-block "$UNIT"
        fail "k3s could not renew its certificates: $(tail -n 2 "$WORK/renew" | mask)" "k3s was started again with those that it has; run pulumi up again"
    fi
    say "$NODE: certificates renewed"
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

# password FILE: the token without its pinned CA.
password() { sed 's/^K10[0-9a-f]*::[a-z]*://' "$1" 2>/dev/null; }

# escaped: stdin as it stands between double quotes, in JSON and in curl's configuration.
escaped() { sed 's/[\\"]/\\&/g'; }

# supervisor USER PASSWORD-FILE URL [CURL-OPTION…]: asks k3s's own routes as server or node; the password is in no argument.
supervisor() {
    printf 'user = "%s:%s"\n' "$1" "$(password "$2" | escaped)" >"$WORK/curlrc"
    supervisor_url=$3
    shift 3
    curl -sS --max-time 15 -K "$WORK/curlrc" --cacert "${supervisor_ca:-$CA}" "$@" "$supervisor_url" 2>"$WORK/curl.err"
}

# The objects of a JSON list, one per line.
per_line() { sed 's/},{/}\n{/g'; }

# members_at URL TOKEN-FILE: as another master lists them, one per line.
members_at() { supervisor server "$2" "$1/db/info" | per_line; }

has_etcd_data() { [ -d "$DATA/server/db/etcd/member" ]; }

# was_removed: the cluster let this member go while the host was away. k3s notes that in a file, unless etcd has ended before it looks
# (seen with 1.36.3; pkg/executor/embed/etcd): then it waits for etcd for ever, and only the others' list tells.
was_removed() {
    has_etcd_data || return 1
    [ ! -e "$DATA/server/db/etcd/tombstone" ] || return 0
    if unit_is ActiveState active || [ ! -s "$DATA/server/db/etcd/name" ]; then return 1; fi
    members_at "$(setting join-url)" "$SECRETS/server-token" >"$WORK/members" && grep -q '"name"' "$WORK/members" || return 1
    # One that was added and has not started yet has no name.
    if grep -qv '"name":"[^"][^"]*"' "$WORK/members"; then return 1; fi
    ! grep -qF "\"name\":\"$(cat "$DATA/server/db/etcd/name")\"" "$WORK/members"
}

kubectl_admin() { timeout 15 "$BIN" kubectl --kubeconfig "$CONF/k3s.yaml" --request-timeout=10s "$@" 2>"$WORK/kubectl.err"; }

unit_is() { [ "$(systemctl show -p "$1" --value "$UNIT")" = "$2" ]; }
restarts() { systemctl show -p NRestarts --value "$UNIT"; }

# start_unit: enabled, and running with what is installed now. Never blocks: k3s's units have no start limit.
start_unit() {
    systemctl -q enable "$UNIT" 2>/dev/null || systemctl enable "$UNIT" >&2
    started=$(now)
    if [ "$RESTART" = 1 ] && ! unit_is ActiveState inactive; then
        old_pid=$(systemctl show -p MainPID --value "$UNIT")
        if [ "$RENEW" = 1 ]; then renew; fi
        restart_unit
        outcome=restarted
    elif ! unit_is ActiveState active; then
        systemctl reset-failed "$UNIT" 2>/dev/null || true
        systemctl start --no-block "$UNIT"
        outcome=started
    else
        outcome=unchanged
    fi
    setting flannel-backend vxlan >"$STATE/flannel-backend"
    start_digest >"$STARTED"
    restarts_before=$(restarts)
}

# flannel_before: the backend that k3s was last started with here. What an older version of this program started says nothing: then it
# was vxlan, and with `none` somebody else's network is not touched.
flannel_before() { cat "$STATE/flannel-backend" 2>/dev/null || if [ "$(setting flannel-backend vxlan)" = none ]; then echo none; else echo vxlan; fi; }

# With another backend the former one's tunnel and routes would go on taking the pods' traffic.
restart_unit() {
    if [ "$(flannel_before)" = "$(setting flannel-backend vxlan)" ]; then
        systemctl restart --no-block "$UNIT"
        return
    fi
    timeout 120 systemctl stop "$UNIT" || systemctl kill -s KILL "$UNIT" || true
    if command -v ip >/dev/null 2>&1; then remove_flannel "$(setting flannel-backend vxlan)"; fi
    systemctl start --no-block "$UNIT"
}

# remove_flannel BACKEND: what flannel left here with another one. Pods that run hang on cni0 and would be without a network for good
# when it went; k3s uses the one that it finds.
remove_flannel() {
    for link in flannel.1 flannel-v6.1 flannel-wg flannel-wg-v6; do
        case $1:$link in vxlan:flannel.1 | vxlan:flannel-v6.1 | wireguard-native:flannel-wg*) continue ;; esac
        if ip link delete "$link" 2>/dev/null; then say "$NODE: interface $link of the former pod network is gone"; fi
    done
    sed -n 's/^FLANNEL_\(IPV6_\)*NETWORK=//p' "${SUBNET_ENV:-/run/flannel/subnet.env}" 2>/dev/null | while read -r network; do
        ip route show root "$network" 2>/dev/null </dev/null
    done | while read -r route via _; do
        if [ "$via" = via ]; then ip route delete "$route" </dev/null 2>/dev/null || true; fi
    done
    [ -n "$(ip -o link show master cni0 2>/dev/null)" ] || ip link delete cni0 2>/dev/null || true
}

# True when k3s runs now and will be restarted.
will_restart() { [ "$RESTART" = 1 ] && unit_is ActiveState active; }

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

# Not the one that is about to end.
process_up() {
    if unit_is MainPID 0 || unit_is MainPID "$old_pid"; then return 1; fi
    unit_is SubState running || unit_is ActiveState activating || return 1
    up_since=$(now)
}
api_ready() { [ "$(kube get --raw /readyz)" = ok ]; }

# not_waited_for WHAT: says whose job it is, where the step cannot wait for it.
not_waited_for() {
    why_not=$(setting "no-$1")
    [ -n "$why_not" ] || return 1
    say "$NODE: not waited for: $1 ($why_not)"
}

# wait_for_node: until the Node is Ready, which it is without flannel's interface too; where somebody else brings its network later, until it
# is there and speaks.
wait_for_node() {
    if not_waited_for node-ready; then stage_wait "Node there" node_there; else stage_wait "Node Ready" node_ready; fi
    flannel_up || stage_wait "the pod network's interface up" flannel_up
}
flannel_up() { [ -z "$(missing_flannel "$UNIT" activating)" ]; }

# A Node stays Ready over a short restart: what counts is that the kubelet of this version has spoken since.
node_ready() {
    kube get node "$NODE" -o 'jsonpath={.metadata.creationTimestamp} {.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}' >"$WORK/node" || return 1
    IFS= read -r told <"$WORK/node" || [ -n "$told" ]
    [ "${told#* }" = "$(setting version) True" ] && reported "${told%% *}"
}
node_there() {
    kube get node "$NODE" -o 'jsonpath={.metadata.creationTimestamp} {.status.nodeInfo.kubeletVersion}' >"$WORK/node" || return 1
    IFS= read -r told <"$WORK/node" || [ -n "$told" ]
    [ "${told#* }" = "$(setting version)" ] && reported "${told%% *}"
}

# reported CREATED: since this start, by this host's own clock. A Node that is new has; one that was there has when its lease was
# renewed, which a kubelet does as soon as it runs (and makes only some seconds after a new Node).
reported() {
    [ "${outcome-}" != unchanged ] || return 0
    # A date command that cannot read it (busybox) is no reason to wait.
    created=$(date -d "$1" +%s 2>/dev/null) || return 0
    [ "$created" -lt "$up_since" ] || return 0
    renewed=$(kube -n kube-node-lease get lease "$NODE" -o 'jsonpath={.spec.renewTime}') || return 1
    renewed=$(date -d "$renewed" +%s 2>/dev/null) || return 0
    [ "$renewed" -gt "$up_since" ]
}

# proxy_name: what the proxies call this master; an own backend of the stack file may have other names than the nodes'.
proxy_name() {
    in_proxy=$(sed -n 's/^ExecStop=.*drain\.sh begin \([^ ]*\) .*/\1/p' "$(unit_file)" 2>/dev/null) || in_proxy=""
    printf '%s\n' "${in_proxy:-$NODE}"
}
unit_file() { echo "/etc/systemd/system/$UNIT"; }

# masters_in FILE: name in the proxy and address:port of every master; not of the servers of other backends.
masters_in() {
    awk -v be="$(setting backend)" '/^[a-z]/ { mine = ($1 == "backend" && $2 == be) } mine && $1 == "server" { print $2, $3 }' "$1"
}
masters_known() { masters_in /etc/haproxy/haproxy.cfg; }

# masters_up: what the local proxy calls the masters that it sees up.
masters_up() { local_servers_up "$(setting backend)"; }

# masters_down: those that it does not.
masters_down() {
    masters_up >"$WORK/up"
    masters_known | cut -d ' ' -f 1 | grep -vxF -f "$WORK/up" | tr '\n' ' '
}

# check_clock: before a join. Certificates are valid from the moment they are made, and etcd wants clocks that agree; a master's
# answer says what time it is there. No answer is no statement about clocks.
check_clock() {
    there=$(curl -sk -o /dev/null -D - --max-time 5 "$(setting join-url)/ping" 2>/dev/null | tr -d '\r' | sed -n 's/^[Dd]ate: //p')
    [ -n "$there" ] || return 0
    there=$(date -d "$there" +%s 2>/dev/null) || return 0
    here=$(now)
    skew=$((here - there))
    if [ "$skew" -ge -30 ] && [ "$skew" -le 30 ]; then return 0; fi
    fail "the clock of this host is ${skew#-} s $(if [ "$skew" -lt 0 ]; then echo behind; else echo ahead of; fi) the masters' (here $(date -u "-d@$here"), there $(date -u "-d@$there"))
  layer: clock" "set the clocks (is time synchronisation running? timedatectl) and run pulumi up again; k3s was not started"
}

# True on a node that needs another master to start: an agent, or a server that joins.
joins() { [ "$ROLE" = agent ] || grep -qs server "$MEMBERSHIP"; }

# --- drain: pods leave the node by eviction, within their disruption budgets, before k3s is restarted ----------------------

# Pods that an eviction can move: not finished, not of a DaemonSet, not static ones.
movable_pods() {
    # shellcheck disable=SC2016
    kube get pods -A --field-selector "spec.nodeName=$NODE" -o 'go-template={{range .items}}{{$kind := ""}}{{range .metadata.ownerReferences}}{{$kind = .kind}}{{end}}{{if and (ne $kind "DaemonSet") (ne $kind "Node") (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}{{.metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}{{end}}' >"$WORK/pods"
}

evict_all() {
    movable_pods || return 1
    [ -s "$WORK/pods" ] || return 0
    while read -r namespace pod; do
        printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}\n' "$pod" "$namespace" >"$WORK/eviction"
        # 429 while a budget allows no more: asked again until the time is over.
        kube create --raw "/api/v1/namespaces/$namespace/pods/$pod/eviction" -f "$WORK/eviction" >/dev/null || true
    done <"$WORK/pods"
    return 1
}

# Only where it is asked for (rollout.drain), and only before a restart of a k3s that runs.
drain() {
    seconds=$(setting drain-seconds)
    if [ -z "$seconds" ] || ! will_restart; then return 0; fi
    if [ "$(kube get node "$NODE" -o 'jsonpath={.spec.unschedulable}')" != true ]; then
        kube cordon "$NODE" >/dev/null || fail "could not cordon the Node: $(tail -n 1 "$WORK/kubectl.err")" "look whether the API answers through this node's proxy"
        : >"$STATE/cordoned"
    fi
    if ! wait_for "$seconds" evict_all; then
        uncordon
        fail "these pods did not leave within $seconds s (namespace name): $(tr '\n' ';' <"$WORK/pods")" \
            "look at their PodDisruptionBudgets (kubectl get pdb -A), or raise k3s-ha:rollout.drainTimeout; k3s was not restarted"
    fi
    say "$NODE: drained"
}

uncordon() {
    [ -e "$STATE/cordoned" ] || return 0
    kube uncordon "$NODE" >/dev/null || return 1
    rm -f "$STATE/cordoned"
}

# --- the end of a step -------------------------------------------------------------------------------------------------------

# trust_ca FILE: the proxies check the masters' certificates from now on.
trust_ca() {
    dest=$(setting proxy-ca)
    [ -n "$dest" ] || return 0
    # The last line of a file that verifies (apply.sh); a render that was cut off has not written it.
    if ! cmp -s "$1" "$dest" || ! grep -qxF "# $dest sha256 $(sha256sum <"$1" | cut -d ' ' -f 1)" /etc/haproxy/haproxy.cfg; then
        put "$1" "$dest" 0644
        sh "$KIT/haproxy.sh" render >&2 || { told; exit 1; }
    fi
}

# After the start has come to its good end.
remember_renewal() { setting renew 0 >"$STATE/renewed"; }

# What drift.sh looks at. The membership is not in it: recover.sh changes it, and it counts only for a start without data.
remember_k3s() {
    remember_renewal
    {
        # install_binary has compared it with the staged one.
        echo "sum $(cat "$STATE/bin/$(setting version)/sha256") $BIN"
        files /usr/local/bin/k3s-killall.sh "$CONF/token" "$CONF/agent-token" "$CONF/config.yaml" "$CONF/registries.yaml" "$CONF/authn.yaml" \
            "$REGISTRATION" "$S3_KEYS" "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf" "/etc/systemd/system/$UNIT" "$(setting proxy-ca)"
        echo "unit $UNIT"
    } | remember k3s
}

remove_k3s() {
    if [ -x /usr/local/bin/k3s-killall.sh ]; then sh /usr/local/bin/k3s-killall.sh >/dev/null 2>&1; else sh "$KIT/k3s-killall.sh" >/dev/null 2>&1; fi
    # The stop left the rule of drain.sh.
    address=$(sed -n 's/^ExecStartPost=.*drain\.sh end //p' "/etc/systemd/system/$UNIT" 2>/dev/null) || address=""
    [ -z "$address" ] || sh "$KIT/drain.sh" end "$address"
    systemctl -q disable "$UNIT" 2>/dev/null || true
    rm -rf "/etc/systemd/system/$UNIT" "/etc/systemd/system/$UNIT.env" "/etc/systemd/system/$UNIT.d" "/run/systemd/system/$UNIT.d"
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    if [ -f "$STATE/links" ]; then
        while read -r link; do [ ! -L "$link" ] || rm -f "$link"; done <"$STATE/links"
    fi
    clear_k3s
    rm -rf "$BIN" /usr/local/bin/k3s-killall.sh "$STATE/links" "$STATE/k3s-role" "$STATE/k3s-unit" "$STATE/renewed" "$STATE/adopted" "$STARTED" "$STATE/flannel-backend" "$STATE/cordoned" "$STATE/applied/k3s"
    # What is empty now: k3s's folders, and the one where the kubelet looks for volume plugins.
    plugins=/usr/libexec/kubernetes
    for dir in "$DATA" /var/lib/rancher "$CONF" /etc/rancher/node /etc/rancher /run/k3s /run/flannel /var/lib/kubelet \
        $plugins/kubelet-plugins/volume/exec $plugins/kubelet-plugins/volume $plugins/kubelet-plugins $plugins; do rmdir "$dir" 2>/dev/null || true; done
}
