/** A snapshot of the main cluster is restored on other hosts. On the same hosts: tests/cluster/08-recovery.test.ts. */
import assert from "node:assert/strict";
import { note } from "../cluster/recovery";
import { Stack, kubectl, lab, mainCluster, mainStack, on, voters } from "../cluster/support";

/** On an agent's Node, so that it stays until somebody takes it off. */
const SLOW = "k3s-ha.test/slow";
const finalizers = (list: readonly string[]): void =>
    void kubectl([
        "patch",
        "node",
        "agent-2",
        "--type=merge",
        "-p",
        JSON.stringify({ metadata: { finalizers: list } }),
    ]);

describe("restore: on new hosts", function () {
    this.timeout(900_000);
    before(mainCluster);

    let snapshot = "";
    before(() => {
        lab(["hosts", "up", "master-4", "master-5", "agent-3"], { timeout: 300 });
        note("before-snapshot");
        finalizers([SLOW]);
        mainStack().upWith((config) => void (config["k3s-ha:snapshots"] = { now: "for-new-hosts" }));
        finalizers([]);
        snapshot = mainStack().output("snapshot").trim().split(" ")[0] as string;
    });

    it("with the old token: the content is there, the old hosts' Nodes are not", () => {
        const holder = mainStack().output("snapshot").trim().split(" ").at(-1) as string;
        const token = on(holder, "sed 's/.*://' /etc/rancher/k3s/token").stdout.trim();
        const data = on(holder, `base64 -w 0 ${snapshot}`, { timeout: 60 }).stdout;
        on("master-4", "base64 -d > /root/old-cluster.db", { input: data });
        const stack = new Stack("restored", ["master-4", "master-5", "agent-3"], (config) => {
            config["k3s-ha:cluster"] = "restored";
            config["k3s-ha:readiness"] = "scoped";
            config["k3s-ha:snapshots"] = { restore: "/root/old-cluster.db" };
        }).init();
        stack.pulumi(["config", "set", "--secret", "k3s-ha:token"], { input: token });
        // The old Node takes a while to go, as with k3s's own finalizers, whose controllers first wait for the old leader's lease.
        const ask = "k3s kubectl get node agent-2 -o jsonpath={.metadata.deletionTimestamp}";
        const patch = `k3s kubectl patch node agent-2 --type=merge -p '{"metadata":{"finalizers":[]}}'`;
        const release = `until ${ask} 2>/dev/null | grep -q .; do sleep 1; done; sleep 20; ${patch}`;
        on(
            "master-4",
            `systemd-run -q --unit=slow --setenv=HOME=/tmp --setenv=PATH="$PATH:/usr/local/bin" sh -c "$(cat)"`,
            {
                input: release,
            },
        );
        const { stdout } = stack.up();
        assert.match(stdout, /master-4: the snapshot's Nodes forgotten \((1[5-9]|[2-9]\d) s\)/);
        assert.doesNotMatch(stdout, /agent-2 drained/);
        const names = on(
            "master-4",
            "HOME=/tmp k3s kubectl get nodes -o jsonpath='{.items[*].metadata.name}'; echo; HOME=/tmp k3s kubectl get configmaps -o jsonpath='{.items[*].metadata.name}'",
        ).stdout;
        assert.match(names, /^agent-3 master-4 master-5\n/);
        assert.match(names, /before-snapshot/);
        assert.deepEqual(voters("master-4"), ["master-4", "master-5"]);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });
});
