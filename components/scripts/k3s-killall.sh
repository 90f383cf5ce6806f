#!/bin/sh
# Stops k3s and all that it started on this host: units, container shims, mounts, network interfaces, iptables rules.
# Installed as /usr/local/bin/k3s-killall.sh, where k3s's own installer puts its script of that name.
set -u

# Processes and mounts are known by real paths; /var/lib/rancher may be a link to another disk.
data=$(readlink -f /var/lib/rancher/k3s) || data=/var/lib/rancher/k3s
kubelet=$(readlink -f /var/lib/kubelet) || kubelet=/var/lib/kubelet

# Shims outlive k3s (KillMode=process); they are known by the binary below k3s's data folder.
children() {
    for stat in /proc/[0-9]*/stat; do
        sed -n 's/^\([0-9]*\) (.*) . \([0-9]*\) .*/\1 \2/p' "$stat" 2>/dev/null
    done |
        awk -v want=" $* " \
            '
            { parent[$1] = $2 }
            END {
                for (p in parent) {
                    q = p
                    for (i = 0; i < 64 && q > 1; i++) {
                        if (index(want, " " q " ")) { print p; break }
                        q = parent[q]
                    }
                }
            }'
}

# mounts_of_k3s MOUNTINFO: what k3s has mounted. Not a disk that somebody mounted below the data folder: the whole of a
# device or of another host's export. k3s mounts parts there.
mounts_of_k3s() {
    awk -v data="$data/" -v kubelet="$kubelet/" '
        {
            path = $5
            gsub(/\\040/, " ", path)
            for (i = 7; i < NF && $i != "-"; i++) continue
            source = $(i + 2)
        }
        path ~ "^/(run/k3s|run/netns/cni-)" { print path; next }
        index(path, kubelet "pods") == 1 || index(path, kubelet "plugins") == 1 { print path; next }
        index(path, data) == 1 && !($4 == "/" && source ~ /^\/dev\/|:\//) { print path }' "$1"
}

main() {
    for unit in /etc/systemd/system/k3s*.service; do
        [ -e "$unit" ] || continue
        unit=${unit##*/}
        timeout 60 systemctl stop "$unit" >/dev/null 2>&1 || systemctl kill -s KILL "$unit" >/dev/null 2>&1
    done

    shims=""
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe" 2>/dev/null) in
            "$data"/data/*/bin/containerd-shim*)
                pid=${exe#/proc/}
                shims="$shims ${pid%/exe}"
                ;;
        esac
    done
    if [ -n "$shims" ]; then
        # shellcheck disable=SC2046,SC2086
        kill -9 $(children $shims) 2>/dev/null
    fi

    mounts_of_k3s /proc/self/mountinfo | sort -r | while read -r mount; do
        umount -l "$mount" 2>/dev/null
    done
    if command -v ip >/dev/null 2>&1; then
        ip -o link show 2>/dev/null | awk -F': ' '{ sub(/@.*/, "", $2); print $2, $0 }' | while read -r name rest; do
            case "$name $rest" in
                cni0\ * | kube-ipvs0\ * | *master\ cni0*) ip link delete "$name" 2>/dev/null ;;
                flannel.1\ * | flannel-v6.1\ * | flannel-wg\ * | flannel-wg-v6\ *) ip link delete "$name" 2>/dev/null ;;
            esac
        done
        ip netns list 2>/dev/null | awk '/^cni-/ { print $1 }' | while read -r ns; do
            ip netns delete "$ns" 2>/dev/null
        done
    fi
    rm -rf /var/lib/cni/
    for tables in iptables ip6tables; do
        command -v "$tables-save" >/dev/null 2>&1 || continue
        rules=$("$tables-save" 2>/dev/null) || continue
        if echo "$rules" | grep -qiE 'KUBE-|CNI-|flannel'; then
            echo "$rules" | grep -viE 'KUBE-|CNI-|flannel' | "$tables-restore" 2>/dev/null
        fi
    done
}

# Tests source this file.
if [ "${0##*/}" = k3s-killall.sh ]; then
    [ "$(id -u)" -eq 0 ] || exec sudo -n sh "$0" "$@"
    main
    exit 0
fi
