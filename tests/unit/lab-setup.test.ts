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

    it("may have any name", () => {
        // Prints its version as k3s does: with the name that it was called by.
        const file = join(folder, "k3s of today");
        writeFileSync(file, '#!/bin/sh\necho "${0##*/} version v1.36.3+k3s1 (0123abcd)"\n');
        chmodSync(file, 0o755);
        const run = spawnSync(
            "bash",
            [
                "-euo",
                "pipefail",
                "-c",
                'LAB_ROOT=$1 LAB_DIR=$2/lab; . "$1/lab/hosts/settings.sh"; . "$1/lab/hosts/setup.sh"; mkdir "$LAB_DIR"; setup_k3s',
                "bash",
                root,
                folder,
            ],
            { encoding: "utf8", env: { PATH: process.env["PATH"], LAB_K3S: file } },
        );
        assert.equal(run.status, 0, run.stderr);
        assert.match(readFileSync(join(folder, "lab/k3s/v1.36.3+k3s1/sha256sum-amd64.txt"), "utf8"), / k3s\n$/);
    });

    it("finds a stack that lets its kubelet run on cgroup v1", () => {
        for (const file of ["Pulumi.dev.yaml", "tests/cluster/hosts.yaml"]) {
            const { config } = parse(readFileSync(join(root, file), "utf8")) as { config: Record<string, unknown> };
            assert.deepEqual(config["k3s-ha:kubelet"], { failCgroupV1: false }, file);
        }
    });
});

describe("hosts of the lab", () => {
    let folder: string;
    beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "k3s-ha-lab-hosts-"))));
    afterEach(() => rmSync(folder, { recursive: true }));

    const hosts = (name: string): ReturnType<typeof spawnSync> => {
        const file = join(folder, "stack.yaml");
        writeFileSync(file, `config: { "k3s-ha:nodes": [{ name: ${name}, role: server, address: 10.90.0.11 }] }\n`);
        const args = [join(root, "lab/hosts/stack.mjs"), "hosts", file, "10.91.0"];
        return spawnSync(process.execPath, args, { encoding: "utf8" });
    };
    it("may have names with dots", () => {
        for (const name of ["master-1", "node1.example.com", "a.b-c.d"])
            assert.equal(hosts(name).stdout, `${name} server 10.91.0.11\n`);
    });
    it("have no names that a machine cannot have", () => {
        for (const name of ["a..b", ".a", "a.", "-a.b", "a.-b", "A.b", "a/b", `${"a".repeat(40)}.bc`])
            assert.match(String(hosts(`"${name}"`).stderr), /not possible in the lab/, name);
    });

    it("stay apart where a dot of one is a letter of another, when the list is made anew", () => {
        const run = spawnSync(
            "bash",
            [
                "-euo",
                "pipefail",
                "-c",
                `LAB_ROOT=$1 LAB_DIR=$2; . "$1/lab/hosts/settings.sh"; . "$1/lab/hosts/services.sh";
                for h in axb a.b; do mkdir -p "$HOSTS_DIR/$h"; touch "$HOSTS_DIR/$h/created"; done
                stack_hosts() { printf 'axb agent 10.90.0.12\na.b server 10.90.0.11\n'; }
                stack_hosts >"$HOSTS_LIST"; hosts_refresh; cat "$HOSTS_LIST"`,
                "bash",
                root,
                folder,
            ],
            { encoding: "utf8", env: { PATH: process.env["PATH"] } },
        );
        assert.deepEqual([run.status, run.stdout], [0, "axb agent 10.90.0.12\na.b server 10.90.0.11\n"], run.stderr);
    });
});
