/** What the lab's set-up makes of a k3s that somebody brings. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";

const root = join(__dirname, "../..");

describe("a k3s that is brought to the lab", () => {
    let folder: string;
    beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "k3s-ha-lab-setup-"))));
    afterEach(() => rmSync(folder, { recursive: true }));

    /** Prints its version as k3s does: with the name that it was called by. */
    function brought(version: string): string {
        const file = join(folder, `k3s of ${version}`);
        writeFileSync(file, `#!/bin/sh\necho "\${0##*/} version ${version} (0123abcd)"\n`);
        chmodSync(file, 0o755);
        return file;
    }

    /** The stack file that the lab gets where a kubelet finds this kind of file system below /sys/fs/cgroup. */
    function stack(k3s: string, cgroups: "tmpfs" | "cgroup2fs", ownStack?: string): { name: string; text: string } {
        if (ownStack) writeFileSync(join(folder, "Pulumi.own.yaml"), ownStack);
        const run = spawnSync(
            "bash",
            [
                "-euo",
                "pipefail",
                "-c",
                `LAB_ROOT=$1 LAB_DIR=$2/lab; for part in settings cgroup services setup; do . "$LAB_ROOT/lab/hosts/$part.sh"; done
stat() { echo ${cgroups}; }
mkdir "$LAB_DIR"; setup_k3s; echo "name $(stack_name)"
# The derived file lies in the project's folder.
mkdir "$2/lab/hosts"; ln -s "$LAB_ROOT/node_modules" "$2/node_modules"; mkdir "$2/root"
LAB_ROOT=$2/root; mkdir -p "$LAB_ROOT/lab"; ln -s "$1/lab/hosts" "$LAB_ROOT/lab/hosts"; cp "$1/Pulumi.dev.yaml" "$LAB_ROOT"
stack_derive; cat "$LAB_ROOT/Pulumi.lab-$LAB_NAME.yaml"`,
                "bash",
                root,
                folder,
            ],
            {
                encoding: "utf8",
                env: {
                    PATH: process.env["PATH"],
                    LAB_K3S: k3s,
                    ...(ownStack && { LAB_STACK_FILE: join(folder, "Pulumi.own.yaml") }),
                },
            },
        );
        assert.equal(run.status, 0, run.stderr);
        const [, name = "", text = ""] = /name (.*)\n([^]*)/.exec(run.stdout) ?? [];
        return { name, text };
    }
    const kubelet = (text: string): unknown =>
        (parse(text) as { config: Record<string, unknown> }).config["k3s-ha:kubelet"];

    it("may have any name", () => {
        const { text } = stack(brought("v1.36.3+k3s1"), "cgroup2fs");
        assert.equal(kubelet(text), undefined);
        assert.match(readFileSync(join(folder, "lab/k3s/v1.36.3+k3s1/sha256sum-amd64.txt"), "utf8"), / k3s\n$/);
    });

    it("its kubelet is let run on cgroup v1 where the machine has it, from 1.35 on", () => {
        assert.deepEqual(kubelet(stack(brought("v1.36.3+k3s1"), "tmpfs").text), { failCgroupV1: false });
    });

    it("an older one needs no word", () => {
        assert.equal(kubelet(stack(brought("v1.34.10+k3s1"), "tmpfs").text), undefined);
    });

    it("settings that the stack file has stay as they are", () => {
        const own = "config:\n    k3s-ha:kubelet: { maxPods: 70 } # few\n";
        const { text } = stack(brought("v1.36.3+k3s1"), "tmpfs", own);
        assert.deepEqual(kubelet(text), { maxPods: 70, failCgroupV1: false });
        assert.match(text, /# few/);
        rmSync(join(folder, "lab"), { recursive: true });
        rmSync(join(folder, "root"), { recursive: true });
        rmSync(join(folder, "node_modules"));
        const strict = "config:\n    k3s-ha:kubelet: { failCgroupV1: true }\n";
        assert.deepEqual(kubelet(stack(brought("v1.36.3+k3s1"), "tmpfs", strict).text), { failCgroupV1: true });
    });
});
