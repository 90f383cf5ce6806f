#!/usr/bin/env bash
# Builds the k3s stand-in: build.sh VERSION OUTFILE, for example build.sh v1.36.3+k3s1 /tmp/k3s.
# The result is kept under $LAB_CACHE/k3s by a hash of the sources and the version; a cold build takes 5 to 10 minutes
# on two cores, a link for another version about half a minute, a cached one no time.
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: $0 VERSION OUTFILE" >&2
    exit 2
fi
version=$1
out=$(realpath -m -- "$2")
if [[ ! $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+\+k3s[0-9]+$ ]]; then
    echo "$0: version must look like v1.36.3+k3s1, not $version" >&2
    exit 2
fi

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../kept.sh

# Sources without tests and documentation, and what else decides the result.
hash=$({
    echo "$version $(go env GOVERSION GOOS GOARCH | tr '\n' ' ')"
    find . -type f \( -name '*.go' -o -name go.mod -o -name go.sum \) ! -name '*_test.go' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum
} | digest)
flags="-s -w \
-X k3s-ha/lab/k3s/internal/cli.commit=${hash:0:8} \
-X k8s.io/component-base/version.gitVersion=$version \
-X k8s.io/component-base/version.gitMajor=$(cut -d. -f1 <<<"${version#v}") \
-X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version") \
-X k8s.io/component-base/version.gitTreeState=clean"
keep_in k3s
file=$(kept "k3s-${version/+/-}" "$hash" "for hosts" . -ldflags "$flags")
put "$file" "$out"
