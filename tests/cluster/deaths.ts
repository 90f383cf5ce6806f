/** What a server goes through, while clients send requests through the proxies. */
import assert from "node:assert/strict";
import {
    Client,
    MASTERS,
    eventually,
    figures,
    kubectl,
    lab,
    mainStack,
    mastersUp,
    nodeOf,
    on,
    voters,
    whole,
} from "./support";

/** Requests that can be on their way at one moment: 50 a second, each over within 100 ms. */
const IN_FLIGHT = 5;

/** Tests: this server is stopped as planned, then killed. */
export function dies(master: string): void {
    it(`${master} stopped as planned: no request through an agent's proxy fails`, async () => {
        const client = await new Client("agent-1").running();
        on(master, "systemctl stop k3s", { timeout: 90 });
        await eventually(`agent-1 sees ${master} down`, 20, () => assert.ok(!mastersUp("agent-1").includes(master)));
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
        await eventually(`agent-1 sees ${master} down`, 20, () => assert.ok(!mastersUp("agent-1").includes(master)));
        lab(["fault", master, "start"], { timeout: 120 });
        await whole(180);
        const seen = await client.stop();
        figures(`kill of ${master}`, seen);
        assert.ok(seen.requests > 200);
        assert.ok(seen.failed <= IN_FLIGHT, `${seen.failed} failed: ${JSON.stringify(seen.failures)}`);
    });
}

/** Test: this server gets an empty disk. */
export function losesDisk(master: string, why: string): void {
    it(`${master} (${why}) comes back as a member by the documented step, and founds nothing`, async () => {
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
