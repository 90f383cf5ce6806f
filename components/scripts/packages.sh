# shellcheck shell=sh
# Packages of the distribution: which commands install them (package_plan), installing, checking haproxy, removing
# again. Sourced after lib.sh, whose say, fail, wait_for, STATE and WORK it uses.

PACKAGES_NEW=${STATE:-/var/lib/k3s-ha}/packages.new
SEBOOL_SET=${STATE:-/var/lib/k3s-ha}/sebool.set

# package_plan ID "ID_LIKE…": the commands of this family of distributions, one a line as `name: command`; package names
# go to the end. Nothing is asked for, nothing but what is named is brought, and a busy package database is waited for.
package_plan() {
    case " $1 $2 " in
        *" debian "* | *" ubuntu "*)
            cat <<'END'
refresh: apt-get -q -o DPkg::Lock::Timeout=120 update
install: apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install
list: dpkg-query -W -f ${Package}#${db:Status-Status}\n
remove: dpkg --purge
END
            ;;
        *" fedora "* | *" rhel "* | *" centos "* | *" amzn "*)
            cat <<'END'
refresh: dnf -q -y makecache
install: dnf -q -y --setopt=install_weak_deps=False install
list: rpm -qa --qf %{NAME}\n
remove: rpm -e
END
            ;;
        *" suse "* | *" opensuse "* | *" sles "*)
            cat <<'END'
refresh: zypper -q -n refresh
install: zypper -q -n install --no-recommends
list: rpm -qa --qf %{NAME}\n
remove: rpm -e
END
            ;;
        *) return 1 ;;
    esac
}

# plan_step NAME: one command of this host's plan.
plan_step() {
    plan_release=${OS_RELEASE:-/etc/os-release}
    # shellcheck source=/dev/null
    plan_all=$(. "$plan_release" && package_plan "${ID-}" "${ID_LIKE-}") ||
        fail "the distribution is not known ($(sed -n 's/^PRETTY_NAME=//p' "$plan_release" 2>/dev/null))" \
            "install by hand, with whatever this host has for that, the commands haproxy, socat, openssl and curl;" \
            "where they are there no package manager is asked. Packages in k3s-ha:host.packages need apt, dnf or" \
            "zypper: leave them out and install them by hand too. Then run pulumi up again"
    printf '%s\n' "$plan_all" | sed -n "s/^$1: //p"
}

# plan_run NAME [PACKAGE…]: runs it, bounded; the program waits for other package managers itself. stdout is kept for
# list.
plan_run() {
    plan_name=$1
    shift
    plan_command=$(plan_step "$plan_name")
    [ -n "$plan_command" ] || exit 1
    # shellcheck disable=SC2086
    with_proxy env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none \
        ZYPP_LOCK_TIMEOUT=120 \
        timeout 900 $plan_command "$@" </dev/null
}

# Names of all installed packages, sorted. Debian's list has their state behind a #.
installed_packages() { plan_run list | sed -n '/#/!p; s/#installed$//p' | sort -u; }

list_packages() {
    installed_packages >"$WORK/packages.before"
    [ -s "$WORK/packages.before" ] ||
        fail "the list of installed packages is empty" "look at the package manager of the host by hand"
}

# has_command PACKAGE: those of this program's are there when their command is, by whatever package: curl-minimal, a
# build of one's own.
has_command() {
    case $1 in
        curl | openssl | socat | haproxy) command -v "$1" >/dev/null 2>&1 ;;
        *) return 1 ;;
    esac
}

# without_command PACKAGE…: those of them that a package manager has to be asked about.
without_command() { for package in "$@"; do has_command "$package" || printf '%s ' "$package"; done; }

# Those that are not installed.
missing_packages() {
    for package in "$@"; do
        has_command "$package" || grep -qxF -e "$package" "$WORK/packages.before" || printf '%s ' "$package"
    done
}

# A list of packages that another program holds locked is no failure yet.
refresh_packages() {
    plan_run refresh >"$WORK/packages.out" 2>&1 && return 0
    ! grep -qiE 'could not get lock|unable to lock|is locked' "$WORK/packages.out"
}

# What is special when another program held the packages all the time.
lock_advice() {
    if grep -qiE 'could not get lock|unable to lock|is locked' "$WORK/packages.out" "$WORK/packages.refresh"; then
        echo "another package manager held the lock for 120 s: wait until it has ended (often unattended-upgrades; ps" \
            "-ef) and run pulumi up again; else "
    fi
}

# reasons FILE…: why a package manager failed, with the indented lines below its words, where dnf and zypper have the
# reason; or its last lines.
reasons() {
    for file in "$@"; do
        awk '/^[^ \t]/ { on = /^(E:|W:|Err|Error|ERROR|No match|Problem|Unable|Failed|nothing provides)/ } on' "$file"
    done >"$WORK/packages.reasons"
    [ -s "$WORK/packages.reasons" ] || tail -n 4 "$2" >"$WORK/packages.reasons"
    tail -n 8 "$WORK/packages.reasons" | sed 's/^[ \t]*//' | tr '\n' ' ' | cut -c 1-900
}

