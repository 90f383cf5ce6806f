import assert from "node:assert/strict";
import { dies, losesDisk } from "./deaths";
import { kubectl, lab, mainCluster, mainStack, nodeOf, voters, whole } from "./support";

describe("masters die", function () {
    this.timeout(300_000);
    before(mainCluster);
    // The others are in tests/long.
    dies("master-1");
});

describe("a master that lost its disk", function () {
    this.timeout(600_000);
    before(mainCluster);
    losesDisk("master-1", "the first server");

    it("without its disk and without the step it does not found a second cluster", async () => {
        lab(["reset", "master-1"], { timeout: 180 });
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
