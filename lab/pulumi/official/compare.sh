#!/usr/bin/env bash
# Compares the lab's provider for Kubernetes with the official one, call by call, against a real API server (the lab's k3s) in a
# network namespace of its own. The first run builds the official one, see build.sh. Needs root and `ip`. tests/long/providers.test.ts
# runs it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

build=${LAB_DIR:-$PWD/../../../.lab}/compare
mkdir -p -- "$build"
./build.sh "$build/kubernetes-official"
../../k3s/build.sh v1.36.3+k3s1 "$build/k3s"
export KUBERNETES_OFFICIAL=$build/kubernetes-official K3S=$build/k3s
KUBERNETES_OFFICIAL_VERSION=$(go list -m -f '{{.Path}} {{.Version}}' github.com/pulumi/pulumi-kubernetes/provider/v4)
export KUBERNETES_OFFICIAL_VERSION
cd ../kubernetes
go test -c -trimpath -tags official -o "$build/compare" .
# shellcheck disable=SC2016 # The inner shell expands it.
unshare --net sh -c 'ip link set lo up && ip addr add 10.99.1.1/26 dev lo && exec "$0" "$@"' \
    "$build/compare" -test.v -test.run TestSameAsOfficial "$@"
