#!/bin/sh
# Step stage: the k3s binary, verified, below a folder of its version, and archives of images where k3s imports them;
# nothing that runs is touched.
# remove: the staged binaries and the archives.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/stage-images.sh"

# GitHub's names of the architecture: the binary's ending and the sum file's.
architecture() {
    case $(uname -m) in
        x86_64) echo "amd64 k3s" ;;
        aarch64) echo "arm64 k3s-arm64" ;;
        armv7l | armv6l) echo "arm k3s-armhf" ;;
        *) fail "k3s has no binary for $(uname -m)" "use an amd64, arm64 or arm host" ;;
    esac
}

sha256_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# expected_sum NAME PINNED: the sum that a file of the release must have: pinned in the config, else from the release's
# sum file.
expected_sum() {
    if [ -n "$2" ]; then
        echo "$2"
        return
    fi
    url=$base/sha256sum-$arch.txt
    fetch "$url" "$WORK/sums" 60 ||
        fail "could not download $url: $(tail -n 2 "$WORK/fetch.err")" \
            "check k3s-ha:version and k3s-ha:download.baseUrl, and that the host reaches it"
    sum=$(awk -v name="$1" '$2 == name || $2 == "*" name { print $1 }' "$WORK/sums")
    echo "$sum" | grep -Eqx '[0-9a-f]{64}' ||
        fail "$url has no SHA-256 sum for $1" "check the mirror: its sum file must be the one of the release"
    echo "$sum"
}

# says_version FILE: what a binary calls itself. Below a /var without execution it is asked where it will run.
says_version() {
    if "$1" --version >"$WORK/version" 2>&1; then return 0; fi
    grep -qi 'permission denied' "$WORK/version" || return 1
    ran=no
    if cp "$1" "$TRY" && "$TRY" --version >"$WORK/version" 2>&1; then ran=yes; fi
    rm -f "$TRY"
    [ "$ran" = yes ]
}
TRY=/usr/local/bin/.k3s-ha-stage

# stage_binary: $version, below $dir, from $base/$name.
stage_binary() {
    if [ -x "$dir/k3s" ] && [ -s "$dir/sha256" ] && [ "$(sha256_of "$dir/k3s")" = "$(cat "$dir/sha256")" ]; then
        pinned=$(setting "sha256-$arch")
        if [ -z "$pinned" ] || [ "$pinned" = "$(cat "$dir/sha256")" ]; then
            echo "stage: $version unchanged"
            return
        fi
    fi
    sum=$(expected_sum "$name" "$(setting "sha256-$arch")")
    make_folder "$STATE/bin" "$dir"
    # What a run left that was killed.
    rm -f "$dir/k3s.new"
    local_file=$(setting file)
    if [ -n "$local_file" ]; then
        [ -r "$local_file" ] ||
            fail "there is no readable file $local_file" "put the k3s binary of $version there (k3s-ha:download.file)"
        source=$local_file
        if ! cp "$local_file" "$dir/k3s.new"; then
            rm -f "$dir/k3s.new"
            fail "could not copy $local_file ($(free_space "$STATE"))" "free some space there and run pulumi up again"
        fi
    else
        source=$base/$name
        say "$NODE: downloading $source (at most $(setting download-seconds 600) s)"
        if ! fetch "$source" "$dir/k3s.new" "$(setting download-seconds 600)"; then
            rm -f "$dir/k3s.new"
            fail "could not download $source: $(tail -n 2 "$WORK/fetch.err")" \
                "check that the host reaches the server and has space ($(free_space "$STATE"))"
        fi
    fi
    got=$(sha256_of "$dir/k3s.new")
    if [ "$got" != "$sum" ]; then
        rm -f "$dir/k3s.new"
        fail "$source has SHA-256 $got and not $sum" \
            "do not use this file; check the mirror, and k3s-ha:download.sha256 if it is set"
    fi
    chmod 0755 "$dir/k3s.new"
    if ! says_version "$dir/k3s.new" || ! grep -qF "$version" "$WORK/version"; then
        rm -f "$dir/k3s.new"
        fail "$source calls itself '$(head -n 1 "$WORK/version")' and not $version" \
            "check the mirror and k3s-ha:version"
    fi
    flush_to_disk "$dir/k3s.new"
    mv -f "$dir/k3s.new" "$dir/k3s"
    echo "$sum" >"$WORK/sum"
    put "$WORK/sum" "$dir/sha256" 0600
    echo "stage: $version staged"
}

apply() {
    begin
    unpack
    lock stage 900
    version=$(setting version)
    found=$(architecture) || exit 1
    arch=${found% *} name=${found#* }
    base=$(setting base-url)/$(echo "$version" | sed 's/+/%2B/g')
    dir=$STATE/bin/$version
    stage_binary
    place_images
    {
        echo "sum $(cat "$dir/sha256") $dir/k3s"
        images_present
    } | remember stage
}

remove() {
    begin
    remove_images
    rm -rf "${STATE:?}/bin" "$STATE/stage.lock" "$STATE/applied/stage"
    echo "stage: removed"
}

main() {
    case ${1-} in
        apply) apply ;;
        remove) remove ;;
        *)
            say "usage: stage.sh apply|remove"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = stage.sh ]; then main "$@"; fi
