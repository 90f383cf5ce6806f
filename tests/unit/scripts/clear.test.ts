/** The removal of k3s's data: real paths, and nothing of what others have mounted there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
    existsSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    readdirSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { kitFolder } from "../helpers/kit-folder";

describe("what is removed of k3s", () => {
    let dir: string;
    beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "k3s-ha-clear-"))));
    afterEach(() => rmSync(dir, { recursive: true }));

    const file = (path: string): void => {
        mkdirSync(dirname(join(dir, path)), { recursive: true });
        writeFileSync(join(dir, path), "x");
    };
    /** Runs commands of clear.sh; `mounted` are paths that the kernel lists as mount points. */
    function clear(commands: string, mounted: readonly string[] = []): string {
        mkdirSync(join(dir, "work"), { recursive: true });
        const line = (path: string): string => `/dev/sda1 ${join(dir, path).replaceAll(" ", "\\040")} ext4 rw 0 0\n`;
        writeFileSync(join(dir, "mounts"), `proc /proc proc rw 0 0\n${mounted.map(line).join("")}`);
        const script = `. ${kitFolder()}/lib.sh; WORK=${dir}/work DATA=${dir}/lib/k3s CONF=${dir}/etc MOUNTS=${dir}/mounts NODE=master-1; . ${kitFolder()}/clear.sh
OTHER_FOLDERS="${["/var/lib/kubelet", "/etc/rancher/node", "/run/k3s", "/run/flannel"].map((path) => dir + path).join(" ")}"; ${commands}`;
        const { status, stderr } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
        assert.equal(status, 0, stderr);
        return stderr;
    }

    it("the data folder is a link to another disk: what it names is emptied, the link stays", () => {
        mkdirSync(join(dir, "disk"));
        mkdirSync(join(dir, "lib"));
        symlinkSync(join(dir, "disk"), join(dir, "lib/k3s"));
        for (const path of [
            "disk/server/token",
            "disk/server/db/etcd/member/wal",
            "disk/agent/a b",
            "disk/storage/pvc",
        ])
            file(path);
        assert.equal(clear("clear_k3s"), "");
        assert.deepEqual(readdirSync(join(dir, "disk")), []);
        assert.ok(existsSync(join(dir, "lib/k3s")));
    });

    it("manifests and images of other steps stay, which those steps take: a k3s that is installed again needs them", () => {
        mkdirSync(join(dir, "disk"));
        mkdirSync(join(dir, "lib"));
        symlinkSync(join(dir, "disk"), join(dir, "lib/k3s"));
        for (const path of [
            "server/manifests/own.yaml",
            "server/manifests/ccm.yaml",
            "agent/images/own.tar",
            "agent/images/x.tar",
        ])
            file(`disk/${path}`);
        writeFileSync(join(dir, "manifests"), `${dir}/lib/k3s/server/manifests/own.yaml\n`);
        writeFileSync(join(dir, "images"), `${"a".repeat(64)} ${dir}/lib/k3s/agent/images/own.tar\n`);
        clear(`STATE=${dir}; clear_k3s`);
        assert.deepEqual(readdirSync(join(dir, "disk/server/manifests")), ["own.yaml"]);
        assert.deepEqual(readdirSync(join(dir, "disk/agent/images")), ["own.tar"]);
    });

    it("a folder above it is a link", () => {
        mkdirSync(join(dir, "disk"));
        symlinkSync(join(dir, "disk"), join(dir, "lib"));
        file("lib/k3s/server/token");
        clear("clear_k3s");
        assert.deepEqual(readdirSync(join(dir, "disk/k3s")), []);
    });

    it("what is mounted below the kubelet's folder stays, and is named; also by a path with a blank or a pattern", () => {
        const kept = [
            "var/lib/kubelet/pods/1/volumes/nfs",
            "var/lib/kubelet/pods/1/volumes/a b",
            "lib/k3s/storage/pvc-[1]*",
        ];
        const gone = ["var/lib/kubelet/pods/1/etc-hosts", "var/lib/kubelet/config", "lib/k3s/storage/pvc-1x/data"];
        for (const path of kept) file(`${path}/somebody's`);
        for (const path of gone) file(path);
        const said = clear("clear_k3s", kept);
        for (const path of kept) {
            assert.ok(existsSync(join(dir, path, "somebody's")), path);
            assert.ok(said.includes(`${join(dir, path)} is mounted there and keeps what is in it`), said);
        }
        for (const path of gone) assert.ok(!existsSync(join(dir, path)), path);
    });

    it("an etcd disk that was mounted for k3s is emptied and stays", () => {
        file("lib/k3s/server/db/etcd/member/wal");
        file("lib/k3s/server/db/snapshots/one");
        clear("clear_etcd", ["lib/k3s/server/db/etcd"]);
        assert.deepEqual(readdirSync(join(dir, "lib/k3s/server/db")), ["etcd"]);
        assert.deepEqual(readdirSync(join(dir, "lib/k3s/server/db/etcd")), []);
    });

    it("k3s-killall.sh knows mounts by real paths, and leaves a disk of the user's", () => {
        const script = readFileSync(join(kitFolder(), "k3s-killall.sh"), "utf8");
        const info = (root: string, path: string, source: string): string =>
            `36 35 8:1 ${root} ${path} rw shared:1 - ext4 ${source} rw\n`;
        writeFileSync(
            join(dir, "info"),
            [
                info("/", "/mnt/d/k3s/server/db", "/dev/sdb1"),
                info("/", "/mnt/d/k3s/storage", "10.0.0.9:/export"),
                info("/x", "/mnt/d/k3s/agent/tmpmounts/1", "/dev/sda1"),
                info("/", "/mnt/d/k3s/agent/rootfs", "overlay"),
                info("/", "/mnt/k/pods/1/volumes/a\\040b", "/dev/sdc"),
                info("/", "/run/k3s/containerd/1", "overlay"),
                info("/", "/var/lib/rancher/k3s-other", "/dev/sdd"),
                info("/", "/mnt/d", "/dev/sda2"),
            ].join(""),
        );
        const { stdout } = spawnSync(
            "sh",
            [
                "-c",
                `. ${kitFolder()}/k3s-killall.sh; data=/mnt/d/k3s kubelet=/mnt/k; mounts_of_k3s ${join(dir, "info")}`,
            ],
            { encoding: "utf8" },
        );
        assert.deepEqual(stdout.trim().split("\n"), [
            "/mnt/d/k3s/agent/tmpmounts/1",
            "/mnt/d/k3s/agent/rootfs",
            "/mnt/k/pods/1/volumes/a b",
            "/run/k3s/containerd/1",
        ]);
        // What it compares with.
        assert.match(
            script,
            /data=\$\(readlink -f \/var\/lib\/rancher\/k3s\)[^]*"\$data"\/data\/\*\/bin\/containerd-shim\*/,
        );
    });
});
