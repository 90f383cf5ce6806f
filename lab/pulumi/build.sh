#!/usr/bin/env bash
# Builds the official Pulumi engine and the plugins that the registry does not serve: build.sh FOLDER
#   FOLDER/bin      pulumi, and pulumi-language-nodejs, which the engine looks for beside itself
#   FOLDER/plugins  command, random, kubernetes, as PULUMI_HOME/plugins has them
# Versions: the engine's from engine/go.mod, the plugins' from the SDKs in package.json. What is built is kept in LAB_CACHE/pulumi
# by a hash of its sources: a cold build of all takes 6 to 8 minutes on two cores, a kept one no time.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
out=$(realpath -m -- "$1")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../kept.sh
mkdir -p -- "$out/bin" "$out/plugins"
engine=$(sed -n 's|^\tgithub.com/pulumi/pulumi/sdk/v3 v||p' engine/go.mod)
go=$(go env GOVERSION GOOS GOARCH | tr '\n' ' ')

# built PROGRAM VERSION MODULE PACKAGE SYMBOL: prints the path of the program.
built() {
    local hash sources=()
    # A package of another module has no sources here.
    case $4 in ./*) mapfile -t sources < <(find "$3/$4" -name '*.go' ! -name '*_test.go' | LC_ALL=C sort) ;; esac
    hash=$({ echo "$2 $4 $go" && cat "$3/go.mod" "$3/go.sum" "${sources[@]}"; } | digest)
    kept "$1" "$hash" "$2" "$4" -C "$3" -trimpath -ldflags "-s -w -X $5=$2" || refused "$1"
}

refused() {
    echo "$1 could not be built. If a Go module is not served here (see above): LAB_PULUMI=FOLDER with the official pulumi," \
        "pulumi-language-nodejs and pulumi-resource-{command,random,kubernetes} is used instead" >&2
    exit 1
}

keep_in pulumi
sdk() { node -p 'require("../../package.json").dependencies[process.argv[1]]' "@pulumi/$1"; }
version=github.com/pulumi/pulumi/sdk/v3/go/common/version.Version
file=$(built pulumi "v$engine" engine github.com/pulumi/pulumi/pkg/v3/cmd/pulumi "$version")
put "$file" "$out/bin/pulumi" --link
file=$(built pulumi-language-nodejs "v$engine" engine ./language "$version")
put "$file" "$out/bin/pulumi-language-nodejs" --link
for name in command random kubernetes; do
    plugin=$(sdk "$name")
    file=$(built "pulumi-resource-$name" "$plugin" . "./$name" main.version)
    put "$file" "$out/plugins/resource-$name-v$plugin/pulumi-resource-$name" --link
done
# Those of former versions.
for folder in "$out"/plugins/resource-*; do
    name=${folder##*/resource-}
    name=${name%-v*}
    [ "${folder##*-v}" = "$(sdk "$name")" ] || rm -rf -- "$folder"
done
