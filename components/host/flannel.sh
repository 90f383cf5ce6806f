# shellcheck shell=sh
# The pod network's interface, which goes when the VPN's is made anew and which k3s makes at its start only; its Node stays Ready without.

# missing_flannel UNIT: the interface that flannel should have and has not; or nothing, also where flannel is not used.
missing_flannel() {
    network=${FLANNEL_CONF:-/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json}
    [ -f "$network" ] && [ "$(systemctl show -p ActiveState --value "$1")" = active ] || return 0
    # Written at each start that uses flannel; an older one is of another time.
    begun=$(date -d "$(systemctl show -p ExecMainStartTimestamp --value "$1")" +%s 2>/dev/null) || return 0
    [ "$(stat -c %Y "$network")" -ge "$begun" ] || return 0
    case $(tr -d ' \t\n' <"$network") in
        *'"Type":"vxlan"'*) link=flannel.1 link6=flannel-v6.1 ;;
        *'"Type":"wireguard"'*) link=flannel-wg link6=flannel-wg-v6 ;;
        *) return 0 ;;
    esac
    if ! ip link show "$link" >/dev/null 2>&1 && ! ip link show "$link6" >/dev/null 2>&1; then echo "$link"; fi
}
