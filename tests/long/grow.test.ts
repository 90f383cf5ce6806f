import assert from "node:assert/strict";
import {
    MASTERS,
    Stack,
    kubeconfigOf,
    lab,
    labNode,
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

    it("the agent of the first day goes on through its proxy when that first master is gone", async () => {
        await underLoad(
            "the founding master leaves five",
            () =>
                stack.upWith(
                    (config) => void (config["k3s-ha:nodes"] = nodesOf(config).filter((n) => n.name !== "master-1")),
                ),
            {},
            ["agent-1", "master-2"],
            kubeconfigOf(stack),
        );
        assert.deepEqual(voters("master-2"), ["master-2", "master-3", "master-4", "master-5"]);
        assert.equal(on("master-1", "command -v k3s haproxy; true").stdout, "");
    });
});
