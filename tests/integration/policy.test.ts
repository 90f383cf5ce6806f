/** The policy pack in the official engine: what it reports of a careless stack, and that a production configuration stops it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RULES } from "../../policy/rules";
import { ROOT, engineEnvironment, stageEngine } from "./engine";

const STACK = "test-policy";
const CARELESS = `
config:
    k3s-ha:cluster: dev
    k3s-ha:version: v1.36.3+k3s1
    k3s-ha:nodes: [{ name: a, role: server, address: 10.0.0.1 }]
    k3s-ha:ssh: { insecureIgnoreHostKey: true }
    k3s-ha:readiness: unauthorized
    k3s-ha:allow: [downgrade]
    k3s-ha:proxy: { check: { verify: false }, stats: { allowedNetworks: [0.0.0.0/0] } }
    k3s-ha:download: { baseUrl: "http://10.0.0.9/k3s" }
    k3s-ha:host: { files: [{ path: /etc/rancher/k3s/x.yaml, content: "password: correct-horse" }] }
`;

describe("policy pack", function () {
    this.timeout(180_000);
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-policy-"));
    const file = join(ROOT, `Pulumi.${STACK}.yaml`);

    function pulumi(...args: string[]): { status: number | null; text: string } {
        const alone = ["--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];
        const run = spawnSync("unshare", [...alone, "pulumi", ...args, "--non-interactive"], {
            cwd: ROOT,
            encoding: "utf8",
            env: engineEnvironment(folder),
        });
        return { status: run.status, text: run.stdout + run.stderr };
    }

    before(() => {
        stageEngine(folder);
        rmSync(file, { force: true });
        assert.equal(pulumi("stack", "init", STACK).status, 0);
        writeFileSync(file, CARELESS, { flag: "a" });
    });
    after(() => {
        rmSync(folder, { recursive: true, force: true });
        rmSync(file, { force: true });
    });

    it("reports every rule that a careless stack breaks, and lets it pass", () => {
        const { status, text } = pulumi("preview", "--stack", STACK, "--policy-pack", "policy");
        assert.equal(status, 0, text);
        // It is not called production.
        for (const name of [...RULES.map((rule) => rule.name).filter((rule) => rule !== "servers"), "commands"])
            assert.match(text, new RegExp(`\\[advisory\\].*\\b${name}\\b`), name);
        assert.ok(!text.includes("correct-horse"));
    });

    it("stops it where the configuration says so", () => {
        const config = join(folder, "config.json");
        writeFileSync(
            config,
            JSON.stringify({ all: "disabled", servers: { enforcementLevel: "mandatory", stacks: ["test-*"] } }),
        );
        const { status, text } = pulumi(
            ...["preview", "--stack", STACK, "--policy-pack", "policy", "--policy-pack-config", config],
        );
        assert.notEqual(status, 0);
        assert.match(text, /\[mandatory\].*servers[^]*k3s-ha:nodes has 1 server\. Three tolerate the loss of one/);
        assert.doesNotMatch(text, /readiness is unauthorized/);
    });
});
