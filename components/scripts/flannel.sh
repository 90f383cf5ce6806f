# shellcheck shell=sh
# The pod network's interface, which goes when the VPN's is made again and which k3s makes at its start only; its Node
# stays Ready without.

# missing_flannel UNIT [activating]: the interface that flannel should have up and has not; or nothing, also where
# flannel is not used. A k3s that is still starting has until the end of its step: only that one asks with `activating`.
missing_flannel() {
    case $(systemctl show -p ActiveState --value "$1") in active) ;; "${2:-active}") ;; *) return 0 ;; esac
    network=$(sed -n 's/^"flannel-conf": "\(.*\)"$/\1/p' "${CONF:-/etc/rancher/k3s}/config.yaml" 2>/dev/null) ||
        network=""
    if [ -z "$network" ]; then
        network=${FLANNEL_CONF:-/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json}
        # Written at each start that uses flannel; an older one is of another time.
        begun=$(date -d "$(systemctl show -p ExecMainStartTimestamp --value "$1")" +%s 2>/dev/null) || return 0
        [ -f "$network" ] && [ "$(stat -c %Y "$network")" -ge "$begun" ] || return 0
    fi
    [ -r "$network" ] || return 0
    flannel_conf=$(tr -d ' \t\n' <"$network")
    vni=$(printf '%s' "$flannel_conf" | sed -n 's/.*"VNI":\([0-9]*\).*/\1/p')
    case $flannel_conf in
        *'"Type":"vxlan"'*) link=flannel.${vni:-1} link6=flannel-v6.${vni:-1} ;;
        *'"Type":"wireguard"'*) link=flannel-wg link6=flannel-wg-v6 ;;
        *) return 0 ;;
    esac
    is_up "$link" || is_up "$link6" || echo "$link"
}

is_up() { ip -o link show dev "$1" up 2>/dev/null | grep -q .; }
