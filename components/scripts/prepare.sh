#!/bin/sh
# Step prepare: what a host needs before anything is installed: facts checked, secrets in place, packages, modules,
# sysctl, files, services.
# apply: stdin is a bundle. Prints whether the host holds etcd data, which the founding guard asks.
# remove: undoes it; runs last of all removals.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/packages.sh"
. "$KIT/foreign.sh"
. "$KIT/routes.sh"
. "$KIT/host-modules.sh"
. "$KIT/host-services.sh"
. "$KIT/host-units.sh"

ETCD=/var/lib/rancher/k3s/server/db/etcd
CGROUPS=/sys/fs/cgroup
# There while systemd is the init.
SYSTEMD=/run/systemd/system
SYSCTL_FILE=/etc/sysctl.d/90-k3s-ha.conf

check_host() {
    [ -d "$SYSTEMD" ] ||
        fail "the host does not run systemd" "use a host whose init is systemd; k3s is run by systemd units here"
    for tool in awk cmp sed gzip base64 mktemp timeout ss; do
        command -v "$tool" >/dev/null 2>&1 ||
            fail "the host lacks the command $tool" \
                "install it (ss is in iproute2, cmp in diffutils) and run pulumi up again"
    done
    if [ "$(setting cgroup-v1)" = refused ] && [ "$(stat -fc %T "$CGROUPS" 2>/dev/null)" = tmpfs ]; then
        fail "the host has cgroup v1, where the kubelet of k3s 1.35 and newer does not start" \
            "boot it with cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line), or set" \
            "k3s-ha:kubelet: { failCgroupV1: false } while Kubernetes still has that"
    fi
    # k3s's data may lie on a disk of their own.
    for dir in /var/lib /var/lib/rancher /var/lib/rancher/k3s; do
        [ -d "$dir" ] || continue
        free=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
        [ "$free" -ge 1048576 ] ||
            fail "only $((free / 1024)) MiB are free below $dir" "free at least 1 GiB there and run pulumi up again"
    done
}

# Prints none, or the id of the cluster whose etcd data lie here.
etcd_data() {
    if [ ! -d "$ETCD/member" ] && [ ! -f "${ETCD%/*}/state.db" ]; then
        echo none
    elif [ -s "$ID_FILE" ]; then
        cat "$ID_FILE"
    else
        echo unknown
    fi
}

check_etcd_data() {
    data=$(etcd_data)
    case $data in
        none | "$(setting cluster-id)") ;;
        *) fail "$ETCD holds etcd data of another cluster (id: $data, this stack's: $(setting cluster-id))" \
            "if the data are of no use, remove k3s and /var/lib/rancher/k3s from the host and run pulumi up again;" \
            "never do so on the last server of a cluster you need" ;;
    esac
    # After what start files of the login shell have printed, perhaps without an end of line.
    printf '\netcd-data: %s\n' "$data"
}

# A secret that the stack has no longer.
remove_old_secrets() {
    for old in "$SECRETS"/*; do
        if [ -f "$old" ] && ! bundle_file "$old" >/dev/null; then rm -f "$old"; fi
    done
}

apply_sysctl() {
    new=$(bundle_file "$SYSCTL_FILE") || return 0
    while IFS='= ' read -r key _; do
        # In the stack's spelling: sysctl itself prints a/b as a.b.
        if awk -v key="$key" '$1 == key { found = 1 } END { exit !found }' "$STATE/sysctl.before" 2>/dev/null; then
            continue
        fi
        value=$(sysctl -n "$key" 2>/dev/null) || fail "the kernel has no sysctl $key" "correct k3s-ha:host.sysctl"
        printf '%s = %s\n' "$key" "$value" >>"$STATE/sysctl.before"
    done <"$new"
    put "$new" "$SYSCTL_FILE" 0644
    sysctl -q -p "$SYSCTL_FILE" >"$WORK/sysctl.out" 2>&1 ||
        fail "sysctl refused $SYSCTL_FILE: $(tail -n 3 "$WORK/sysctl.out")" "correct k3s-ha:host.sysctl"
}

# is_own PATH: a file of the bundle that another function puts.
is_own() { case $1 in "$SECRETS"/* | "$SYSCTL_FILE" | "$MODULES_FILE") ;; *) return 1 ;; esac }

# Files of the user, with what stood there before kept for the removal.
apply_files() {
    mkdir -p "$STATE/before"
    while read -r n mode path; do
        if is_own "$path"; then continue; fi
        if ! grep -qxF "$path" "$STATE/files" 2>/dev/null; then
            if [ -e "$path" ]; then cp -p "$path" "$STATE/before/$(echo "$path" | tr / %)"; fi
            printf '%s\n' "$path" >>"$STATE/files"
        fi
        put "$WORK/file.$n" "$path" "$mode"
    done <"$WORK/manifest"
}

left() {
    files_present "$KIT/kit" "$KIT"/*.sh "$SECRETS"/* "$STATE/cluster-id" "$SYSCTL_FILE"
    while read -r _ _ path; do
        is_own "$path" || files_present "$path"
    done <"$WORK/manifest"
    for package in $(setting packages); do echo "package $package"; done
    if new=$(bundle_file "$SYSCTL_FILE"); then sed -n 's/^\([^ =]*\) *=.*/sysctl \1/p' "$new"; fi
    modules_left
    services_left
    units_left
}

apply() {
    begin
    unpack
    lock prepare 120
    check_host
    setting cluster-id >"$WORK/cluster-id"
    check_adoption
    check_haproxy_owner
    check_routes
    check_etcd_data
    put_files "$SECRETS/"
    remove_old_secrets
    put "$WORK/cluster-id" "$STATE/cluster-id" 0600
    packages=$(setting packages)
    # shellcheck disable=SC2086
    [ -z "$packages" ] || install_packages $packages
    # Some sysctl keys are there only with their module.
    apply_modules
    apply_sysctl
    apply_files
    apply_bpffs
    apply_services
    apply_prune_images
    # Proxies look for it; a k3s that runs already (from before this program, say) serves.
    if [ -d /var/lib/rancher/k3s/server/static ] && systemctl -q is-active k3s 2>/dev/null; then
        sh "$KIT/drain.sh" end 0.0.0.0
    fi
    echo "prepare: $CHANGED files changed"
    left | remember prepare
}

# A step whose resource never came to be (its create failed) has no removal of its own: what is left of it goes here.
# haproxy always does (see its `settle`).
remove_steps() {
    if [ -s "$STATE/k3s-role" ]; then sh "$KIT/$(cat "$STATE/k3s-role").sh" remove </dev/null >&2; fi
    if [ -e "$STATE/haproxy/kept" ]; then sh "$KIT/haproxy.sh" remove </dev/null >&2; fi
    if [ -e "$STATE/manifests" ]; then sh "$KIT/manifests.sh" remove </dev/null >&2; fi
    if [ -e "$STATE/images" ]; then sh "$KIT/stage.sh" remove </dev/null >&2; fi
}

remove() {
    begin
    remove_steps
    remove_prune_images
    remove_services
    remove_bpffs
    remove_modules
    if [ -f "$STATE/files" ]; then
        while read -r path; do
            before=$STATE/before/$(echo "$path" | tr / %)
            # Its folder may have gone with k3s.
            if [ -e "$before" ]; then
                make_folder "$(dirname "$path")" && cp -pf "$before" "$path"
            else
                rm -f "$path"
            fi
        done <"$STATE/files"
    fi
    rm -f "$SYSCTL_FILE"
    if [ -s "$STATE/sysctl.before" ]; then
        sysctl -q -p "$STATE/sysctl.before" || say "k3s-ha: $NODE: some sysctl values could not be put back"
    fi
    remove_packages
    # What is replaced is made again next, and no scripts are sent for that: bootstrap.sh takes these. A reboot clears
    # /run.
    cp "$KIT/kit" /run/k3s-ha-kit 2>/dev/null || true
    rm -rf "$STATE" "$KIT"
    echo "prepare: removed"
}

main() {
    case ${1-} in
        apply) apply ;;
        remove) remove ;;
        *)
            say "usage: prepare.sh apply|remove"
            exit 2
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = prepare.sh ]; then main "$@"; fi
