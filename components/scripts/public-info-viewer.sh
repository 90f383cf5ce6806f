#!/bin/sh
# Step public-info-viewer: ClusterRole system:public-info-viewer by server-side apply on a server, for a deployer that
# cannot reach the API. stdin holds the role; the apply is the same as the Kubernetes provider's patch.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"

main() {
    begin
    unpack
    role=$(bundle_file /clusterrole.yaml) ||
        fail "the step was given no ClusterRole" "this is a mistake in the program; report it"
    timeout 60 /usr/local/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml apply --server-side --force-conflicts \
        --field-manager=k3s-ha -f "$role" 2>"$WORK/err" ||
        fail "kubectl apply: $(tail -n 3 "$WORK/err")" \
            "check whether the API answers on this server: k3s kubectl get --raw /readyz"
}

# Tests source this file.
if [ "${0##*/}" = public-info-viewer.sh ]; then main "$@"; fi
