# shellcheck shell=sh
# Why a k3s does not come up: what ended it, in its own words, decides; where it has not ended, its log and the proxy's
# view do. Needs k3s-lib.sh. The words are those of k3s 1.36.3 and of what it embeds.
# shellcheck disable=SC2154

# ending FILE: the line that tells why k3s ended, of the last of its runs in this log that did; or nothing. The first
# such line of a run: what follows is its farewell, and the next start's lines are no reason.
ending() {
    awk '
        /msg="?Starting k3s v/ || /^Starting .*\.service/ || /^Starting Lightweight Kubernetes/ { this = "" }
        /level=fatal|Shutdown request received: |^panic: |^fatal error: |etcd exited: |Failed at step / ||
            /killed by the OOM killer|result .oom-kill/ {
            # Of a founding that was cut off every further start says only this; the reason is the run before.
            if (this == "" && !(/no bootstrap data found/ && last != "")) last = $0
            this = $0
        }
        END { print last }' "$1"
}

# plainly: a line of k3s's log without time, level and quotes.
plainly() {
    sed 's/^.*level=[a-z]* msg="\(.*\)"[^"]*$/\1/; s/\\\\*"/"/g; s/^Shutdown request received: "\(.*\)"$/\1/' |
        cut -c 1-600
}

# component TEXT: what of k3s ended, as people call it.
component() {
    printf '%s\n' "$1" | sed -n 's/^\([a-z-]*\) \(exited\|panic\): .*/\1/p' |
        sed 's/^apiserver$/kube-apiserver/'
}

# port_of TEXT: the one that it could not listen on.
port_of() {
    printf '%s\n' "$1" |
        sed -n 's/.*listen [a-z0-9]* [^ ]*:\([0-9]*\): bind.*/\1/p
            s/.*:\([0-9]*\): bind: address already in use.*/\1/p' |
        head -n 1
}

# blame RUNBOOK LAYER REMEDY…
blame() {
    runbook=docs/runbooks/$1.md layer=$2
    shift 2
    remedy=$*
}

# says REGEXP…: one of them matches the text that told_by looks at.
says() { printf '%s\n' "$text" | grep -Eqi "$(IFS='|' && printf '%s' "$*")"; }

# told_of_host: cgroups, limits, full disks, ports.
told_of_host() {
    if says 'to not run on a host using cgroup v1|cgroup v1 support is unsupported'; then
        blame cgroup-v1 "host (cgroup v1)" \
            "boot it with cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line), or set" \
            "k3s-ha:kubelet: { failCgroupV1: false } while Kubernetes still has that"
    elif says 'failed to find memory cgroup|failed to find (cpu|pids|cpuset) cgroup|missing cgroup'; then
        blame cgroup-controller "host (a cgroup controller is missing)" \
            "switch it on: cgroup_memory=1 cgroup_enable=memory on the kernel's command line (a Raspberry Pi lacks" \
            "it), and reboot"
    elif says '(inotify|fsnotify|watcher).*(no space left|too many open files)'; then
        blame inotify-limits "host (inotify's limits)" \
            "raise them: k3s-ha:host.sysctl: { fs.inotify.max_user_instances: 8192, fs.inotify.max_user_watches:" \
            "524288 }; it is no matter of disk space"
    elif says 'too many open files'; then
        blame open-files "host (limit of open files)" \
            "look at LimitNOFILE in drop-ins of $UNIT (systemctl cat $UNIT) and at sysctl fs.file-max"
    elif says 'no space left on device|disk quota exceeded'; then
        blame disk-full "disk (full)" "free some space: df -h $DATA /var/lib/kubelet /run; then run pulumi up again"
    elif says 'mvcc: database space exceeded|NOSPACE'; then
        blame etcd-quota "etcd (its database has reached its quota)" \
            "find what fills it, then run npm run etcd-space; or raise the quota (k3s-ha:server.config etcd-arg:" \
            "[quota-backend-bytes=…])"
    elif says 'address already in use'; then
        port=$(port_of "$text")
        blame port-in-use "port${port:+ $port} (already in use on this host)" \
            "find what listens (ss -lntup${port:+ sport = :$port}) and stop it; a kubelet or k3s of something else" \
            "uses k3s's ports, and a VPN's WireGuard (wg show) that of flannel's wireguard-native"
    else
        return 1
    fi
}