# install_packages PACKAGE…: installs what is missing, and notes everything new on the host for remove_packages.
install_packages() {
    [ -n "$(without_command "$@")" ] || return 0
    list_packages
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    wait_for 120 refresh_packages || say "k3s-ha: the list of packages could not be renewed"
    cp "$WORK/packages.out" "$WORK/packages.refresh"
    # What held the lock until now may have installed something, which is not ours to remove later.
    list_packages
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    if ! plan_run install $missing >"$WORK/packages.out" 2>&1; then
        note_new_packages
        fail "could not install $missing: $(reasons "$WORK/packages.refresh" "$WORK/packages.out")" \
            "$(lock_advice)run '$(plan_step install) $missing' on the host; often its package sources are wrong or" \
            "cannot be reached"
    fi
    note_new_packages
}

note_new_packages() {
    installed_packages >"$WORK/packages.after"
    comm -13 "$WORK/packages.before" "$WORK/packages.after" >"$WORK/packages.gained"
    # apt waits for the lock once more, and names what it sets up itself; the others are quiet.
    sed -n 's/^Setting up \([^ :]*\).*/\1/p' "$WORK/packages.out" | sort -u >"$WORK/packages.named"
    {
        cat "$PACKAGES_NEW" 2>/dev/null || true
        if [ -s "$WORK/packages.named" ]; then
            comm -12 "$WORK/packages.gained" "$WORK/packages.named"
        else
            cat "$WORK/packages.gained"
        fi
    } | sort -u >"$WORK/packages.new"
    if [ -s "$WORK/packages.new" ]; then mv -f "$WORK/packages.new" "$PACKAGES_NEW"; fi
}

# check_haproxy: new enough to know `http-check send` and several codes in `expect status`, both of 2.2.
check_haproxy() {
    version=$(haproxy -v 2>/dev/null | sed -n 's/^HA-*Proxy version \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] ||
        fail "haproxy does not run: $(haproxy -v 2>&1 | head -n 1)" \
            "install the distribution's haproxy by hand and look at 'haproxy -v'"
    if [ "${version%%.*}" -lt 2 ] || { [ "${version%%.*}" -eq 2 ] && [ "${version#*.}" -lt 2 ]; }; then
        fail "haproxy $version is too old, 2.2 is needed" \
            "upgrade the distribution (Debian 11, Ubuntu 22.04, Enterprise Linux 9 or newer), or install a newer" \
            "haproxy from its project's packages by hand"
    fi
    allow_haproxy_ports
}

# SELinux lets haproxy bind to its usual ports only; 16443 and 1936 are not among them.
allow_haproxy_ports() {
    [ "$(getenforce 2>/dev/null)" = Enforcing ] || return 0
    case $(getsebool haproxy_connect_any 2>/dev/null) in *"> on") return 0 ;; esac
    setsebool -P haproxy_connect_any 1 ||
        fail "SELinux is enforcing and 'setsebool -P haproxy_connect_any 1' failed" \
            "run it on the host and look at its message"
    : >"$SEBOOL_SET"
}

# remove_packages: takes back what install_packages brought, but nothing that something else needs by now.
remove_packages() {
    if [ -f "$SEBOOL_SET" ]; then
        setsebool -P haproxy_connect_any 0 || say "k3s-ha: the SELinux switch haproxy_connect_any could not be put back"
        rm -f "$SEBOOL_SET"
    fi
    [ -s "$PACKAGES_NEW" ] || return 0
    # A purge deletes users with adduser, so that goes last.
    for round in first last; do
        remove=""
        while read -r package; do
            case $package in adduser | passwd) turn=last ;; *) turn=first ;; esac
            if [ "$turn" = "$round" ]; then remove="$remove $package"; fi
        done <"$PACKAGES_NEW"
        [ -n "$remove" ] || continue
        # shellcheck disable=SC2086
        if ! plan_run remove $remove >"$WORK/packages.out" 2>&1; then
            say "k3s-ha: some packages stay, others need them: $(tail -n 3 "$WORK/packages.out" | tr '\n' ' ')"
        fi
    done
    hash -r
    if grep -qx haproxy "$PACKAGES_NEW" && ! command -v haproxy >/dev/null 2>&1; then
        rm -rf /var/lib/haproxy /run/haproxy /etc/haproxy
        if command -v userdel >/dev/null 2>&1 && grep -q '^haproxy:' /etc/passwd; then
            userdel haproxy 2>/dev/null || true
        fi
    fi
    rm -f "$PACKAGES_NEW"
}
