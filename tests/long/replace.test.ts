/** `pulumi up --replace`: what is made anew is there afterwards, and not what its removal left. */
import assert from "node:assert/strict";
import { kubectl, mainCluster, mainStack, on, pidOf, underLoad, urnOf, whole } from "../cluster/support";

const replace = (name: string, check = true): ReturnType<ReturnType<typeof mainStack>["pulumi"]> =>
    mainStack().pulumi(["up", "--yes", "--skip-preview", "--replace", urnOf(name)], { check });
const nothingLeft = (): void => assert.equal(mainStack().pulumi(["preview", "--expect-no-changes"]).status, 0);

describe("replace: steps that Pulumi is told to make anew", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("k3s on an agent joins again under its Node", async () => {
        const pid = pidOf("agent-1", "k3s-agent");
        await underLoad("replaced agent", () => replace("agent-1-agent"), { notReady: ["agent-1"] }, [
            "agent-2",
            "master-3",
        ]);
        await whole();
        assert.notEqual(pidOf("agent-1", "k3s-agent"), pid);
        nothingLeft();
    });

    it("k3s on a master leaves etcd and joins again", async () => {
        await underLoad("replaced master", () => replace("master-2-server"), { notReady: ["master-2"] }, [
            "agent-2",
            "master-3",
        ]);
        await whole();
        nothingLeft();
    });

    it("the staged binary is there", async () => {
        replace("agent-1-stage");
        assert.match(on("agent-1", "ls /var/lib/k3s-ha/bin/*/k3s").stdout, /k3s/);
        await whole();
        nothingLeft();
    });

    it("a whole agent: its old Node is in the way, which the step says, and then it is back", async () => {
        mainStack().set((config) => void (config["k3s-ha:timeouts"] = { agent: "40s" }));
        mainStack().up();
        const failed = replace("agent-2-prepare", false);
        assert.notEqual(failed.status, 0);
        assert.match(
            failed.stdout + failed.stderr,
            /delete it \(kubectl delete node agent-2\) and run pulumi up again|kubectl delete node agent-2, then/,
        );
        kubectl(["delete", "node", "agent-2"]);
        mainStack().upWith((config) => void delete config["k3s-ha:timeouts"]);
        await whole();
        nothingLeft();
    });
});
