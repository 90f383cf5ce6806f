# shellcheck shell=bash
# lab/lab setup: what the machine lacks, Node's dependencies, base image, apt repository, k3s, haproxy versions.

setup_packages() {
    local missing=() command package
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=("$package")
    done <<'END'
systemd-nspawn systemd-container
mmdebstrap mmdebstrap
apt-ftparchive apt-utils
dpkg-deb dpkg
ip iproute2
iptables iptables
ssh openssh-client
mkfs.ext4 e2fsprogs
nsenter util-linux
curl curl
jq jq
socat socat
openssl openssl
patchelf patchelf
shellcheck shellcheck
haproxy haproxy
sshd openssh-server
awk mawk
zsh zsh
fish fish
END
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
    command -v node >/dev/null || fail "Node.js 20 or newer is needed"
    command -v npm >/dev/null || fail "npm is needed"
    command -v go >/dev/null || fail "Go is needed to build the S3 server and, without LAB_K3S, the k3s stand-in"
    ((${#missing[@]})) || return 0
    step "packages: ${missing[*]}"
    # An unreachable foreign source is no reason to stop: the installation below tells what is really missing.
    apt-get -q update >&2 || true
    # No service is to start on this machine: haproxy is here for its binary and its user (integration
    # tests), sshd for the tests of the pulumi stand-in. zsh and fish are login shells in the unit tests.
    local policy=
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 0755 $policy
    fi
    local status=0
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}" >&2 || status=$?
    [[ -z $policy ]] || rm -f "$policy"
    return "$status"
}

setup_node() {
    local folder
    for folder in "$LAB_ROOT" "$LAB_ROOT/lab/pulumi"; do
        [[ -e $folder/package-lock.json ]] || continue
        # npm writes this file last; an older one means another lock file or an interrupted installation.
        [[ ! $folder/node_modules/.package-lock.json -nt $folder/package-lock.json ]] || continue
        step "npm ci in ${folder#"$LAB_ROOT"/}"
        (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error >&2 && touch node_modules/.package-lock.json)
    done
}

_checksums() { # of the k3s in folder $1, in the form of k3s's releases
    [[ $1/sha256sum-amd64.txt -nt $1/k3s ]] ||
        { (cd "$1" && sha256sum k3s >sha256sum-amd64.txt.new) && mv "$1/sha256sum-amd64.txt.new" "$1/sha256sum-amd64.txt"; }
}

# setup_k3s: LAB_K3S (one or more binaries, by colons), else official releases with LAB_OFFICIAL=1, else the stand-in;
# into LAB_CACHE, a folder per origin.
setup_k3s() {
    local version folder file
    if [[ -n ${LAB_K3S:-} ]]; then
        while read -r file; do
            [[ -x $file ]] || fail "LAB_K3S: $file is not an executable file"
            version=$("$file" --version | sed -n 's/^k3s version \(v[^ ]*\).*/\1/p')
            [[ -n $version ]] || fail "LAB_K3S: $file --version does not say which k3s it is"
            folder=$LAB_DIR/k3s/$version
            mkdir -p "$folder"
            cmp -s "$file" "$folder/k3s" || { cp "$file" "$folder/k3s.new" && mv "$folder/k3s.new" "$folder/k3s"; }
            _checksums "$folder"
            say "k3s $version from $file"
        done < <(tr : '\n' <<<"$LAB_K3S")
        echo "$LAB_DIR/k3s" >"$LAB_DIR/k3s.path"
        return
    fi
    rm -f "$LAB_DIR/k3s.path"
    for version in $LAB_K3S_VERSIONS; do
        if [[ ${LAB_OFFICIAL:-} == 1 ]]; then
            k3s_download "$version"
            echo "$LAB_CACHE/official/k3s" >"$LAB_DIR/k3s.path"
            continue
        fi
        [[ -x $LAB_ROOT/lab/k3s/build.sh ]] || fail "lab/k3s/build.sh is not there: no k3s stand-in can be built"
        folder=$LAB_CACHE/k3s/$version
        mkdir -p "$folder"
        step "k3s stand-in $version (the first one compiles for some minutes)"
        "$LAB_ROOT/lab/k3s/build.sh" "$version" "$folder/k3s.new" >&2
        # Not in place: other labs have links to the old one.
        if cmp -s "$folder/k3s.new" "$folder/k3s"; then rm "$folder/k3s.new"; else mv "$folder/k3s.new" "$folder/k3s"; fi
        _checksums "$folder"
    done
}

k3s_download() {
    local folder=$LAB_CACHE/official/k3s/$1 url=https://github.com/k3s-io/k3s/releases/download/${1/+/%2B}
    mkdir -p "$folder"
    (
        cd "$folder" || exit
        [[ -e k3s && -e sha256sum-amd64.txt ]] && exit
        step "official k3s $1"
        curl -fsSL --connect-timeout 10 --retry 2 -o sha256sum.new "$url/sha256sum-amd64.txt" ||
            fail "the official k3s $1 cannot be downloaded from $url (is there a way to the internet?)"
        curl -fSL --connect-timeout 10 --retry 2 --progress-bar -o k3s.new "$url/k3s" ||
            fail "the download of $url/k3s failed"
        awk '$2 == "k3s" { print $1 "  k3s.new" }' sha256sum.new | sha256sum --check --strict --quiet >&2 ||
            fail "the k3s downloaded from $url does not have the checksum of its release"
        chmod 755 k3s.new
        mv k3s.new k3s && mv sha256sum.new sha256sum-amd64.txt
    )
}

# k3s_stage: links what setup made into the artifact server's folder, in the layout of k3s's releases.
k3s_stage() {
    local source=$LAB_CACHE/k3s version folder file
    [[ ! -s $LAB_DIR/k3s.path ]] || source=$(<"$LAB_DIR/k3s.path")
    mkdir -p "$LAB_DIR/artifacts/k3s-io/k3s/releases/download"
    for folder in "$LAB_DIR"/artifacts/k3s-io/k3s/releases/download/*/; do
        [[ -e $source/$(basename "$folder")/sha256sum-amd64.txt ]] || rm -rf "${folder:?}"
    done
    for folder in "$source"/*/; do
        version=$(basename "$folder")
        [[ -e $folder/sha256sum-amd64.txt ]] || continue
        for file in k3s sha256sum-amd64.txt; do
            file=$LAB_DIR/artifacts/k3s-io/k3s/releases/download/$version/$file
            [[ ! $file -ef $folder/${file##*/} ]] || continue
            mkdir -p "${file%/*}"
            cp --force --link "$folder/${file##*/}" "$file.new" 2>/dev/null || cp --force "$folder/${file##*/}" "$file.new"
            mv "$file.new" "$file"
        done
    done
}

# setup_pulumi: with LAB_OFFICIAL=1 the official command line, from PATH or by npm's package of that name (which fetches
# it when it first runs), and the program's provider plugins. All of it now: there is no internet inside the lab.
setup_pulumi() {
    local pulumi folder=$LAB_CACHE/official/pulumi name version
    rm -f "$LAB_DIR/pulumi.path"
    [[ ${LAB_OFFICIAL:-} == 1 && -z ${LAB_PULUMI:-} ]] || return 0
    step "official pulumi"
    mkdir -p "$folder/home/plugins" "$LAB_DIR/pulumi-home"
    export PULUMI_HOME=$folder/home PULUMI_SKIP_UPDATE_CHECK=true
    pulumi=$(command -v pulumi || true)
    if [[ -z $pulumi ]]; then
        npm install --prefix "$folder" --no-audit --no-fund --loglevel=error pulumi >&2 ||
            fail "npm's package pulumi cannot be installed; put the official pulumi on PATH"
        "$folder/node_modules/.bin/pulumi" version >&2 ||
            fail "the official pulumi cannot be downloaded (is there a way to the internet?); put it on PATH"
        pulumi=$(find "$folder/home" -path '*/bin/pulumi' -type f | sort -V | tail -1)
    fi
    "$pulumi" version >&2 || fail "${pulumi:-pulumi} does not run; put the official pulumi on PATH"
    for name in command kubernetes random; do
        version=$(node -p 'require(process.argv[1]).dependencies["@pulumi/" + process.argv[2]]' "$LAB_ROOT/package.json" "$name")
        "$pulumi" plugin install resource "$name" "$version" >&2 || fail "pulumi's plugin $name $version cannot be installed"
    done
    ln -sfn "$folder/home/plugins" "$LAB_DIR/pulumi-home/plugins"
    dirname "$pulumi" >"$LAB_DIR/pulumi.path"
}

setup_all() {
    mkdir -p "$LAB_CACHE" "$LAB_DIR"
    (
        # Labs share the cache.
        exec 8>"$LAB_CACHE/lock"
        flock --nonblock 8 || { say "waiting for another lab's setup" && flock --wait 1800 8; }
        build_base_image
        build_repository
        setup_node
        setup_k3s
        k3s_stage
        setup_s3
        setup_pulumi
        haproxy_versions >/dev/null
    )
}
