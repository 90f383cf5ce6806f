# shellcheck shell=sh
# Networks that only the host knows: docker's bridges, routes of a VPN, its DNS. Where one lies in the pods' or
# services' network, k3s would take it over. Sourced after lib.sh, whose fail, setting, STATE and WORK it uses.

RESOLV_CONF=${RESOLV_CONF:-/etc/resolv.conf}

# host_networks: lines `NETWORK WHAT` of IPv4, without those of a pod network. A wider route is no matter: pods' routes
# are longer.
host_networks() {
    { ip -o -4 route show table all 2>/dev/null || true; } | awk '
        $1 ~ /^[a-z]+$/ && $1 != "default" { $1 = ""; $0 = $0 }
        $1 !~ /^[0-9.]+(\/[0-9]+)?$/ { next }
        {
            dev = via = ""
            for (i = 2; i < NF; i++) {
                if ($i == "dev") dev = $(i + 1)
                if ($i == "via") via = $(i + 1)
            }
        }
        dev ~ /^(cni|flannel|kube-|cilium|lxc|cali|tunl|vxlan\.calico|veth|nodelocaldns)/ { next }
        { print $1, "a route to " $1 (via == "" ? "" : " via " via) (dev == "" ? "" : " dev " dev) }'
    awk '$1 == "nameserver" && $2 ~ /^[0-9.]+$/ { print $2, "the DNS server " $2 " (" FILENAME ")" }' "$RESOLV_CONF" \
        2>/dev/null || true
}

# taken_networks FILE: the first of stdin's networks that lies in one of FILE's (lines `pods|services NETWORK`): `WHOSE
# NETWORK WHAT`.
taken_networks() {
    awk -v file="$1" '
        function number(address, part) {
            split(address, part, ".")
            return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
        }
        BEGIN {
            while ((getline line < file) > 0) {
                split(line, field, " ")
                whose[++n] = field[1]
                network[n] = field[2]
            }
        }
        {
            split($1, own, "/")
            bits = own[2] == "" ? 32 : own[2] + 0
            what = substr($0, length($1) + 2)
            for (i = 1; i <= n; i++) {
                split(network[i], kept, "/")
                size = 2 ^ (32 - kept[2])
                if (bits >= kept[2] + 0 && int(number(own[1]) / size) == int(number(kept[1]) / size)) {
                    print whose[i], network[i], what
                    exit
                }
            }
        }'
}

# check_routes: before the first k3s of this host; later ones have routes of their own there.
check_routes() {
    setting network >"$WORK/networks"
    if ! grep -q . "$WORK/networks" || [ -s "$STATE/k3s-role" ] || [ -d "${K3S_AGENT:-/var/lib/rancher/k3s/agent}" ] ||
        [ -n "$(setting adopt)" ]; then
        return 0
    fi
    host_networks | taken_networks "$WORK/networks" >"$WORK/taken"
    [ -s "$WORK/taken" ] || return 0
    read -r whose network what <"$WORK/taken"
    if [ "$whose" = pods ]; then key=cluster-cidr; else key=service-cidr; fi
    fail "this host has $what, and the $whose' network $network has that in it: k3s would take what is sent there" \
        "before the cluster is founded, set k3s-ha:server.config.$key to a network that nobody uses; later, give that" \
        "one another network (docker's: default-address-pools in /etc/docker/daemon.json). Nothing was changed here"
}
