#!/usr/bin/env bash
# Builds the official Pulumi provider for Kubernetes, whose latest served version is of 2026-01-15: build.sh OUTFILE.
# It takes about 1,080 s of CPU and, in the linker, 4.6 GB; it is kept under $LAB_CACHE/pulumi by its version and Go's.
# Only compare.sh beside it needs it, which make test-long calls.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 OUTFILE" >&2
    exit 2
fi
out=$(realpath -m -- "$1")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

. ../../kept.sh

module=github.com/pulumi/pulumi-kubernetes/provider/v4
go mod download "$module"
files=$(go list -m -f '{{.Dir}}' "$module")/cmd/pulumi-resource-kubernetes
version=$(go list -m -f '{{.Version}}' "$module")
hash=$({ go env GOVERSION GOOS GOARCH && cat go.mod go.sum main.go && echo "$files"; } | digest)
# A lock of its own: a set-up of a lab does not wait for this.
keep_in pulumi kubernetes-official.lock
file=$(kept kubernetes-official "$hash" "$version (10 to 20 minutes on two quiet cores)" . \
    -p 1 -ldflags "-s -w -X main.version=4.34.2 -X 'main.files=$files'")
put "$file" "$out"
