# shellcheck shell=bash
# haproxy as several Debian releases ship it, to run on this machine beside each other (integration tests). Nothing is
# installed: the packages' files lie in LAB_CACHE/haproxy/VERSION and haproxy is told to use the libraries beside it.
HAPROXY_SUITES=(bullseye bookworm trixie)

# haproxy_versions: a line "VERSION PATH" for each; says on stderr which release could not be had.
haproxy_versions() {
    local suite folder
    for suite in "${HAPROXY_SUITES[@]}"; do
        folder=$LAB_CACHE/haproxy/$suite
        if [[ ! -e $folder/version ]]; then
            mkdir -p "$LAB_CACHE/haproxy"
            if ! haproxy_unpack "$suite" "$folder" >"$folder.log" 2>&1; then
                say "haproxy of Debian $suite cannot be had from this machine's mirrors, see $folder.log"
                continue
            fi
            haproxy_relocate "$folder" >>"$folder.log" 2>&1 || fail "haproxy of Debian $suite does not run, see $folder.log"
        fi
        echo "$(<"$folder/version") $folder/haproxy"
    done
}

haproxy_unpack() {
    local folder=$2 sources deb
    sources=$(apt_sources "$1")
    [[ -n $sources ]] || return 1
    rm -rf --one-file-system "${folder:?}"
    mkdir -p "$folder/apt"
    : >"$folder/apt/status" # nothing is installed: haproxy comes with all its libraries, the C library too
    apt_private "$folder/apt" "$folder/apt/status" "$sources"
    # An old release's mirror may lack -updates or -security; its main suite is what counts.
    apt-get "${APT_OPTIONS[@]}" update || true
    apt-get "${APT_OPTIONS[@]}" install haproxy || return 1
    for deb in "$folder"/apt/archives/{haproxy,lib,zlib}*.deb; do
        dpkg-deb --extract "$deb" "$folder/root" || return 1
    done
    rm -rf "${folder:?}/apt" "$folder/root/usr/share"
}

# haproxy_relocate FOLDER: its own loader and library path in the binary itself (a wrapper that calls the loader would not
# survive haproxy's re-execution of itself on reload).
haproxy_relocate() {
    local root=$1/root libraries version loader
    libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
    # Not by way of lib64, whose link may be an absolute one.
    loader=$(find "$root" -type f -path '*/x86_64-linux-gnu/ld-*.so*' | head -1)
    patchelf --set-interpreter "$loader" --force-rpath \
        --set-rpath "$libraries" "$root/usr/sbin/haproxy" || return 1
    ln -sfn root/usr/sbin/haproxy "$1/haproxy"
    version=$("$1/haproxy" -v | sed -n 's/^HA-\?Proxy version \([0-9.]*\).*/\1/p')
    [[ -n $version ]] || return 1
    echo "$version" >"$1/version"
}