# told_of_trust: clocks, certificates, tokens, names and membership.
told_of_trust() {
    if says 'current time [^ ]+ is before'; then
        blame clock "clock (of this host is behind: a certificate is not valid yet)" \
            "set it (date -u on all nodes; timedatectl: is time synchronisation running?) and run pulumi up again"
    elif says 'current time [^ ]+ is after'; then
        blame certificates-end "certificates (one has expired, or the clock is ahead)" \
            "compare the clocks of the nodes (date -u); if they are right, raise k3s-ha:rotate.certificates and run" \
            "pulumi up again"
    elif says 'not yet valid|certificate has expired'; then
        blame clock clock \
            "compare the clocks of the nodes (date -u; is time synchronisation running?); if they are right, a" \
            "certificate has expired: raise k3s-ha:rotate.certificates; then run pulumi up again"
    elif says 'token CA hash does not match'; then
        blame token-ca-hash "token (its CA hash is not this cluster's)" \
            "the server that answered belongs to another cluster, or k3s-ha:caHash is wrong; compare with pulumi" \
            "stack output caHash"
    elif says 'bootstrap data already found and encrypted with different token'; then
        blame token token \
            "the token of this node is not the cluster's: its data were encrypted with another server token. Set that" \
            "one: pulumi config set --secret k3s-ha:token"
    elif says 'node password rejected|password does not match|hash does not match'; then
        blame node-known "etcd (a member or Node of this name is still known)" \
            "delete the old Node, its password goes with it: kubectl delete node $NODE, then run pulumi up again; if" \
            "that Node is another host, give this one a name of its own"
    elif says 'duplicate node name'; then
        blame node-known "etcd (a member or Node of this name is still known)" \
            "delete the old Node, which removes its etcd member: kubectl delete node $NODE, then run pulumi up again"
    elif says 'not authorized|401 Unauthorized|invalid token|token is not valid'; then
        blame token token \
            "the token of this node is not the cluster's (k3s-ha:token, agentToken); if the Node existed before under" \
            "this name, delete it (kubectl delete node $NODE) and run pulumi up again"
    elif says 'permanently removed from the cluster'; then
        blame member-removed "etcd (this server's member was removed)" \
            "raise nodes[].rebuilt of $NODE to let it join again with an empty store, or take it out of the stack file"
    elif says 'no bootstrap data found'; then
        blame founding-cut-off "etcd (the cluster was not founded to the end)" \
            "run pulumi up again: it founds the cluster again, since nothing was written yet; if this server served" \
            "before, read the runbook first"
    elif says 'critical configuration value mismatch'; then
        blame configuration-differs "configuration (differs from the other servers')" \
            "the settings named in the log must be equal on all servers"
    else
        return 1
    fi
}

# told_of_data: what cannot be executed or read, and memory.
told_of_data() {
    if says 'Failed at step EXEC|fork/exec .*permission denied|exec format error' \
        'exec: "k3s-[a-z-]*": executable file not found'; then
        blame binary-not-executable "host (a binary of k3s may not be executed)" \
            "look at SELinux (ls -Z $BIN; restorecon -v $BIN; ausearch -m avc -ts recent), at noexec (findmnt -T" \
            "$DATA; findmnt -T $BIN), and at the architecture"
    elif says 'killed by the OOM killer|oom-kill'; then
        blame memory "memory (the kernel killed k3s)" \
            "give the host more memory; a server needs 2 GiB, and what else runs here counts"
    elif says \
        'crc mismatch|wal: .*corrupt|failed to read WAL' \
        'snap: .*(corrupt|mismatch)|database file .*invalid|failed to recover v3 backend'; then
        blame etcd-damaged "etcd (the data of this server are damaged)" \
            "take $NODE's data from the others: raise nodes[].rebuilt of $NODE and run pulumi up again; where it is" \
            "the only server, restore a snapshot (docs/runbooks/restore-snapshot.md)"
    else
        return 1
    fi
}

