# shellcheck shell=bash
# lab/lab setup: what the machine lacks, Node's dependencies, base image, apt repository, k3s, haproxy versions.

# setup_packages WHAT: what the machine lacks for a lab, or for its tests, too.
setup_packages() {
    local missing=() command package wanted
    wanted=$(
        cat <<'END'
systemd-nspawn systemd-container
mmdebstrap mmdebstrap
apt-ftparchive apt-utils
ip iproute2
iptables iptables
ssh openssh-client
mkfs.ext4 e2fsprogs
nsenter util-linux
curl curl
jq jq
socat socat
openssl openssl
END
        [[ $1 != tests ]] || cat <<'END'
dpkg-deb dpkg
patchelf patchelf
shellcheck shellcheck
haproxy haproxy
sshd openssh-server
awk mawk
zsh zsh
fish fish
tcsh tcsh
bsd-csh csh
promtool prometheus
END
    )
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=("$package")
    done <<<"$wanted"
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
    command -v node >/dev/null || fail "Node.js 20 or newer is needed"
    command -v npm >/dev/null || fail "npm is needed"
    command -v go >/dev/null || fail "Go is needed to build pulumi and the k3s stand-in"
    ((${#missing[@]})) || return 0
    step "packages: ${missing[*]}"
    # An unreachable foreign source is no reason to stop: the installation below tells what is really missing.
    apt-get -q update >&2 || true
    # No service is to start on this machine: haproxy is here for its binary and its user (integration
    # tests), sshd for the tests of the command provider. The shells are login shells in the unit tests.
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
    # npm writes this file last; an older one means another lock file or an interrupted installation.
    [[ ! $LAB_ROOT/node_modules/.package-lock.json -nt $LAB_ROOT/package-lock.json ]] || return 0
    (cd "$LAB_ROOT" && npm ci --no-audit --no-fund --loglevel=error >&2 && touch node_modules/.package-lock.json)
}

_checksums() { # of the k3s in folder $1, in the form of k3s's releases
    [[ $1/sha256sum-amd64.txt -nt $1/k3s ]] ||
        { (cd "$1" && sha256sum k3s >sha256sum-amd64.txt.new) && mv "$1/sha256sum-amd64.txt.new" "$1/sha256sum-amd64.txt"; }
}

# _k3s_version FILE: k3s prints the name that it was called by, so it is called k3s here, whatever the file's name is.
_k3s_version() {
    local folder
    folder=$(mktemp -d)
    ln -s "$(readlink -f "$1")" "$folder/k3s"
    "$folder/k3s" --version | sed -n 's/^k3s version \(v[^ ]*\).*/\1/p' || true
    rm -rf "$folder"
}

# setup_k3s VERSION…: LAB_K3S (one or more binaries, by colons), else official releases with LAB_OFFICIAL=1, else the
# stand-in; into LAB_CACHE, a folder per origin.
setup_k3s() {
    local version folder file
    if [[ -n ${LAB_K3S:-} ]]; then
        while read -r file; do
            [[ -x $file ]] || fail "LAB_K3S: $file is not an executable file"
            version=$(_k3s_version "$file")
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
    for version in "$@"; do
        if [[ ${LAB_OFFICIAL:-} == 1 ]]; then
            k3s_download "$version"
            echo "$LAB_CACHE/official/k3s" >"$LAB_DIR/k3s.path"
            continue
        fi
        [[ -x $LAB_ROOT/lab/k3s/build.sh ]] || fail "lab/k3s/build.sh is not there: no k3s stand-in can be built"
        folder=$LAB_CACHE/k3s/$version
        mkdir -p "$folder"
        say "k3s stand-in $version"
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

# pulumi_stage: the pulumi that the lab uses, in LAB_DIR/pulumi: bin/pulumi, with its language host beside it, and plugins as
# PULUMI_HOME has them. Linked from LAB_PULUMI, from what LAB_OFFICIAL=1 has downloaded, or from what is built here.
pulumi_stage() {
    local folder=$LAB_DIR/pulumi source name version
    mkdir -p "$folder/bin" "$folder/plugins" "$LAB_DIR/pulumi-home"
    if [[ -n ${LAB_PULUMI:-} ]]; then
        source=$LAB_PULUMI
    elif [[ ${LAB_OFFICIAL:-} == 1 ]]; then
        source=$(pulumi_download)
    else
        "$LAB_ROOT/lab/pulumi/build.sh" "$folder" >&2
    fi
    if [[ -n ${source:-} ]]; then
        for name in pulumi pulumi-language-nodejs; do
            [[ -x $source/$name ]] || fail "there is no $name in $source (LAB_PULUMI)"
            # A link's target is where the engine looks for what ships with it.
            ln -sfn "$source/$name" "$folder/bin/$name"
        done
        for name in command random kubernetes; do
            [[ -x $source/pulumi-resource-$name ]] || fail "there is no pulumi-resource-$name in $source (LAB_PULUMI)"
            version=$(node -p 'require(process.argv[1]).dependencies["@pulumi/" + process.argv[2]]' "$LAB_ROOT/package.json" "$name")
            mkdir -p "$folder/plugins/resource-$name-v$version"
            ln -sfn "$source/pulumi-resource-$name" "$folder/plugins/resource-$name-v$version/pulumi-resource-$name"
        done
    fi
    ln -sfn ../pulumi/plugins "$LAB_DIR/pulumi-home/plugins"
}

# pulumi_download: with LAB_OFFICIAL=1 the official command line, from PATH or by npm's package of that name (which fetches
# it when it first runs), and the program's provider plugins. All of it now: there is no internet inside the lab.
pulumi_download() {
    local pulumi folder=$LAB_CACHE/official/pulumi name version
    mkdir -p "$folder/home/plugins" "$folder/bin"
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
    pulumi=$(readlink -f "$pulumi")
    for name in pulumi pulumi-language-nodejs; do ln -sfn "${pulumi%/*}/$name" "$folder/bin/$name"; done
    for name in command random kubernetes; do
        version=$(node -p 'require(process.argv[1]).dependencies["@pulumi/" + process.argv[2]]' "$LAB_ROOT/package.json" "$name")
        "$pulumi" plugin install resource "$name" "$version" >&2 || fail "pulumi's plugin $name $version cannot be installed"
        ln -sfn "$folder/home/plugins/resource-$name-v$version/pulumi-resource-$name" "$folder/bin/pulumi-resource-$name"
    done
    echo "$folder/bin"
}

# --- side by side --------------------------------------------------------------------------------------------------------------

# task NAME USUAL FUNCTION…: runs it beside the others; what it prints is shown when it fails. USUAL tells how long it takes when
# nothing is cached.
task() {
    local name=$1 usual=$2 log=$LAB_DIR/setup/$1.log
    shift 2
    mkdir -p "$LAB_DIR/setup"
    ("$@") >"$log" 2>&1 &
    TASKS[$!]=$name
    say "    $name: begun (about $usual when nothing is cached; $log)"
}

# tasks_end: waits for all of them; says what ended and, every half minute, what still runs and where it is.
tasks_end() {
    local started=$EPOCHSECONDS shown=$EPOCHSECONDS pid failed=0
    while ((${#TASKS[@]})); do
        for pid in "${!TASKS[@]}"; do
            kill -0 "$pid" 2>/dev/null && continue
            if wait "$pid"; then
                say "    ${TASKS[$pid]}: ready after $((EPOCHSECONDS - started)) s"
            else
                failed=1
                say "    ${TASKS[$pid]}: FAILED; the end of $LAB_DIR/setup/${TASKS[$pid]}.log:"
                tail -n 30 "$LAB_DIR/setup/${TASKS[$pid]}.log" >&2
            fi
            unset "TASKS[$pid]"
        done
        if ((EPOCHSECONDS - shown >= 30)); then
            shown=$EPOCHSECONDS
            for pid in "${!TASKS[@]}"; do
                say "    ${TASKS[$pid]}: $((EPOCHSECONDS - started)) s, $(tail -n 1 "$LAB_DIR/setup/${TASKS[$pid]}.log" | cut -c1-80)"
            done
        fi
        sleep 0.2
    done
    return "$failed"
}

# Compilers use all processors, so one program is built after the other; the k3s stand-in's modules come down meanwhile.
_programs() {
    local versions
    read -ra versions <<<"$LAB_K3S_VERSIONS"
    [[ $1 == tests ]] || versions=("${versions[0]}")
    if [[ -z ${LAB_K3S:-} && ${LAB_OFFICIAL:-} != 1 ]]; then
        (cd "$LAB_ROOT/lab/k3s" && go list -deps . >/dev/null) &
    fi
    pulumi_stage
    echo "k3s ${versions[*]}" >&2
    setup_k3s "${versions[@]}"
    k3s_stage
}

_hosts_image() {
    build_base_image
    build_repository
    [[ $1 != tests ]] || haproxy_versions >/dev/null
}

# setup_all [tests]: what `make lab` uses; with `tests` what its tests need beside: the other release of k3s, haproxy of other
# Debian releases.
setup_all() {
    mkdir -p "$LAB_CACHE" "$LAB_DIR"
    (
        # Labs share the cache.
        exec 8>"$LAB_CACHE/lock"
        flock --nonblock 8 || { say "waiting for another lab's setup" && flock --wait 1800 8; }
        declare -A TASKS=()
        step "set-up of the lab: quick when nothing changed, 10 to 14 minutes on two cores when nothing is cached"
        task node-packages "half a minute" setup_node
        task hosts-image "2 minutes" _hosts_image "${1:-}"
        task programs "10 minutes: pulumi and its plugins, then the k3s stand-in" _programs "${1:-}"
        tasks_end
    )
}
