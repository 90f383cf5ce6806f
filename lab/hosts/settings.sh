# shellcheck shell=bash
# Settings of the lab (environment, see ../README.md) and the few words every other file uses.
# shellcheck disable=SC2034  # most of these are read by the files beside this one

LAB_NAME=${LAB_NAME:-k3s-ha}
LAB_DIR=${LAB_DIR:-$LAB_ROOT/.lab}
LAB_CACHE=${LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/k3s-ha-lab}
LAB_NET=${LAB_NET:-10.90.0}
LAB_STACK_FILE=${LAB_STACK_FILE:-Pulumi.dev.yaml}
LAB_DISK=${LAB_DISK:-8G}
LAB_SUITE=${LAB_SUITE:-bookworm}
# The first is what the lab's stack runs, the others are for upgrades and downgrades.
LAB_K3S_VERSIONS=${LAB_K3S_VERSIONS:-v1.36.3+k3s1 v1.36.2+k3s1}
export LAB_ROOT LAB_NAME LAB_DIR LAB_CACHE LAB_NET LAB_STACK_FILE LAB_DISK LAB_SUITE LAB_K3S_VERSIONS

# Names that are in force machine-wide carry the lab's name: network namespaces, cgroups, machine names.
ROUTER_NETNS=$LAB_NAME-router
ROUTER_ADDRESS=$LAB_NET.1
HOSTS_DIR=$LAB_DIR/hosts
HOSTS_LIST=$LAB_DIR/hosts.list # lines "name role address", written by stack_hosts

say() { printf '%s\n' "$*" >&2; }
step() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
    printf 'lab: %s\n' "$*" >&2
    exit "${FAIL_CODE:-1}"
}

check_settings() {
    [[ $LAB_NAME =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
        fail "LAB_NAME=$LAB_NAME: lower-case letters, digits and inner dashes, at most 32 characters"
    [[ $LAB_NET =~ ^([0-9]{1,3}\.){2}[0-9]{1,3}$ ]] || fail "LAB_NET=$LAB_NET: the first three octets of a /24, as 10.90.0"
    [[ $LAB_DIR == /?* && $LAB_DIR != *[[:space:]:,\\]* ]] ||
        fail "LAB_DIR=$LAB_DIR: an absolute path without spaces, colons, commas and backslashes"
    [[ $LAB_CACHE == /?* && $LAB_CACHE != *[[:space:]:,\\]* ]] ||
        fail "LAB_CACHE=$LAB_CACHE: an absolute path without spaces, colons, commas and backslashes"
    [[ ${EUID} -eq 0 ]] || fail "root is needed (network namespaces, mounts, cgroups)"
}

# wait_for SECONDS COMMAND…: runs COMMAND ten times a second until it succeeds; 1 when the time is over.
wait_for() {
    local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@"; do
        ((${EPOCHREALTIME/[.,]/} < end)) || return 1
        sleep 0.1
    done
}