# told_of_setting: a setting or a file that is not accepted. That ends k3s: where it has not ended, such words are
# noise.
told_of_setting() {
    if says \
        '(flannel|wireguard|vxlan|networking).*(operation not supported|protocol not supported)' \
        '(flannel|wireguard|vxlan|networking).*(module.* not found|unknown device type)'; then
        blame flannel-interface "host (its kernel lacks what flannel's backend needs)" \
            "load the module (modprobe vxlan; modprobe wireguard for wireguard-native), which a container or a small" \
            "kernel may not have; or take another server.config flannel-backend before the cluster is founded"
    elif says 'pod ?cidr (is )?not (assigned|available)'; then
        blame flannel-interface "pods' network (the Node was given no part of it)" \
            "look for room (k3s kubectl get nodes -o custom-columns=N:.metadata.name,C:.spec.podCIDR; server.config" \
            "cluster-cidr), and at a controller manager that runs (server.config disable-controller-manager)"
    elif says 'overlayfs? snapshotter cannot be enabled|failed to mount overlay'; then
        blame host-file-system "disk (its file system takes no overlay)" \
            "set k3s-ha:$ROLE.config snapshotter: native (or fuse-overlayfs), or put $DATA on ext4 or xfs"
    elif says 'swap on is not supported'; then
        blame host-file-system "host (swap is on, and the kubelet refuses it)" \
            "switch it off (swapoff -a, and /etc/fstab), or take failSwapOn out of k3s-ha:kubelet"
    elif [ "$part" = containerd ]; then
        blame k3s-itself "k3s itself (containerd ended)" \
            "its reason is in its own log: $DATA/agent/containerd/containerd.log; a template of yours" \
            "(config-v3.toml.tmpl in k3s-ha:host.files) is the first thing to look at"
    elif says 'flannel.*interface|(find|get|lookup|look up).*(interface|flannel)|no such network interface'; then
        blame flannel-interface "network (flannel finds no interface)" \
            "check whether the VPN is up (ip address; k3s-ha:vpn.interface, server.config flannel-iface) and run" \
            "pulumi up again"
    elif says \
        '(audit policy|config(uration)?|file|open|stat) .*(no such file or directory|permission denied)' \
        '(audit policy|config(uration)?|file|open|stat) .*is a directory'; then
        blame configuration-file "configuration (${part:-k3s} cannot read a file that its settings name)" \
            "put the file on the host (k3s-ha:host.files; readable by root) or correct k3s-ha:$(setting_of "$part")"
    elif says \
        'unknown (shorthand )?flag|flag provided but not defined|invalid argument .* for |failed to parse' \
        'unrecognized feature gate|unknown (feature|admission)' \
        'invalid (configuration|flag|.*cidr|port range|tls-)' \
        'strict decoding error|failed to (load|validate) .*config|unable to load .*config|yaml: |json: '; then
        blame configuration-setting "configuration (${part:-k3s} does not accept a setting)" \
            "correct what is named: k3s-ha:$(setting_of "$part")"
    else
        return 1
    fi
}

# told_of_etcd: members that do not answer.
told_of_etcd() {
    if says \
        'learner|unhealthy cluster|etcd cluster join failed|no leader|context deadline exceeded.*etcd' \
        'waiting for etcd|etcd exited'; then
        blame etcd-no-majority etcd \
            "look at the members (k3s kubectl get --raw /db/info on a server): all voters must be up and reach ports" \
            "2379 and 2380 of $(setting address)"
    else
        return 1
    fi
}

