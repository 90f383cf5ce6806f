#!/bin/sh
# Called by k3s-ha-prune-images.service once a day (host.pruneImages): removes the images that no container uses. Images
# that are pinned stay: the pause image, and those that k3s has imported from agent/images.
set -eu
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
BIN=${BIN:-/usr/local/bin/k3s}

main() {
    # Before k3s is there, and while it is stopped: nothing to do, and no failed unit.
    if [ ! -x "$BIN" ] || ! timeout 30 "$BIN" crictl version >/dev/null 2>&1; then
        echo "prune-images: containerd does not answer, nothing is removed"
        return 0
    fi
    timeout 3000 "$BIN" crictl rmi --prune
}

# Tests source this file.
if [ "${0##*/}" = prune-images.sh ]; then main; fi
