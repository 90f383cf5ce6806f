import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeConfig, quotedYaml } from "../../../components/steps/k3s-files";
import { prepareBundle } from "../../../components/steps/prepare";
import type { NodeSpec } from "../../../components/model/cluster";
import { kitFolder } from "../helpers/kit-folder";
import { mistakes, spec } from "../helpers/settings";

const HASH = "ab".repeat(32);

interface Running {
    readonly args: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly ip?: string;
}

/** What adopt.sh takes for differences between a k3s that runs and a node's config.yaml, as lines `-gone` and `+come`. */
function differences(running: Running, name: string, more: object): string[] {
    const s = spec(more);
    const node = s.nodes.find((n) => n.name === name) as NodeSpec;
    const work = mkdtempSync(join(tmpdir(), "k3s-ha-adopt-"));
    try {
        // As Go's encoding/json writes it.
        const json = (value: unknown): string =>
            JSON.stringify(value).replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
        writeFileSync(join(work, "node-args"), json(running.args));
        writeFileSync(join(work, "node-env"), json(running.env ?? {}));
        writeFileSync(join(work, "internal-ip"), running.ip ?? node.address);
        writeFileSync(join(work, "config.yaml"), quotedYaml(nodeConfig(s, node)));
        const script = `KIT=${kitFolder()}; . $KIT/lib.sh; . $KIT/k3s-lib.sh; . $KIT/adopt.sh
WORK=${work}; ROLE=${node.role}; mkdir $WORK/w
annotation() { cat ${work}/$1; }
WORK=${work}/w
running_settings >$WORK/running; wanted_settings ${work}/config.yaml >$WORK/wanted
comm -23 $WORK/running $WORK/wanted | sed 's/^/-/'; comm -13 $WORK/running $WORK/wanted | sed 's/^/+/'`;
        const run = spawnSync("sh", ["-c", script], { encoding: "utf8" });
        assert.equal(run.stderr, "");
        assert.equal(run.status, 0);
        return run.stdout.split("\n").filter((line) => line !== "");
    } finally {
        rmSync(work, { recursive: true });
    }
}

describe("adopt: what a running k3s was started with, against config.yaml", () => {
    const server = { server: { config: { disable: ["traefik", "servicelb"], "write-kubeconfig-mode": "0600" } } };
    const args = [
        "server",
        "--disable",
        "servicelb,traefik",
        "--write-kubeconfig-mode",
        "0600",
        "--kube-apiserver-arg",
        "anonymous-auth=true",
    ];

    it("equal, however it was said", () => {
        assert.deepEqual(
            differences({ args: [...args, "--cluster-init", "true", "--token", "********"] }, "master-1", server),
            [],
        );
        assert.deepEqual(
            differences(
                {
                    args: [
                        "server",
                        "--cluster-init",
                        "--disable",
                        "traefik",
                        "--disable",
                        "servicelb",
                        "-i",
                        "10.90.0.11",
                        "--kube-apiserver-arg",
                        "anonymous-auth=true",
                        "--debug",
                        "false",
                    ],
                    env: {
                        K3S_KUBECONFIG_MODE: "0600",
                        K3S_TOKEN: "********",
                        K3S_DATA_DIR: "/var/lib/rancher/k3s/data/1",
                    },
                    ip: "10.1.1.1",
                },
                "master-1",
                server,
            ),
            [],
        );
        assert.deepEqual(
            differences(
                {
                    args: [
                        "agent",
                        "--disable-apiserver-lb",
                        "--node-label",
                        "a=b",
                        "--kubelet-arg",
                        "eviction-hard=memory.available<5%",
                    ],
                    env: { K3S_URL: "https://127.0.0.1:16443" },
                },
                "agent-1",
                { agent: { config: { "kubelet-arg": ["eviction-hard=memory.available<5%"] } } },
            ),
            [],
        );
    });

    it("what comes and what goes is named", () => {
        assert.deepEqual(
            differences(
                { args: ["agent", "--server", "https://10.90.0.11:6443", "--debug"], ip: "192.0.2.7" },
                "agent-1",
                {},
            ),
            [
                "-debug=true",
                "-node-ip=192.0.2.7",
                "-server=https://10.90.0.11:6443",
                "+disable-apiserver-lb=true",
                "+node-ip=10.90.0.21",
                "+server=https://127.0.0.1:16443",
            ],
        );
    });

    it("needs the cluster's CA, which each host is told", () => {
        assert.match(
            mistakes({ allow: ["adopt"] })[0] ?? "",
            /^k3s-ha:caHash: is missing, and k3s-ha:allow: \[adopt\] /,
        );
        const s = spec({ allow: ["adopt"], caHash: HASH });
        const of = (i: number): unknown => prepareBundle(s, s.nodes[i] as NodeSpec, "id", {}).settings["adopt"];
        assert.deepEqual([of(0), of(2)], [`agent ${HASH}`, `server ${HASH}`]);
        assert.equal(prepareBundle(spec(), s.nodes[0] as NodeSpec, "id", {}).settings["adopt"], undefined);
    });
});
