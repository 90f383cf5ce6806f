# shellcheck shell=sh disable=SC2154
# The first command on a node. The line before it sets node, kit (the SHA-256 of the scripts' file) and upload (that
# file in the user's home, see kit.ts). The user reads the upload, root takes a copy and runs it (install.sh) only if
# the copy has the sum; else the file that was installed before, or that a removal left for its replacement
# (prepare.sh). Start files may have exported options of the shell (bash's SHELLOPTS): neither noglob nor noclobber
# holds here.
set -eu +fC
umask 077
if [ "$(id -u)" -eq 0 ]; then as=""; elif why=$(sudo -n true </dev/null 2>&1); then as="sudo -n"; else
    why="k3s-ha: user $(id -un) on $(uname -n) is not root and cannot run 'sudo -n' (it says: $why):"
    echo "$why let it use sudo without a password (NOPASSWD in /etc/sudoers.d) or connect as root (ssh.user)" >&2
    exit 1
fi
# shellcheck disable=SC2016,SC2088
{ [ ! -f "$upload" ] || cat "$upload"; } | $as sh -c 'set -eu +fC; d=/usr/local/lib/k3s-ha; run=/run; mkdir -p "${d%/*}"
copy=$(mktemp "$d.XXXXXX"); trap "rm -f $copy" EXIT; head -c 1000000 >"$copy"
for next in "$d/kit" "$run/k3s-ha-kit" ""; do
    if [ "$(sha256sum <"$copy")" = "$1  -" ]; then sh "$copy" "$copy" "$d" "$run"; exit; fi
    [ ! -f "$next" ] || cat "$next" >"$copy"
done
exit 9' sh "$kit" || {
    why=$?
    printf '%s' "k3s-ha: FAILED on node $node, step prepare: " >&2
    if [ $why -ne 9 ]; then
        free="$(df -Pk /usr/local/lib | awk 'NR == 2 { print $4 }') KiB free"
        echo "the scripts could not be written to /usr/local/lib ($free): free some space there and run pulumi up again"
    else
        found="is not there"
        [ ! -f "$upload" ] || found="has another SHA-256"
        echo "~/$upload $found, and the host has this stack's scripts from no earlier run"
        next="send them again: pulumi up --replace '**::$node-kit'"
        echo "  next: $next; if the host was reinstalled, raise rebuilt of this node instead"
    fi >&2
    exit 1
}
# The upload and older ones; one that is newer belongs to a run that comes next.
[ ! -e "$upload" ] || find .k3s-ha-kit-* ! -newer "$upload" -exec rm -f {} + 2>/dev/null || true
exec $as sh /usr/local/lib/k3s-ha/prepare.sh apply
