# shellcheck shell=bash
# The base image of the hosts and the apt repository they install from; both in LAB_CACHE, made once per recipe.

# What every host has from the start. haproxy, socat, curl and their like are not here: the program installs them.
BASE_PACKAGES=(systemd systemd-sysv dbus udev kmod openssh-server sudo iproute2 iptables iputils-ping procps)
# What the hosts can install; the repository also holds everything these need beyond the base image.
REPOSITORY_PACKAGES=(haproxy socat curl wget openssl ca-certificates jq nftables conntrack python3-minimal zsh fish tcsh)

# apt_sources SUITE: the machine's own Debian mirrors for SUITE, as sources.list lines. For a suite other than the
# machine's, the same mirrors with the suite's name.
apt_sources() {
    local uri suite own
    # shellcheck disable=SC2016  # apt's own placeholders
    own=$(apt-get indextargets --format '$(CODENAME)' 'Created-By: Packages' | grep -oE '^(bullseye|bookworm|trixie)' | sort -u | head -1)
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | sort -u |
        while read -r uri suite; do
            case $suite in
            "$own" | "$own"-updates | "$own"-security)
                echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri ${suite/$own/$1} main" ;;
            esac
        done
}

# apt_private FOLDER STATUS SOURCES: sets APT_OPTIONS for an apt that has its own sources, lists and downloads in FOLDER
# and takes what the dpkg status file says for installed.
apt_private() {
    mkdir -p "$1/lists/partial" "$1/archives/partial"
    printf '%s\n' "$3" >"$1/sources.list"
    APT_OPTIONS=(-q -y -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=- -o Acquire::Languages=none
        -o "Dir::State::Lists=$1/lists" -o "Dir::State::status=$2" -o "Dir::Cache::archives=$1/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
        -o APT::Install-Recommends=false -o APT::Get::Download-Only=true -o Acquire::http::Timeout=20 -o Acquire::Retries=1)
}

base_image() {
    local recipe
    recipe=$(
        echo "$LAB_SUITE ${BASE_PACKAGES[*]}"
        declare -f build_base_image
        cd "$LAB_ROOT/lab/hosts" && find image -type f -printf '%p\n' -exec cat {} + | LC_ALL=C sort
    )
    echo "$LAB_CACHE/base-$(digest <<<"$recipe")"
}
repository() {
    local recipe
    recipe="${REPOSITORY_PACKAGES[*]} $(declare -f build_repository)"
    echo "$(base_image).debs-$(digest <<<"$recipe")"
}

build_base_image() {
    local base new sources
    base=$(base_image)
    [[ ! -d $base ]] || return 0
    sources=$(apt_sources "$LAB_SUITE")
    [[ -n $sources ]] || fail "apt on this machine has no mirror of Debian's $LAB_SUITE, of which the hosts are made"
    step "base image of the hosts (Debian $LAB_SUITE; about a minute, once)"
    new=$base.new
    rm -rf --one-file-system "$new"
    mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${BASE_PACKAGES[*]}")" \
        --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$LAB_SUITE" "$new" <<<"$sources" >&2
    tar -C "$LAB_ROOT/lab/hosts/image" --owner=0 --group=0 -cf - . | tar -C "$new" --no-overwrite-dir --no-same-permissions -xf -
    chmod 440 "$new/etc/sudoers.d/deploy" # git keeps only one bit of a file's mode
    chmod 755 "$new/usr/local/lib/lab/prepare"
    local user
    for user in deploy nosudo; do
        chroot "$new" useradd --create-home --shell /bin/bash --password '*' "$user"
        install -d -m 700 -o "$(chroot "$new" id -u "$user")" -g "$(chroot "$new" id -g "$user")" "$new/home/$user/.ssh"
    done
    install -d -m 700 "$new/root/.ssh"
    install -d -m 2755 "$new/var/log/journal"
    systemctl --quiet --root="$new" enable systemd-networkd.service ssh.service lab-prepare.service
    # Nothing here has a terminal, a modem or the internet; fewer units make five hosts start quickly.
    systemctl --quiet --root="$new" mask getty@.service console-getty.service getty.target apt-daily.timer \
        apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer systemd-resolved.service \
        sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
        dev-hugepages.mount modprobe@configfs.service modprobe@drm.service modprobe@fuse.service \
        modprobe@efi_pstore.service modprobe@dm_mod.service modprobe@loop.service
    rm -rf "$new"/etc/ssh/ssh_host_* "$new"/etc/apt/sources.list* "$new"/var/lib/apt/lists/* "$new"/var/cache/apt/*
    : >"$new/etc/machine-id"
    rm -f "$new/etc/hostname"
    mv "$new" "$base"
}

build_repository() {
    local base debs new sources
    base=$(base_image)
    debs=$(repository)
    [[ ! -d $debs ]] || return 0
    sources=$(apt_sources "$LAB_SUITE")
    step "apt repository of the hosts"
    new=$debs.new
    rm -rf --one-file-system "$new"
    # A download as the base image would do it: its dpkg status decides what is missing.
    apt_private "$new/apt" "$base/var/lib/dpkg/status" "$sources"
    mkdir -p "$new/repository"
    apt-get "${APT_OPTIONS[@]}" update >"$new/log" 2>&1 || { cat "$new/log" >&2; fail "apt-get update for $LAB_SUITE failed"; }
    apt-get "${APT_OPTIONS[@]}" install "${REPOSITORY_PACKAGES[@]}" >"$new/log" 2>&1 ||
        { cat "$new/log" >&2; fail "the packages of the lab's apt repository could not be downloaded"; }
    mv "$new"/apt/archives/*.deb "$new/repository/"
    (cd "$new/repository" && apt-ftparchive packages . >Packages && gzip -9kn Packages &&
        apt-ftparchive -o APT::FTPArchive::Release::Codename="$LAB_SUITE" release . >../Release && mv ../Release .)
    rm -rf "$new/apt" "$new/log"
    mv "$new/repository"/* "$new/" && rmdir "$new/repository"
    mv "$new" "$debs"
}
