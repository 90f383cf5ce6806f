#!/usr/bin/env bash
# Builds the official Pulumi provider for Kubernetes, whose latest served version is of 2026-01-15: build.sh OUTFILE.
# It takes about 1,080 s of CPU and, in the linker, 4.6 GB; it is kept under $LAB_CACHE/pulumi by its version and Go's.
# Only compare.sh beside it needs it. No other command does.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 OUTFILE" >&2
    exit 2
fi
out=$(realpath -m -- "$1")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

module=github.com/pulumi/pulumi-kubernetes/provider/v4
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/k3s-ha-lab}/pulumi
go mod download "$module"
files=$(go list -m -f '{{.Dir}}' "$module")/cmd/pulumi-resource-kubernetes
version=$(go list -m -f '{{.Version}}' "$module")
hash=$({ go env GOVERSION GOOS GOARCH && cat go.mod go.sum main.go && echo "$files"; } | sha256sum | cut -c1-16)
kept=$cache/kubernetes-official-$hash
mkdir -p -- "$cache" "$(dirname -- "$out")"
exec 9>"$cache/kubernetes-official.lock"
flock 9
if [ ! -x "$kept" ]; then
    echo "building the official Kubernetes provider $version: 10 to 20 minutes on two quiet cores" >&2
    CGO_ENABLED=0 nice go build -p 1 -ldflags "-s -w -X main.version=4.34.2 -X 'main.files=$files'" -o "$kept.new" .
    mv -- "$kept.new" "$kept"
fi
cp -- "$kept" "$out.new.$$"
mv -- "$out.new.$$" "$out"
