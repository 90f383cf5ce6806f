# shellcheck shell=sh
# Units of host.services: enabled and started, with a note of what was changed, which alone is taken back. Sourced by
# prepare.sh after lib.sh.

# Lines `enabled UNIT` and `started UNIT`: what this program did.
SERVICES_CHANGED=${STATE:-/var/lib/k3s-ha}/services.changed

unit_says() { systemctl show -p "$1" --value "$2" 2>/dev/null; }

note_service() {
    grep -qxF "$1 $2" "$SERVICES_CHANGED" 2>/dev/null || printf '%s\n' "$1 $2" >>"$SERVICES_CHANGED"
}

# start_service UNIT. A note comes before its change: a run may be cut between the two.
start_service() {
    case $(unit_says LoadState "$1") in
        loaded) ;;
        masked)
            fail "the unit $1 is masked on this host" \
                "unmask it there (systemctl unmask $1), or take it out of k3s-ha:host.services"
            ;;
        *)
            fail "the host has no unit $1" \
                "add the package that brings it to k3s-ha:host.packages, or correct k3s-ha:host.services"
            ;;
    esac
    # Units without an [Install] section are started only.
    if [ "$(systemctl is-enabled "$1" 2>/dev/null)" = disabled ]; then
        note_service enabled "$1"
        systemctl -q enable "$1" >"$WORK/service" 2>&1 ||
            fail "systemd could not enable $1: $(tail -n 2 "$WORK/service")" "run 'systemctl enable $1' on the host"
    fi
    [ "$(unit_says ActiveState "$1")" != active ] || return 0
    note_service started "$1"
    timeout 120 systemctl start "$1" >"$WORK/service" 2>&1 || {
        # shellcheck disable=SC2034
        UNIT=$1
        fail "$1 did not start: $(tail -n 2 "$WORK/service" | tr '\n' ' ')" \
            "look at 'systemctl status $1' on the host, or take it out of k3s-ha:host.services"
    }
}

# release_service UNIT: takes back what was noted of it.
release_service() {
    if grep -qxF "started $1" "$SERVICES_CHANGED"; then timeout 120 systemctl stop "$1" 2>/dev/null || true; fi
    if grep -qxF "enabled $1" "$SERVICES_CHANGED"; then systemctl -q disable "$1" 2>/dev/null || true; fi
    awk -v unit="$1" '$2 != unit' "$SERVICES_CHANGED" >"$WORK/services.kept"
    cat "$WORK/services.kept" >"$SERVICES_CHANGED"
}

# release_services KEPT-FILE: all that were noted, but those in the file.
release_services() {
    [ -f "$SERVICES_CHANGED" ] || return 0
    awk '{ print $2 }' "$SERVICES_CHANGED" | sort -u >"$WORK/services.noted"
    while read -r service; do
        grep -qxF "$service" "$1" || release_service "$service"
    done <"$WORK/services.noted"
    [ -s "$SERVICES_CHANGED" ] || rm -f "$SERVICES_CHANGED"
}

# apply_services: a unit may be one of host.files, which are in place by now.
apply_services() {
    setting service | grep . >"$WORK/services" || true
    release_services "$WORK/services"
    [ -s "$WORK/services" ] || return 0
    if [ "$CHANGED" -gt 0 ]; then systemctl daemon-reload; fi
    while read -r service; do start_service "$service"; done <"$WORK/services"
}

# services_left: for remember.
services_left() { setting service | sed -n 's/^./service &/p'; }

remove_services() { release_services /dev/null; }
