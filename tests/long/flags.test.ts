import assert from "node:assert/strict";
import { apart, pids } from "../cluster/starts";
import { AGENTS, MASTERS, kubectl, mainCluster, mainStack, underLoad, whole, workload } from "../cluster/support";

// How kubelet settings and registries roll is in tests/cluster: through all nodes.
describe("flags: of one role, through its nodes", function () {
    this.timeout(600_000);
    before(mainCluster);
    before(workload);

    it("a flag of the masters is rolled through them one at a time; agents are not touched", async () => {
        const [masters, agents] = [pids(MASTERS), pids(AGENTS)];
        await underLoad("kube-apiserver flag", () => {
            mainStack().upWith(
                (config) =>
                    void (config["k3s-ha:server"] = {
                        config: { "kube-apiserver-arg": ["max-requests-inflight=500"] },
                    }),
            );
        });
        await whole();
        pids(MASTERS).forEach((pid, i) => assert.notEqual(pid, masters[i], `${MASTERS[i]} was not restarted`));
        assert.deepEqual(pids(AGENTS), agents);
        assert.ok(apart(MASTERS) > 1, "one after the other");
    });

    it("a flag of the agents goes through them, and no master is touched", async () => {
        const [masters, agents] = [pids(MASTERS), pids(AGENTS)];
        await underLoad("kubelet flag", () => {
            mainStack().upWith((config) => {
                config["k3s-ha:agent"] = { config: { "kubelet-arg": ["max-pods=60"] } };
                config["k3s-ha:rollout"] = { agents: 1, drain: true, drainTimeout: "2m" };
            });
        });
        await whole();
        assert.deepEqual(pids(MASTERS), masters);
        pids(AGENTS).forEach((pid, i) => assert.notEqual(pid, agents[i]));
        for (const agent of AGENTS)
            assert.equal(
                kubectl(["get", "node", agent, "-o", "jsonpath={.status.capacity.pods} {.spec.unschedulable}"]).stdout,
                "60 ",
            );
        assert.ok(apart(AGENTS) > 1, "one at a time");
    });
});
