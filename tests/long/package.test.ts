/** The npm package in a program of its own: two clusters, whose addresses another resource gives, on hosts of the lab. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LAB_DIR, ROOT, eventually, kubeconfigOf, lab, labConfig, labNode, on, type Result } from "../cluster/support";

const HOSTS = ["master-4", "master-5", "agent-3"];

/** The lab's settings as arguments. */
function program(): string {
    const config = labConfig();
    const setting = (name: string): unknown => config[`k3s-ha:${name}`];
    const args = {
        version: setting("version"),
        ssh: setting("ssh"),
        vpn: setting("vpn"),
        download: setting("download"),
        kubelet: setting("kubelet"),
        folder: ROOT,
        allow: ["lessTolerance"],
    };
    return `const pulumi = require("@pulumi/pulumi");
const { K3sCluster } = require("k3s-ha");
const given = (node) => {
    const { output } = new pulumi.Stash(node.name + "-address", { input: node.address });
    return { ...node, address: output };
};
const args = ${JSON.stringify(args)};
const nodes = ${JSON.stringify(HOSTS.map((name) => labNode(name)))}.map(given);
const one = new K3sCluster("one", { ...args, nodes: nodes.slice(0, 1) });
const two = new K3sCluster("two", { ...args, nodes: nodes.slice(1), certificateOutput: "certificate", version: args.version });
exports.one = one.kubeconfig;
exports.two = two.kubeconfig;
exports.certificate = two.certificate;
exports.nodes = two.nodes;
`;
}

describe("package: two clusters of a program that is somebody else's", function () {
    this.timeout(900_000);
    const folder = join(LAB_DIR, "their-program");
    const pulumi = (args: readonly string[], check = true): Result =>
        lab(
            [
                "exec",
                "--",
                "pulumi",
                "--cwd",
                folder,
                ...args,
                "--stack",
                "theirs",
                "--non-interactive",
                "--color",
                "never",
            ],
            { timeout: 600, check },
        );

    before(() => {
        lab(["hosts", "up", ...HOSTS], { timeout: 180 });
        execFileSync(process.execPath, ["package/build.mjs"], { cwd: ROOT, stdio: "inherit" });
        mkdirSync(join(folder, "node_modules/@pulumi"), { recursive: true });
        execFileSync("cp", ["-r", join(ROOT, ".package"), join(folder, "node_modules/k3s-ha")]);
        for (const name of ["@pulumi/pulumi", "@pulumi/command", "@pulumi/kubernetes", "@pulumi/random", "yaml", "zod"])
            symlinkSync(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
        writeFileSync(join(folder, "Pulumi.yaml"), "name: theirs\nruntime: nodejs\n");
        writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "theirs", main: "index.js" }));
        writeFileSync(join(folder, "index.js"), program());
        lab(["exec", "--", "pulumi", "--cwd", folder, "stack", "init", "theirs"]);
    });
    after(() => {
        pulumi(["stack", "rm", "--yes", "--force"], false);
        rmSync(folder, { recursive: true, force: true });
        lab(["hosts", "down", ...HOSTS]);
    });

    it("the first preview shows every step, the up makes both, a second one changes nothing", async () => {
        const preview = pulumi(["preview", "--diff"]).stdout;
        for (const name of ["one-master-4-server", "two-agent-3-agent", "two-anonymous-check"])
            assert.match(preview, new RegExp(`::${name}\\]`));
        assert.doesNotMatch(preview, /198\.1[89]\./);
        pulumi(["up", "--yes", "--skip-preview"]);
        pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        for (const [stack, nodes] of [
            ["one", ["master-4"]],
            ["two", ["agent-3", "master-5"]],
        ] as const) {
            const output = { output: (): string => pulumi(["stack", "output", stack, "--show-secrets"]).stdout };
            const file = kubeconfigOf(output);
            await eventually(`${stack} is Ready`, 60, () => {
                const seen = lab([
                    "exec",
                    "--",
                    "kubectl",
                    "--kubeconfig",
                    file,
                    "get",
                    "nodes",
                    "--no-headers",
                ]).stdout;
                assert.deepEqual(
                    seen
                        .trim()
                        .split("\n")
                        .map((line) => line.split(/ +/).slice(0, 2).join(" "))
                        .sort(),
                    nodes.map((name) => `${name} Ready`),
                );
            });
        }
        const address = labNode("master-5").address;
        assert.match(
            on("agent-3", "cat /etc/haproxy/haproxy.cfg").stdout,
            new RegExp(`server master-5 ${address}:6443`),
        );
        assert.match(pulumi(["stack", "output", "certificate", "--json"]).stdout, /"kubeconfigNotAfter": ?"20\d\d-/);
    });

    it("an address that is no address stops the run with all mistakes, before a host is touched", () => {
        writeFileSync(
            join(folder, "index.js"),
            program().replace('"-address", { input: node.address }', '"-other", { input: "wrong-" + node.name }'),
        );
        const up = pulumi(["up", "--yes", "--skip-preview"], false);
        assert.notEqual(up.status, 0);
        assert.match(up.stdout + up.stderr, /k3s-ha:nodes\[0\]\.address: "wrong-master-4" must be/);
        assert.doesNotMatch(up.stdout, /-prepare command:remote:Command (updated|updating)/);
        writeFileSync(join(folder, "index.js"), program());
    });

    it("destroy leaves the hosts without k3s", () => {
        pulumi(["destroy", "--yes", "--skip-preview"]);
        for (const host of HOSTS)
            assert.equal(on(host, "test ! -e /usr/local/bin/k3s && test ! -e /etc/haproxy/haproxy.cfg").status, 0);
    });
});
