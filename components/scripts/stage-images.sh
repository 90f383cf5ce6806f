# shellcheck shell=sh
# Library for stage.sh: archives of images in the folder that k3s imports before its kubelet starts, and (since January
# 2025) while it runs. What is there and not in the record is somebody else's.
# shellcheck disable=SC2154
IMAGES=/var/lib/rancher/k3s/agent/images
# SUM PATH of the step's own archives.
IMAGE_RECORD=$STATE/images

# ending PATH: of an archive that is called like this, from .tar on.
ending() { printf '%s\n' "$1" | sed 's/.*\(\.t[a-z0-9]*\(\.[a-z0-9]*\)\{0,1\}\)$/\1/'; }

# wanted_images: SUM NAME SOURCE, one a line.
wanted_images() {
    images=$(setting images)
    pinned=$(setting "images-sha256-$arch")
    case $images in
        release\ *)
            archive=k3s-airgap-images-$arch.${images#release }
            image_sum=$(expected_sum "$archive" "$pinned") || exit 1
            echo "$image_sum k3s-ha-release.${images#release } $base/$archive"
            ;;
        file\ *)
            [ -n "$pinned" ] || fail "k3s-ha:images.sha256 has no sum for $arch, which this host is" \
                "add k3s-ha:images.sha256.$arch"
            echo "$pinned k3s-ha-release$(ending "$images") ${images#file }"
            ;;
    esac
    setting image | while read -r image_sum source; do
        [ -z "$image_sum" ] || echo "$image_sum k3s-ha-file-${source##*/} $source"
    done
}

# has_sum FILE SUM
has_sum() { [ -f "$1" ] && [ "$(sha256_of "$1")" = "$2" ]; }

# place_image SUM NAME SOURCE: k3s does not look at a file whose name begins like this before it has its own.
place_image() {
    if has_sum "$IMAGES/$2" "$1"; then return; fi
    make_folder "${IMAGES%/*/*}"
    # As k3s makes them.
    mkdir -p "$IMAGES"
    new=$IMAGES/.k3s-ha-new
    rm -f "$new"
    case $3 in
        /*)
            [ -r "$3" ] || fail "there is no readable file $3" "put the archive of images there (k3s-ha:images)"
            cp "$3" "$new" || image_failed "could not copy $3" "free some space there and run pulumi up again"
            ;;
        *)
            say "$NODE: downloading $3 (at most $(setting download-seconds 600) s)"
            fetch "$3" "$new" "$(setting download-seconds 600)" ||
                image_failed "could not download $3: $(tail -n 2 "$WORK/fetch.err")" \
                    "check that the host reaches the server and has space"
            ;;
    esac
    got=$(sha256_of "$new")
    [ "$got" = "$1" ] || image_failed "$3 has SHA-256 $got and not $1" \
        "do not use this file; check the mirror, and the sums in k3s-ha:images"
    chmod 0644 "$new"
    flush_to_disk "$new"
    mv -f "$new" "$IMAGES/$2"
    echo "stage: images of $3 are in place"
}

# image_failed WHAT REMEDY: and nothing is left of it.
image_failed() {
    rm -f "$IMAGES/.k3s-ha-new"
    fail "$1 ($(free_space "$IMAGES"))" "$2"
}

place_images() {
    # Of a run that was killed.
    rm -f "$IMAGES/.k3s-ha-new"
    wanted_images >"$WORK/images"
    awk -v folder="$IMAGES" '{ print $1, folder "/" $2 }' "$WORK/images" >"$WORK/image-record"
    # First what was there, too: a run that is cut off leaves no archive that nobody knows.
    { cat "$IMAGE_RECORD" 2>/dev/null || true; } | sort -u - "$WORK/image-record" >"$WORK/image-both"
    if [ -s "$WORK/image-both" ]; then put "$WORK/image-both" "$IMAGE_RECORD" 0600; fi
    while read -r image_sum name_there source; do
        place_image "$image_sum" "$name_there" "$source" </dev/null
    done <"$WORK/images"
    while read -r _ path; do
        awk -v path="$path" '$2 == path { found = 1 } END { exit !found }' "$WORK/image-record" || rm -f "$path"
    done <"$WORK/image-both"
    if [ -s "$WORK/image-record" ]; then put "$WORK/image-record" "$IMAGE_RECORD" 0600; else rm -f "$IMAGE_RECORD"; fi
}

# images_present: as lines for remember.
images_present() { [ ! -f "$IMAGE_RECORD" ] || sed 's/^/sum /' "$IMAGE_RECORD"; }

remove_images() {
    rm -f "$IMAGES/.k3s-ha-new"
    [ -f "$IMAGE_RECORD" ] || return 0
    while read -r _ path; do rm -f "$path"; done <"$IMAGE_RECORD"
    rm -f "$IMAGE_RECORD"
    # What is empty now: where k3s never ran, or was removed before.
    for dir in "$IMAGES" "${IMAGES%/*}" "${IMAGES%/*/*}" "${IMAGES%/*/*/*}"; do rmdir "$dir" 2>/dev/null || break; done
}
