import assert from "node:assert/strict";
import {
    MASTERS,
    Stack,
    kubeconfigOf,
    lab,
    labNode,
    leads,
    mastersUp,
    nodesOf,
    on,
    pidOf,
    underLoad,
    voters,
} from "../cluster/support";

describe("grow from one: a cluster that begins with one master", function () {
    this.timeout(1_200_000);

    const stack = new Stack("one", ["master-1", "agent-1"], (config) => {
        config["k3s-ha:cluster"] = "one";
    });

    before(() => {
        lab(["hosts", "up", "master-1", "master-2", "master-3", "master-4", "master-5", "agent-1"], { timeout: 300 });
        stack.init().up();
    });

    after(() => {
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });

    /** Adds masters while clients ask through the proxies of the first master and of the agent. */
    async function grow(what: string, ...names: string[]): Promise<void> {
        const [k3s, agent] = [pidOf("master-1", "k3s"), pidOf("agent-1", "k3s-agent")];
        await underLoad(
            what,
            () => stack.upWith((config) => nodesOf(config).push(...names.map(labNode))),
            {},
            ["agent-1", "master-1"],
            kubeconfigOf(stack),
        );
        assert.equal(pidOf("master-1", "k3s"), k3s, "k3s of the first master was restarted");
        assert.equal(pidOf("agent-1", "k3s-agent"), agent, "k3s of the agent was restarted");
    }

    it("1 to 3 masters: nothing that runs is restarted, no request fails", async () => {
        await grow("1 to 3 masters", "master-2", "master-3");
        assert.deepEqual(voters("master-1"), [...MASTERS]);
        assert.deepEqual(mastersUp("agent-1", "one-kube-api"), [...MASTERS]);
    });

    it("3 to 5 masters", async () => {
        await grow("3 to 5 masters", "master-4", "master-5");
        assert.deepEqual(voters("master-1"), [...MASTERS, "master-4", "master-5"]);
    });

    it("etcd's leader leaves: it hands over first, so nobody waits for an election; the agent goes on through its proxy", async () => {
        const masters = [...MASTERS, "master-4", "master-5"];
        const leader = masters.find(leads);
        assert.ok(leader, "no master leads etcd");
        const stays = masters.filter((m) => m !== leader);
        let text = "";
        const seen = await underLoad(
            "etcd's leader leaves five",
            () => {
                text = stack.upWith(
                    (config) => void (config["k3s-ha:nodes"] = nodesOf(config).filter((n) => n.name !== leader)),
                ).stdout;
            },
            {},
            ["agent-1", stays[0] as string],
            kubeconfigOf(stack),
        );
        assert.match(text, /hands etcd's leadership over/);
        // An election takes 5 to 10 s with k3s's settings.
        for (const { longestGap } of seen) assert.ok(longestGap < 4000, `the API was away for ${longestGap} ms`);
        assert.deepEqual(voters(stays[0] as string), stays);
        assert.equal(on(leader, "command -v k3s haproxy; true").stdout, "");
    });
});
