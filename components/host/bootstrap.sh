# shellcheck shell=sh
# The first command on a node: takes the scripts from the first line of stdin, installs them, hands the rest to prepare.sh.
set -eu
umask 077
if [ "$(id -u)" -eq 0 ]; then as=""; elif why=$(sudo -n true </dev/null 2>&1); then as="sudo -n"; else
    echo "k3s-ha: user $(id -un) on $(uname -n) is not root and cannot run 'sudo -n' (it says: $why): let it use sudo without a password (NOPASSWD in /etc/sudoers.d) or connect as root (ssh.user)" >&2
    exit 1
fi
IFS= read -r kit || { echo "k3s-ha: the step was given no data on stdin" >&2; exit 1; }
# shellcheck disable=SC2016
printf '%s\n' "$kit" | $as sh -c 'set -eu; umask 022; d=/usr/local/lib/k3s-ha; rm -rf "$d.new"; mkdir -p "$d.new"
base64 -d | gzip -dc | awk -v d="$d.new" "/^file: /{if(o)close(o);o=d \$2;next}/^    /{print substr(\$0,5)>o}"
chmod 0755 "$d.new"/*.sh; sync -f "$d.new" 2>/dev/null || true; rm -rf "$d"; mv "$d.new" "$d"' || {
    echo "k3s-ha: FAILED on $(uname -n), step prepare: the scripts could not be written to /usr/local/lib ($(df -Pk /usr/local/lib | awk 'NR == 2 { print $4 }') KiB free): free some space there and run pulumi up again" >&2
    exit 1
}
exec $as sh /usr/local/lib/k3s-ha/prepare.sh apply
