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
. ../kept.sh

keep_in s3
hash=$({ go env GOVERSION GOOS GOARCH && cat go.mod go.sum; } | digest)
file=$(kept versitygw "$hash" "as go.mod pins it" github.com/versity/versitygw/cmd/versitygw -ldflags '-s -w')
put "$file" "$out"
