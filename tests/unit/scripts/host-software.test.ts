/** Hosts as people have them: packages that come in other ways, SELinux, cgroup v1, folders where nothing may be executed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBundle } from "../../../components/steps/prepare";
import { kitFolder } from "../helpers/kit-folder";
import { spec } from "../helpers/settings";

describe("software of a host", () => {
    let dir: string;
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "k3s-ha-software-"));
        mkdirSync(join(dir, "work"));
    });
    afterEach(() => rmSync(dir, { recursive: true }));
    /** Sources a script, which sources lib.sh anew. */
    const script = (name: string): string => `. $KIT/${name}; WORK=${dir}/work NODE=agent-1 STEP=prepare;`;
    function run(commands: string): { status: number | null; text: string } {
        const text = `KIT=${kitFolder()} STATE=${dir}; ${script("lib.sh")} ${commands}`;
        const { status, stdout, stderr } = spawnSync("sh", ["-c", text], { encoding: "utf8" });
        return { status, text: stdout + stderr };
    }
    const os = (id: string): string => {
        writeFileSync(join(dir, "os-release"), `ID=${id}\nPRETTY_NAME="Some Linux"\n`);
        return `OS_RELEASE=${dir}/os-release; . $KIT/packages.sh;`;
    };

    it("where the commands are there no package manager is asked, whatever the distribution", () => {
        const { status, text } = run(`${os("arch")} command() { :; }; install_packages curl openssl socat; echo done`);
        assert.deepEqual([status, text], [0, "done\n"]);
    });

    it("a package is there when its command is: curl-minimal is no reason to install curl", () => {
        const { text } =
            run(`${os("rocky")} command() { [ "$2" != socat ]; }; plan_run() { echo "$*" >>${dir}/asked; case $1 in list) echo base ;; esac; }
install_packages curl openssl socat; cat ${dir}/asked`);
        assert.match(text, /^install socat$/m);
    });

    it("an unknown package manager: advice that can work", () => {
        const { status, text } = run(`${os("arch")} command() { return 1; }; (install_packages curl) || echo failed`);
        assert.equal(status, 0);
        assert.match(
            text,
            /the distribution is not known \("Some Linux"\)[^]*next: install by hand.* haproxy, socat, openssl and curl; where they are there no package manager is asked/,
        );
    });

    it("dnf's reason is shown, which it indents", () => {
        const said =
            "Last metadata expiration check: 0:01 ago\\nError: \\n Problem: problem with installed package curl-minimal-7.76.1-26.el9.x86_64\\n  - package curl-minimal-7.76.1 conflicts with curl provided by curl-7.76.1\\n";
        const { text } = run(
            `${os("rhel")} plan_run() { case $1 in list) echo base ;; install) printf '${said}'; return 1 ;; esac; }; install_packages git`,
        );
        assert.match(
            text,
            /could not install git : Error: +Problem: problem with installed package curl-minimal\S+ - package curl-minimal-7\.76\.1 conflicts with curl/,
        );
    });

    it("the binary takes its place as a file of its own, and gets its SELinux label", () => {
        mkdirSync(join(dir, "bin/v1"), { recursive: true });
        writeFileSync(join(dir, "bin/v1/k3s"), "#!/bin/sh\n");
        chmodSync(join(dir, "bin/v1/k3s"), 0o755);
        const { status, text } =
            run(`ROLE=agent; . $KIT/k3s-lib.sh; BIN=${dir}/k3s; setting() { echo v1; }; restorecon() { echo "labelled $1"; }; put() { :; }; ln() { command ln "$@" 2>/dev/null; }
command() { if [ "$1" = -v ]; then return 0; fi; shift 0; "$@"; }
install_binary`);
        assert.equal(status, 0, text);
        assert.match(text, new RegExp(`labelled ${dir}/k3s`));
        assert.notEqual(statSync(join(dir, "bin/v1/k3s")).ino, statSync(join(dir, "k3s")).ino);
    });

    it("a binary below a /var without execution is asked for its release elsewhere", () => {
        writeFileSync(join(dir, "k3s"), "#!/bin/sh\necho k3s version v1\n");
        // Mode 0644 is refused as noexec is.
        const { text } = run(
            `${script("stage.sh")} TRY=${dir}/try; cp() { command cp "$1" "$2"; chmod 0755 "$2"; }; says_version ${dir}/k3s && cat $WORK/version; ls ${dir}`,
        );
        assert.match(text, /^k3s version v1$/m);
        assert.doesNotMatch(text, /^try$/m);
    });

    const argument = (...values: string[]): object => ({ agent: { config: { "kubelet-arg": values } } });
    for (const [what, settings, refused] of [
        ["1.36", {}, "refused"],
        ["1.36 with failCgroupV1: false", { kubelet: { failCgroupV1: false } }, undefined],
        ["1.36 with the kubelet's argument", argument("max-pods=9", "fail-cgroupv1=false"), undefined],
        [
            "1.36 with the argument against the file",
            { kubelet: { failCgroupV1: false }, ...argument("fail-cgroupv1=true") },
            "refused",
        ],
        ["1.34", { version: "v1.34.1+k3s1" }, undefined],
    ] as const)
        it(`a host with cgroup v1 and k3s ${what}: ${refused ?? "is taken"}`, () => {
            const cluster = spec(settings);
            assert.equal(
                prepareBundle(
                    cluster,
                    cluster.nodes.find((node) => node.role === "agent")!,
                    "id",
                    {},
                ).settings["cgroup-v1"],
                refused,
            );
        });

    it("prepare refuses cgroup v1 where it is told to, and names both ways out", () => {
        const on = (type: string): { status: number | null; text: string } =>
            run(
                `${script("prepare.sh")} SYSTEMD=${dir} CGROUPS=/sys/fs/cgroup; stat() { echo ${type}; }; df() { printf 'x\\nx x x 9999999\\n'; }; setting() { echo refused; }; check_host; echo taken`,
            );
        assert.match(on("cgroup2fs").text, /^taken$/m);
        const { status, text } = on("tmpfs");
        assert.equal(status, 1);
        assert.match(text, /cgroup v1[^]*next: .*systemd\.unified_cgroup_hierarchy=1.*failCgroupV1: false/);
    });
});
