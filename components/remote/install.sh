#!/bin/sh
# The head of the file that brings the scripts (kit.ts): they follow its last line. Root runs it by bootstrap.sh, when
# the whole file has the sum that came on the command line. FILE FOLDER RUN: unpacks the scripts next to FOLDER,
# compares, and puts them in its place as a whole.
set -eu +fC
umask 022
LC_ALL=C
export LC_ALL
file=$1 d=$2 run=$3
new=$d.new old=$d.old

scripts() { sed '1,/^# The scripts:$/d' "$file"; }
# The same text again, of what lies on the disk.
packed() {
    for script in *.sh; do
        echo "file: /$script 0755"
        sed 's/^/    /' "$script"
    done
    echo "end: yes"
}

# A run whose session broke may still be at it.
exec 9>"$run/k3s-ha-kit.lock"
if command -v flock >/dev/null 2>&1; then flock -w 60 9; fi
rm -rf "$new" "$old"
mkdir "$new"
cd "$new"
scripts | awk '/^file: \//{ if (out) close(out); out = substr($2, 2); next } /^    /{ print substr($0, 5) >out }'
[ "$(packed | sha256sum)" = "$(scripts | sha256sum)" ]
cat "$file" >kit
cmp -s "$file" kit
chmod 0755 -- *.sh
sync -f . 2>/dev/null || true
cd /
[ ! -e "$d" ] || mv "$d" "$old"
mv "$new" "$d"
rm -rf "$old" "$run/k3s-ha-kit"
exit 0
# The scripts:
