#!/bin/sh
# What differs on this host from what the steps left: one line `STEP: WHAT` per difference, nothing when all is as it
# was. Changes nothing and restarts nothing. Called by the command `npm run drift`, by no step.
# On a server also: --nodes: labels and taints of the Nodes; --public=PATH,…: ClusterRole system:public-info-viewer,
# which leaves these paths.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
. "$KIT/packages.sh"
. "$KIT/flannel.sh"
. "$KIT/host-modules.sh"

APPLIED=$STATE/applied

# file MODE SHA256 PATH
check_file() {
    if [ ! -f "$3" ]; then
        echo "$3 is missing"
    elif [ "$(sha256sum <"$3" | cut -d ' ' -f 1)" != "$2" ]; then
        case $3 in /usr/local/bin/k3s) echo "$3 is another binary" ;; *) echo "$3 was changed" ;; esac
    elif [ "$(stat -c %a "$3")" != "$1" ]; then
        echo "$3 has mode $(stat -c %a "$3") and not $1"
    fi
}

# A unit that is still starting counts as running: k3s on an agent may say so for minutes.
check_unit() {
    state=$(systemctl show -p ActiveState --value "$1")
    case $state in
        active | reloading) ;;
        activating) [ "$(systemctl show -p MainPID --value "$1")" != 0 ] || echo "$1 does not come up" ;;
        *) echo "$1 is $state" ;;
    esac
    enabled=$(systemctl is-enabled "$1" 2>/dev/null) || true
    case $1 in
        k3s.service | k3s-agent.service)
            link=$(missing_flannel "$1")
            [ -z "$link" ] || echo "the pod network's interface $link is missing or down"
            ;;
    esac
    [ "$enabled" = enabled ] || echo "$1 is ${enabled:-not there}${enabled:+, not enabled}"
}

check_sysctl() {
    value=$(sysctl -n "$1" 2>/dev/null | tr '\t' ' ') || value=""
    [ "$value" = "$2" ] || echo "sysctl $1 is $value and not $2"
}

check_package() {
    ! has_command "$1" || return 0
    [ -s "$WORK/packages.before" ] || installed_packages >"$WORK/packages.before"
    [ -z "$(missing_packages "$1")" ] || echo "package $1 is not installed"
}

# A module may be part of the kernel.
check_module() { module_there "$1" || echo "kernel module $1 is not loaded"; }

# A unit of the user's; one that runs once and ends is not active afterwards.
check_service() {
    state=$(systemctl show -p ActiveState --value "$1")
    case $state:$(systemctl show -p Type --value "$1") in
        active:* | reloading:* | activating:* | inactive:oneshot) ;;
        *) echo "$1 is $state" ;;
    esac
    enabled=$(systemctl is-enabled "$1" 2>/dev/null) || true
    case $enabled in disabled | masked | "") echo "$1 is ${enabled:-not there}${enabled:+, not enabled}" ;; esac
}

# differences STEP: against what the step noted at its end (remember in lib.sh).
differences() {
    if [ ! -f "$APPLIED/$1" ]; then
        echo "$1: nothing is known of what this step left"
        return
    fi
    while read -r kind first second rest; do
        case $kind in
            file) check_file "$first" "$second" "$rest" ;;
            unit) check_unit "$first" ;;
            sysctl) check_sysctl "$first" "$second${rest:+ $rest}" ;;
            package) check_package "$first" ;;
            module) check_module "$first" ;;
            service) check_service "$first" ;;
        esac
    done <"$APPLIED/$1" | sed "s|^|$1: |"
}

# ask_api WHAT ARGUMENTS…: kubectl as this host's admin.
ask_api() {
    asked=$1
    shift
    timeout 20 /usr/local/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --request-timeout=10s "$@" \
        2>"$WORK/err" || {
        say "k3s-ha: $NODE: $asked could not be read: $(tail -n 1 "$WORK/err")"
        return 1
    }
}

# As jsonpath has it: a dot in a key is escaped.
AUTOUPDATE='rbac\.authorization\.kubernetes\.io/autoupdate'

# Kubernetes adds the default rules again when the annotation is gone.
public_role() {
    found=$(ask_api "ClusterRole system:public-info-viewer" get clusterrole system:public-info-viewer \
        -o "jsonpath={.rules[*].nonResourceURLs}|{.rules[*].verbs}|{.metadata.annotations.$AUTOUPDATE}") ||
        return 1
    wanted="[\"$(printf '%s' "$1" | sed 's/,/","/g')\"]|[\"get\"]|false"
    [ "$found" = "$wanted" ] ||
        echo "public-info-viewer: ClusterRole system:public-info-viewer is $found and not $wanted"
}

# Of Nodes that are there: one that was deleted is made again by its own k3s.
node_marks() {
    [ -f "$APPLIED/members" ] || {
        echo "members: nothing is known of what this step left"
        return 0
    }
    ask_api "the Nodes" get nodes -o 'go-template={{range .items}}{{.metadata.name}} ,'"$MARKS"'{{"\n"}}{{end}}' \
        >"$WORK/nodes" || return 1
    while read -r kind name mark; do
        marks=$(awk -v n="$name" '$1 == n { print $2 }' "$WORK/nodes")
        case $marks in "" | *",$mark,"*) ;; *) echo "members: Node $name has no $kind $mark" ;; esac
    done <"$APPLIED/members"
}

main() {
    if [ ! -d "$STATE" ]; then
        echo "prepare: $STATE is missing"
        exit 0
    fi
    begin
    k3s_step=server
    [ ! -f "$APPLIED/agent" ] || k3s_step=agent
    for step in prepare haproxy stage "$k3s_step"; do differences "$step"; done
    # Where the stack has some.
    if [ -e "$STATE/manifests" ]; then differences manifests; fi
    for also in "$@"; do
        case $also in
            --nodes) node_marks ;;
            --public=*) public_role "${also#--public=}" ;;
            *)
                say "usage: drift.sh [--nodes] [--public=PATH,…]"
                exit 2
                ;;
        esac
    done
}

# Tests source this file.
if [ "${0##*/}" = drift.sh ]; then main "$@"; fi
