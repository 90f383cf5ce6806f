# shellcheck shell=sh
# Kernel modules of host.modules: loaded now, and at each boot by systemd. Sourced by prepare.sh after lib.sh.

MODULES_FILE=/etc/modules-load.d/k3s-ha.conf
# For tests.
SYS_MODULE=${SYS_MODULE:-/sys/module}
LIB_MODULES=${LIB_MODULES:-/lib/modules}

# module_there NAME: loaded, or part of the kernel. Its file may have - where the kernel has _.
module_there() {
    module_as=$(printf '%s\n' "$1" | tr - _)
    [ -d "$SYS_MODULE/$module_as" ] ||
        sed 's#.*/##; s/\.ko.*//' "$LIB_MODULES/$(uname -r)/modules.builtin" 2>/dev/null | tr - _ |
        grep -qxF "$module_as"
}

load_module() {
    module_there "$1" && return 0
    if ! modprobe "$1" >"$WORK/modprobe" 2>&1 </dev/null; then
        fail "the kernel module $1 could not be loaded: $(tail -n 1 "$WORK/modprobe" | cut -c 1-300)" \
            "install the package that has it for kernel $(uname -r) (Ubuntu: linux-modules-extra-$(uname -r), EL:" \
            "kernel-modules-extra), reboot if the kernel was upgraded since the last boot, or take $1 out of" \
            "k3s-ha:host.modules"
    fi
}

# apply_modules: what was left out goes from the file and stays loaded until the next boot.
apply_modules() {
    if ! modules_new=$(bundle_file "$MODULES_FILE"); then
        rm -f "$MODULES_FILE"
        return 0
    fi
    while read -r module; do load_module "$module"; done <"$modules_new"
    put "$modules_new" "$MODULES_FILE" 0644
}

# modules_left: for remember.
modules_left() {
    if modules_new=$(bundle_file "$MODULES_FILE"); then
        files_present "$MODULES_FILE"
        sed 's/^/module /' "$modules_new"
    fi
}

remove_modules() { rm -f "$MODULES_FILE"; }
