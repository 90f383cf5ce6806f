#!/bin/sh
# Prints the CA's hash, as k3s's tokens carry it, and the admin kubeconfig of this server. Its output is a secret.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"

main() {
    begin
    unpack
    token=$(cat /var/lib/rancher/k3s/server/token 2>/dev/null) || token=""
    hash=$(printf '%s\n' "$token" | sed -n 's/^K10\([0-9a-f]\{64\}\)::.*/\1/p')
    if [ -z "$hash" ] || [ ! -s /etc/rancher/k3s/k3s.yaml ]; then
        fail "this server has no /var/lib/rancher/k3s/server/token or /etc/rancher/k3s/k3s.yaml" \
            "check whether k3s runs: systemctl status k3s"
    fi
    # Start files of the login shell may have printed something, without an end of line too, and may print more.
    printf '\nca-hash: %s\n' "$hash"
    cat /etc/rancher/k3s/k3s.yaml
    printf '\nend-of-kubeconfig\n'
}

# Tests source this file.
if [ "${0##*/}" = kubeconfig.sh ]; then main "$@"; fi
