# shellcheck shell=sh disable=SC2154
# The first command on a node. The line before it sets node, kit (the SHA-256 of all scripts, packed) and upload (the file in the
# user's home that brought them, see kit.ts). The user reads the upload; root takes a copy to a folder of its own, compares the
# copy's sum, unpacks it and compares again: nothing else is ever run as root. Without an upload the scripts that are there do, or
# those that a removal left for its replacement (prepare.sh), if they have the sum.
set -eu
umask 077
if [ "$(id -u)" -eq 0 ]; then as=""; elif sudo -n true </dev/null 2>/dev/null; then as="sudo -n"; else
    echo "k3s-ha: user $(id -un) on $(uname -n) is not root and cannot run 'sudo -n': let it use sudo without a password (NOPASSWD in /etc/sudoers.d) or connect as root (ssh.user)" >&2
    exit 1
fi
# shellcheck disable=SC2016
{ [ ! -f "$upload" ] || cat "$upload"; } | $as sh -c 'set -eu; umask 022; LC_ALL=C; export LC_ALL
d=/usr/local/lib/k3s-ha; new=$d.new; old=$d.old; left=/run/k3s-ha-kit; node=$1; kit=$2; upload=$3
packed() { (cd "$1" && for f in *.sh; do echo "file: /$f 0755"; sed "s/^/    /" "$f"; done; echo "end: yes") 2>/dev/null; }
right() { sum=$(sha256sum | cut -d " " -f 1); [ "$sum" = "$kit" ]; }
exec 9>/run/k3s-ha-kit.lock
! command -v flock >/dev/null || flock -w 60 9
rm -rf "$new" "$old"; mkdir -p "${d%/*}"; mkdir "$new"
head -c 1000000 >"$new/kit"
if ! right <"$new/kit"; then
    sent="is not there"; [ ! -s "$new/kit" ] || sent="has SHA-256 $sum and not $kit"
    for from in "$d" "$left"; do packed "$from" >"$new/kit" || true; ! right <"$new/kit" || break; done
    right <"$new/kit" || {
        rm -rf "$new"
        echo "k3s-ha: FAILED on node $node, step prepare: ~/$upload $sent, and $d does not hold the scripts of this stack
  next: send them again: pulumi up --replace \"**::$node-kit\"; if the host was reinstalled, raise rebuilt of this node instead" >&2
        exit 9
    }
fi
awk -v d="$new" "/^file: /{if(o)close(o);o=d \$2;next}/^    /{print substr(\$0,5)>o}" "$new/kit"
rm "$new/kit"; chmod 0755 "$new"/*.sh
packed "$new" | right
sync -f "$new" 2>/dev/null || true
[ ! -e "$d" ] || mv "$d" "$old"
mv "$new" "$d"; rm -rf "$old" "$left"' sh "$node" "$kit" "$upload" || {
    [ $? -eq 9 ] || echo "k3s-ha: FAILED on node $node, step prepare: the scripts could not be written to /usr/local/lib ($(df -Pk /usr/local/lib | awk 'NR == 2 { print $4 }') KiB free): free some space there and run pulumi up again" >&2
    exit 1
}
# The upload and older ones; one that is newer belongs to a run that comes next.
[ ! -e "$upload" ] || find .k3s-ha-kit-* ! -newer "$upload" -exec rm -f {} + 2>/dev/null || true
exec $as sh /usr/local/lib/k3s-ha/prepare.sh apply
