/** Modules, services, the BPF file system and the daily removal of images: what prepare.sh does for them, and takes back. */
import assert from "node:assert/strict";
import { prepareBundle } from "../../../components/steps/prepare";
import { spec } from "../helpers/settings";
import { stepShell } from "../helpers/step-shell";

const prepare = stepShell("prepare.sh");

/** Stand-ins for a host: a systemd whose units are files (a line each: load, enabled, active), and a kernel with its modules. */
const HOST = `SERVICES_CHANGED=$STATE/services.changed SYSTEM_UNITS=$STATE/units SYS_MODULE=$STATE/sys LIB_MODULES=$STATE/lib
BPFFS_OURS=$STATE/bpffs.unit BPFFS_MOUNTED=$STATE/bpffs.mounted MODULES_FILE=$STATE/modules-load.conf MOUNTS=$STATE/mounts
mkdir -p $STATE/units $STATE/sys $STATE/lib $STATE/host $STATE/secrets; : >>$MOUNTS
uname() { echo 6.1.0; }
modprobe() { echo "modprobe $1"; case $1 in missing) echo "modprobe: FATAL: Module missing not found in directory /lib/modules/6.1.0" >&2; return 1 ;; esac; } 
part() { cut -d ' ' -f "$1" "$STATE/host/$2" 2>/dev/null; }
systemctl() {
    [ "$1" != -q ] || shift
    case $1 in
        show)
            case $3 in LoadState) part 1 "$5" || echo not-found ;; ActiveState) part 3 "$5" ;; Type) echo simple ;; esac ;;
        is-enabled) part 2 "$2" ;;
        enable) echo "enable $2"; [ ! -e "$STATE/host/$2" ] || echo "$(part 1 $2) enabled $(part 3 $2)" >"$STATE/host/$2" ;;
        disable) echo "disable $2"; [ ! -e "$STATE/host/$2" ] || echo "$(part 1 $2) disabled $(part 3 $2)" >"$STATE/host/$2" ;;
        start)
            echo "start $2"
            case $2 in broken.service) echo "Job for broken.service failed" >&2; return 1 ;; sys-fs-bpf.mount) echo "bpffs /sys/fs/bpf bpf rw 0 0" >>$MOUNTS ;; esac
            [ ! -e "$STATE/host/$2" ] || echo "$(part 1 $2) $(part 2 $2) active" >"$STATE/host/$2" ;;
        stop) shift; echo "stop $*" ;;
        daemon-reload) echo reload ;;
    esac
}
timeout() { shift; "$@"; }
`;
const run = async (commands: string, files: Record<string, string> = {}): Promise<string> =>
    (await prepare(HOST + commands, files)).text.trim();

describe("kernel modules", () => {
    const bundle = (text: string): Record<string, string> => ({
        "work/manifest": "1 0644 MODULES",
        "work/file.1": text,
        "lib/6.1.0/modules.builtin": "kernel/fs/overlay-fs/overlay.ko\nkernel/net/ip-vs.ko.xz\n",
        "sys/br_netfilter/refcnt": "1\n",
    });
    const apply =
        "sed -i s#MODULES#$MODULES_FILE# $WORK/manifest; (apply_modules 2>&1) || ls $STATE; cat $MODULES_FILE 2>/dev/null";

    it("are loaded and noted for the next boot; those that are loaded or built in are fine", async () => {
        assert.equal(
            await run(
                apply.replace("2>&1", '2>&1; cat "$WORK/modprobe"'),
                bundle("br-netfilter\nip_vs\noverlay\nnbd\n"),
            ),
            "modprobe nbd\nbr-netfilter\nip_vs\noverlay\nnbd",
        );
    });

    it("one that is missing is an error with host, module and what to do, and nothing is written", async () => {
        const text = await run(apply, bundle("missing\n"));
        assert.match(
            text,
            /FAILED on node master-1, .*the kernel module missing could not be loaded: modprobe: FATAL[^]*next: install the package that has it for kernel 6\.1\.0.*or take missing out of k3s-ha:host\.modules/,
        );
        assert.doesNotMatch(text, /modules-load/);
    });

    it("that are left out go from the file and are not unloaded", async () => {
        const text = await run("echo nbd >$MODULES_FILE; apply_modules; ls $STATE", {});
        assert.doesNotMatch(text, /modules-load|rmmod|modprobe/);
    });

    it("come before sysctl", () => {
        const host = spec({ host: { modules: ["nbd", "br_netfilter", "nbd"] } });
        const { files } = prepareBundle(host, host.nodes[0]!, "id", {});
        assert.deepEqual(files, [
            { path: "/etc/modules-load.d/k3s-ha.conf", mode: "0644", content: "br_netfilter\nnbd" },
        ]);
    });
});

