import assert from "node:assert/strict";
import {
    Client,
    MASTERS,
    eventually,
    figures,
    kubectl,
    lab,
    mainCluster,
    mastersUp,
    nodeOf,
    on,
    voters,
    whole,
} from "./support";

/** Requests that can be on their way at one moment: 50 a second, each over within 100 ms. */
const IN_FLIGHT = 5;

describe("masters die", function () {
    this.timeout(300_000);
    before(mainCluster);

    for (const master of MASTERS) {
        it(`${master} stopped as planned: no request through an agent's proxy fails`, async () => {
            const client = await new Client("agent-1").running();
            on(master, "systemctl stop k3s", { timeout: 90 });
            await eventually(`agent-1 sees ${master} down`, 20, () =>
                assert.ok(!mastersUp("agent-1").includes(master)),
            );
            on(master, "systemctl start k3s", { timeout: 120 });
            await whole();
            const seen = await client.stop();
            figures(`planned stop of ${master}`, seen);
            assert.ok(seen.requests > 200);
            assert.equal(seen.failed, 0, JSON.stringify(seen.failures));
        });

        it(`${master} killed: at most the requests in flight fail, and the cluster is whole again`, async () => {
            const client = await new Client("agent-1").running();
            lab(["fault", master, "kill"]);
            await eventually(`agent-1 sees ${master} down`, 20, () =>
                assert.ok(!mastersUp("agent-1").includes(master)),
            );
            lab(["fault", master, "start"], { timeout: 120 });
            await whole(180);
            const seen = await client.stop();
            figures(`kill of ${master}`, seen);
            assert.ok(seen.requests > 200);
            assert.ok(seen.failed <= IN_FLIGHT, `${seen.failed} failed: ${JSON.stringify(seen.failures)}`);
        });
    }
});

describe("a master that lost its disk", function () {
    this.timeout(600_000);
    before(mainCluster);

    for (const [master, why] of [
        ["master-1", "the founding one"],
        ["master-3", "another one"],
    ] as const) {
        it(`${master} (${why}) comes back as a member by the documented step, and founds nothing`, async () => {
            const { mainStack } = await import("./support");
            const cluster = kubectl(["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"], {
                context: "dev-master-2",
            }).stdout;
            lab(["reset", master], { timeout: 180 });
            await eventually("the others still answer", 30, () =>
                assert.equal(kubectl(["get", "--raw", "/readyz"], { context: "dev-master-2" }).stdout, "ok"),
            );
            // The documented step: forget the old Node, tell the stack that the host is new, up.
            kubectl(["delete", "node", master], { context: "dev-master-2", timeout: 120 });
            const stack = mainStack();
            stack.set((config) => {
                const node = nodeOf(config, master);
                node.rebuilt = (node.rebuilt ?? 0) + 1;
            });
            const up = stack.up();
            console.log(`      up: ${up.seconds.toFixed(0)} s`);
            await whole(120);
            assert.deepEqual(voters("master-2"), [...MASTERS]);
            for (const m of MASTERS) {
                assert.equal(
                    kubectl(["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"], {
                        context: `dev-${m}`,
                    }).stdout,
                    cluster,
                    `${m} serves another cluster`,
                );
            }
        });
    }

    it("without its disk and without the step it does not found a second cluster", async () => {
        lab(["reset", "master-1"], { timeout: 180 });
        const { mainStack } = await import("./support");
        const stack = mainStack();
        // Not forgotten by the cluster: the join must fail by name and say what to do.
        stack.set((config) => {
            const node = nodeOf(config, "master-1");
            node.rebuilt = (node.rebuilt ?? 0) + 1;
            config["k3s-ha:timeouts"] = { server: "60s" };
        });
        const up = stack.pulumi(["up", "--yes", "--skip-preview"], { check: false, timeout: 400 });
        assert.notEqual(up.status, 0);
        const text = up.stdout + up.stderr;
        assert.match(text, /FAILED on node master-1, step server/);
        assert.match(text, /layer: etcd/);
        assert.match(text, /kubectl delete node master-1/);
        assert.deepEqual(
            voters("master-2").filter((v) => v !== "master-1"),
            ["master-2", "master-3"],
        );
        kubectl(["delete", "node", "master-1"], { context: "dev-master-2", timeout: 120 });
        stack.set((config) => void delete config["k3s-ha:timeouts"]);
        stack.up();
        await whole(120);
    });
});