# told_by TEXT [ended]: sets layer and remedy by the words of what ended k3s, or of its log; false when they tell
# nothing.
told_by() {
    text=$1 has_ended=${2-}
    part=$(component "$text")
    told_of_host || told_of_trust || told_of_data || { [ -n "$has_ended" ] && told_of_setting; } || told_of_etcd
}

# complaints: of a log, what is more than information: that is no reason of anything.
complaints() { grep -Ev 'level=(info|debug|trace)|^I[0-9]{4} |"level":"(info|debug)"' || true; }

# setting_of COMPONENT: where the stack file says what it is started with.
setting_of() {
    case $1 in
        kube-apiserver) echo "server.config kube-apiserver-arg" ;;
        kubelet) echo "kubelet and $ROLE.config kubelet-arg" ;;
        kube-proxy) echo "$ROLE.config kube-proxy-arg" ;;
        scheduler) echo "server.config kube-scheduler-arg" ;;
        controller-manager) echo "server.config kube-controller-manager-arg" ;;
        cloud-controller-manager) echo "server.config kube-cloud-controller-manager-arg" ;;
        etcd) echo "server.config etcd-arg" ;;
        *) echo "$ROLE.config" ;;
    esac
}

# diagnose WHAT: ends the step with the layer that is in the way.
diagnose() {
    since=$(date -d "@$start_time" '+%Y-%m-%d %H:%M:%S' 2>/dev/null || echo "-10min")
    journalctl -u "$UNIT" --since "$since" --no-pager -o cat 2>/dev/null >"$WORK/journal" || true
    up=$(servers_up | grep -c .) || true
    end_reason=$(ending "$WORK/journal" | mask | plainly)
    if [ -n "$end_reason" ]; then
        told_by "$end_reason" ended ||
            blame k3s-itself "k3s itself${part:+ ($part ended)}" \
                "its reason stands above; all of it: journalctl -u $UNIT"
    elif told_by "$(tail -n 400 "$WORK/journal" | complaints)"; then
        :
    elif grep -Eqi 'waiting for etcd|learner' "$WORK/journal"; then
        told_by "etcd exited"
    elif [ "${1%"pod network's interface up"}" != "$1" ]; then
        blame flannel-interface "network (k3s runs, and flannel has no interface)" \
            "check whether the VPN is up (ip address; k3s-ha:vpn.interface, server.config flannel-iface), and what" \
            "flannel says: journalctl -u $UNIT | grep -i flannel"
    elif joins && [ "${up:-0}" = 0 ]; then
        blame no-server-reachable "port (the local proxy sees no server up)" \
            "from this host, reach port 6443 of the servers" \
            "($(awk '$1 == "server" { print $3 }' /etc/haproxy/haproxy.cfg | sort -u | tr '\n' ' ')): firewall, VPN" \
            "routes; the proxy's view: echo 'show stat' | socat - /run/haproxy/admin.sock"
    elif grep -Eqi 'x509: certificate signed by unknown authority' "$WORK/journal"; then
        blame tls-other-ca "TLS (a certificate of another CA)" \
            "this host or the one that answered has data of another cluster: compare the CA's hash on both" \
            "(docs/runbooks/tls-other-ca.md) with pulumi stack output caHash; the log lines above say whose it is"
    elif grep -Eqi 'x509|tls:' "$WORK/journal"; then
        blame tls TLS "a TLS connection fails: the log lines above say which, and whether it is for a certificate"
    else
        blame k3s-itself "k3s itself" "read the log lines above (journalctl -u $UNIT)"
    fi
    unit_state=$(systemctl show -p ActiveState --value "$UNIT")/$(systemctl show -p SubState --value "$UNIT")
    fail "$1${end_reason:+
  ended by: $end_reason}
  layer: $layer
  runbook: $runbook
  seen: unit $unit_state, restarted $(restarts) times, local proxy sees ${up:-?} servers up; not up: $(servers_down)" \
        "$remedy"
}