describe("services of the user", () => {
    const wanted = (...units: string[]): Record<string, string> => ({
        "work/set.service": units.map((u) => `${u}\n`).join(""),
        "host/iscsid.service": "loaded disabled inactive\n",
        "host/rpcbind.service": "loaded enabled active\n",
        "host/once.service": "loaded static inactive\n",
        "host/off.service": "masked masked inactive\n",
        "host/broken.service": "loaded enabled failed\n",
    });

    it("are enabled and started only where they are not, and only that is noted", async () => {
        assert.equal(
            await run(
                "apply_services; cat $WORK/service; cat $SERVICES_CHANGED",
                wanted("iscsid.service", "once.service", "rpcbind.service"),
            ),
            "start once.service\nenabled iscsid.service\nstarted iscsid.service\nstarted once.service",
        );
    });

    it("that are left out are stopped and disabled only if this program had done the contrary", async () => {
        const text = await run(
            "printf '%s\\n' 'enabled iscsid.service' 'started iscsid.service' 'started once.service' >$SERVICES_CHANGED; apply_services; echo --; cat $SERVICES_CHANGED",
            wanted("once.service"),
        );
        assert.equal(text, "stop iscsid.service\ndisable iscsid.service\n--\nstarted once.service");
        assert.equal(await run("apply_services; ls $STATE/services.changed 2>/dev/null", wanted()), "");
    });

    it("all that was changed is taken back when the node goes", async () => {
        const text = await run(
            "printf '%s\\n' 'enabled iscsid.service' 'started once.service' >$SERVICES_CHANGED; remove_services; ls $STATE",
            wanted("iscsid.service"),
        );
        assert.match(text, /^disable iscsid\.service\nstop once\.service\n/);
        assert.doesNotMatch(text, /services\.changed/);
    });

    for (const [unit, told] of [
        [
            "nothing.service",
            /the host has no unit nothing\.service[^]*next: add the package that brings it to k3s-ha:host\.packages/,
        ],
        ["off.service", /the unit off\.service is masked[^]*next: .*systemctl unmask off\.service/],
        [
            "broken.service",
            /broken\.service did not start: .*Job for broken\.service failed[^]*next: look at 'systemctl status broken\.service'/,
        ],
    ] as const)
        it(`${unit} fails with what to do`, async () => {
            assert.match(await run("apply_services 2>&1", wanted(unit)), told);
        });

    it("are looked at by drift, without taking a unit that has ended for a stopped one", async () => {
        const drift = stepShell("drift.sh");
        const { text } = await drift(
            `SYS_MODULE=$STATE LIB_MODULES=$STATE
systemctl() { case $1:\${3-}:\${5-} in show:ActiveState:a.service) echo active ;; show:*:once.service) [ $3 = Type ] && echo oneshot || echo inactive ;; show:ActiveState:*) echo inactive ;; show:*) echo simple ;; is-enabled:*) [ $2 = off.service ] && echo disabled || echo enabled ;; esac; }
for unit in a.service once.service off.service; do check_service $unit; done; check_module nbd; mkdir $STATE/ip_vs; check_module ip-vs`,
        );
        assert.equal(
            text.trim(),
            "off.service is inactive\noff.service is disabled, not enabled\nkernel module nbd is not loaded",
        );
    });
});

