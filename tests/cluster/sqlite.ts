/** A single server on SQLite moves to etcd. */
import assert from "node:assert/strict";
import {
    Client,
    Stack,
    eventually,
    figures,
    kubeconfigOf,
    lab,
    labNode,
    nodeOf,
    nodesOf,
    on,
    underLoad,
    voters,
} from "./support";

/** Test: it moves, and these hosts join it as servers. */
export function movesToEtcd(more: readonly string[]): void {
    it(`1 on SQLite, the data move to etcd${more.length > 0 ? `, ${more.length} masters join` : ""}`, async () => {
        lab(["hosts", "up"], { timeout: 300 });
        const stack = new Stack("sqlite", ["master-4"], (config) => {
            config["k3s-ha:cluster"] = "small";
            config["k3s-ha:readiness"] = "scoped";
            config["k3s-ha:server"] = { datastore: "sqlite" };
        }).init();
        stack.up();
        const kube = (line: string): string => on("master-4", `HOME=/tmp k3s kubectl ${line}`).stdout;
        kube("create configmap from-sqlite");
        assert.equal(on("master-4", "ls /var/lib/rancher/k3s/server/db").stdout.includes("state.db"), true);
        assert.match(stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]).stdout, /unchanged/);
        const refused = stack.pulumi(
            [
                "preview",
                "--config-file",
                stack.changed((config) => {
                    nodesOf(config).push({ ...nodeOf(config, "master-4"), name: "x", address: "192.0.2.1" });
                }),
            ],
            { check: false },
        );
        assert.match(
            refused.stdout + refused.stderr,
            /server\.datastore: "sqlite" is for a single server and the stack has 2/,
        );
        const client = await new Client("master-4", kubeconfigOf(stack)).running();
        stack.upWith((config) => void delete config["k3s-ha:server"]);
        const seen = await client.stop();
        // The only master restarts: its API is away for that long, as documented.
        figures("SQLite to etcd, one master", seen);
        assert.ok(seen.longestGap < 30_000, `the API was away for ${seen.longestGap} ms`);
        assert.deepEqual(voters("master-4"), ["master-4"]);
        if (more.length > 0) {
            const added = more.map((name) => ({ ...labNode(name), role: "server" as const }));
            await underLoad(
                "masters join",
                () => stack.upWith((config) => nodesOf(config).push(...added)),
                {},
                ["master-4"],
                kubeconfigOf(stack),
            );
            assert.deepEqual(voters("master-4"), ["master-4", ...more].sort());
        }
        await eventually("the data moved", 10, () =>
            assert.match(kube("get configmap from-sqlite -o name"), /from-sqlite/),
        );
        const back = stack.pulumi(
            [
                "preview",
                "--config-file",
                stack.changed((config) => {
                    config["k3s-ha:server"] = { datastore: "sqlite" };
                    config["k3s-ha:nodes"] = nodesOf(config).slice(0, 1);
                    config["k3s-ha:allow"] = ["lessTolerance"];
                }),
            ],
            { check: false },
        );
        assert.match(back.stdout + back.stderr, /cannot follow etcd/);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });
}
