#!/usr/bin/env bash
# Builds the lab's S3 server, versitygw as go.mod pins it: build.sh OUTFILE.
# The result is kept under $LAB_CACHE/s3 by a hash of go.sum and the Go release; a cold build takes one to two minutes on two cores.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 OUTFILE" >&2
    exit 2
fi
out=$(realpath -m -- "$1")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/k3s-ha-lab}/s3
mkdir -p -- "$cache" "$(dirname -- "$out")"
hash=$({ go env GOVERSION GOOS GOARCH && cat go.mod go.sum; } | sha256sum | cut -c1-16)
kept=$cache/versitygw-$hash

exec 9>"$cache/lock"
flock 9
if [ ! -x "$kept" ]; then
    CGO_ENABLED=0 nice go build -ldflags '-s -w' -o "$kept.new" github.com/versity/versitygw/cmd/versitygw
    find "$cache" -maxdepth 1 -name 'versitygw-*' ! -name '*.new' -mtime +30 -delete
    mv -- "$kept.new" "$kept"
fi
cp -- "$kept" "$out.new.$$"
mv -- "$out.new.$$" "$out"