describe("the BPF file system", () => {
    const yes = { "work/set.bpffs": "yes\n" };

    it("is mounted by a unit before k3s, once", async () => {
        assert.equal(
            await run("apply_bpffs; apply_bpffs; ls $STATE/units", yes),
            "reload\nenable sys-fs-bpf.mount\nstart sys-fs-bpf.mount\nenable sys-fs-bpf.mount\nsys-fs-bpf.mount",
        );
    });

    it("is left as it is where it is mounted, and stays when the setting goes", async () => {
        const text = await run("apply_bpffs; echo --; rm $WORK/set.bpffs; apply_bpffs; ls $STATE/units; ls $STATE", {
            ...yes,
            mounts: "bpf /sys/fs/bpf bpf rw 0 0\n",
        });
        assert.match(text, /^reload\nenable sys-fs-bpf\.mount\n--\ndisable sys-fs-bpf\.mount\nreload\n/);
        assert.doesNotMatch(text, /start|stop|bpffs\./);
    });

    it("what this program mounted is unmounted", async () => {
        assert.match(
            await run("apply_bpffs; remove_bpffs 2>&1", yes),
            /disable sys-fs-bpf\.mount\nstop sys-fs-bpf\.mount\nreload$/,
        );
    });

    it("a unit of somebody else's is not overwritten", async () => {
        const text = await run("apply_bpffs 2>&1", { ...yes, "units/sys-fs-bpf.mount": "theirs\n" });
        assert.match(text, /has a unit .*sys-fs-bpf\.mount already[^]*next: take it away/);
    });

    it("a kernel that cannot is an error", async () => {
        const text = await run(
            "systemctl() { [ $1 != start ] || { echo 'Mount failed' >&2; return 1; }; }; apply_bpffs 2>&1",
            yes,
        );
        assert.match(text, /could not be mounted at \/sys\/fs\/bpf: Mount failed[^]*next: the kernel needs/);
    });
});

describe("the daily removal of images", () => {
    const yes = { "work/set.prune-images": "yes\n" };

    it("is a timer with a random delay that starts a script at low priority", async () => {
        const text = await run("apply_prune_images; cat $STATE/units/*", yes);
        assert.match(text, /^reload\n/);
        assert.match(text, /^ExecStart=\/bin\/sh \S+\/prune-images\.sh$/m);
        assert.match(text, /^Nice=19\nIOSchedulingClass=idle$/m);
        assert.match(text, /^OnCalendar=daily\nRandomizedDelaySec=6h$/m);
        assert.equal((await run("apply_prune_images; apply_prune_images", yes)).match(/reload/g)?.length, 1);
    });

    it("goes when it is switched off", async () => {
        const text = await run(
            "apply_prune_images; rm $WORK/set.prune-images; apply_prune_images; ls $STATE/units",
            yes,
        );
        assert.match(text, /stop k3s-ha-prune-images\.timer k3s-ha-prune-images\.service\nreload$/);
    });

    it("asks k3s's crictl, and is no failure while containerd is not there", async () => {
        const script = stepShell("prune-images.sh");
        const k3s = (answer: string): string =>
            `printf '#!/bin/sh\\necho "$*" >>%s\\n${answer}\\n' $STATE/asked >$STATE/k3s; chmod 0755 $STATE/k3s; BIN=$STATE/k3s; main; echo $?; cat $STATE/asked`;
        assert.equal((await script(k3s(""))).text.trim(), "0\ncrictl version\ncrictl rmi --prune");
        assert.match((await script(k3s("exit 1"))).text, /nothing is removed\n0\ncrictl version\n$/);
        assert.match((await script("BIN=$STATE/none; main; echo $?")).text, /nothing is removed\n0\n$/);
    });
});
