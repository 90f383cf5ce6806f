# shellcheck shell=bash
# One network namespace is the router; each host has one of its own and a veth pair to the router with /32 addresses:
# routed, no shared layer 2, as on a VPN. Nothing of it is in the machine's own namespace.

netns_exists() { [[ -e /run/netns/$1 ]] && nsenter --net="/run/netns/$1" true 2>/dev/null; }
host_netns() { echo "$LAB_NAME.$1"; }
host_link() { echo "v-${1##*.}"; } # ADDRESS; a link's name has at most 15 characters

netns_remove() {
    [[ ! -e /run/netns/$1 ]] || ip netns delete "$1" 2>/dev/null || rm -f "/run/netns/$1"
}

router_up() {
    if ! netns_exists "$ROUTER_NETNS" || ! ip -n "$ROUTER_NETNS" route show "$LAB_NET.0/24" | grep -q sink; then
        netns_remove "$ROUTER_NETNS"
        ip netns add "$ROUTER_NETNS"
        ip -n "$ROUTER_NETNS" link set lo up
        ip -n "$ROUTER_NETNS" address add "$ROUTER_ADDRESS/32" dev lo
        nsenter --net="/run/netns/$ROUTER_NETNS" sh -c '
            echo 1 >/proc/sys/net/ipv4/ip_forward
            echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter'
        # Whoever is not there is silence: a tun device that nobody reads swallows packets, where a missing or a
        # blackhole route would answer the sender with an error at once.
        ip -n "$ROUTER_NETNS" tuntap add sink mode tun
        ip -n "$ROUTER_NETNS" link set sink up
        ip -n "$ROUTER_NETNS" route add "$LAB_NET.0/24" dev sink
    fi
}

# link_up HOST ADDRESS: a new network namespace for the host with host0 in it (its systemd-networkd sets the address).
# Always new: the kernel would go on talking for the sockets of a host that was killed.
link_up() {
    local netns link
    netns=$(host_netns "$1")
    link=$(host_link "$2")
    link_down "$1" "$2"
    ip netns add "$netns"
    ip -n "$ROUTER_NETNS" link add "$link" type veth peer name host0 netns "$netns"
    ip -n "$ROUTER_NETNS" address add "$ROUTER_ADDRESS/32" dev "$link"
    # Strict also where the default of a new link comes from the machine: link_cut needs it.
    nsenter --net="/run/netns/$ROUTER_NETNS" sh -c "echo 1 >/proc/sys/net/ipv4/conf/$link/rp_filter"
    ip -n "$ROUTER_NETNS" link set "$link" up
}

link_down() {
    [[ ! -e /run/netns/$ROUTER_NETNS ]] || ip -n "$ROUTER_NETNS" link delete "$(host_link "$2")" 2>/dev/null || true
    netns_remove "$(host_netns "$1")"
}

# link_heal ADDRESS / link_cut ADDRESS: silence both ways and no lost carrier, as when packets vanish on their way. The
# route to the host leads into the sink, and then the strict reverse path filter drops what comes from the host.
link_heal() {
    ip -n "$ROUTER_NETNS" route replace "$1/32" dev "$(host_link "$1")" src "$ROUTER_ADDRESS"
}
link_cut() { ip -n "$ROUTER_NETNS" route replace "$1/32" dev sink; }

# link_netem HOST ADDRESS [netem arguments…]: on both ends; without arguments none.
link_netem() {
    local host=$1 address=$2 where
    shift 2
    for where in "$ROUTER_NETNS $(host_link "$address")" "$(host_netns "$host") host0"; do
        # shellcheck disable=SC2086
        set -- ${where} "$@"
        if (($# > 2)); then
            tc -n "$1" qdisc replace dev "$2" root netem "${@:3}" 2>/dev/null ||
                fail "this kernel cannot delay or lose packets (no netem, CONFIG_NET_SCH_NETEM)"
        else
            tc -n "$1" qdisc delete dev "$2" root 2>/dev/null || true
        fi
        shift 2
    done
}
