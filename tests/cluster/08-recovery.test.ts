import assert from "node:assert/strict";
import { note, notes, runbook } from "./recovery";
import { movesToEtcd } from "./sqlite";
import {
    kubectl,
    kubeconfig,
    lab,
    mainCluster,
    mainStack,
    members,
    nodeOf,
    on,
    underLoad,
    voters,
    whole,
} from "./support";

describe("snapshots: settings, one on demand, restore", function () {
    this.timeout(900_000);
    before(mainCluster);

    let snapshot = "";

    it("schedule and retention reach every master, one at a time, then one is taken on demand, whose place is an output", async () => {
        note("before-snapshot");
        await underLoad("snapshot settings", () =>
            mainStack().upWith(
                (config) =>
                    void (config["k3s-ha:snapshots"] = { schedule: "0 */6 * * *", retention: 7, now: "by-hand" }),
            ),
        );
        for (const master of members().masters) {
            const config = on(master, "cat /etc/rancher/k3s/config.yaml").stdout;
            assert.match(config, /"?etcd-snapshot-schedule-cron"?: "0 \*\/6 \* \* \*"/);
            assert.match(config, /"?etcd-snapshot-retention"?: 7/);
        }
        const place = mainStack().output("snapshot").trim();
        const m = /^(\/var\/lib\/rancher\/k3s\/server\/db\/snapshots\/by-hand-\S+) on (master-\d)$/.exec(place);
        assert.ok(m, place);
        snapshot = m[1] as string;
        assert.match(on(m[2] as string, `ls ${snapshot}`).stdout, /by-hand/);
        await whole();
    });

    it("restored on the same hosts by the documented commands: what came after is gone, all masters and Nodes are there", async () => {
        note("after-snapshot");
        const [restore, rejoin] = runbook("restore-snapshot");
        assert.ok(restore && rejoin);
        const holder = mainStack().output("snapshot").trim().split(" ").at(-1) as string;
        const others = members().masters.filter((master) => master !== holder);
        const early = on(holder, `${restore} ${snapshot}`, { check: false, timeout: 300 });
        assert.match(early.stderr, /k3s still runs on master-\d master-\d, and only this server may run meanwhile/);
        for (const master of others) on(master, "systemctl stop k3s");
        on(holder, `${restore} ${snapshot}`, { timeout: 300 });
        for (const master of others) on(master, rejoin, { timeout: 300 });
        await whole(180);
        assert.match(notes(), /before-snapshot/);
        assert.doesNotMatch(notes(), /after-snapshot/);
        mainStack().up();
        await whole();
    });
});

describe("majority: two of three masters are lost", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("the documented commands bring the cluster back from the last one, and replacements join", async () => {
        const masters = members().masters;
        assert.equal(masters.length, 3);
        const [survivor, ...dead] = [masters[1] as string, masters[0] as string, masters[2] as string];
        kubectl(["create", "configmap", "kept"], { context: `dev-${survivor}` });
        for (const host of dead) lab(["fault", host, "kill"]);
        const [reset] = runbook("lost-majority");
        assert.ok(reset);
        on(survivor, reset, { timeout: 300 });
        const up = mainStack().upWith((config) => {
            for (const host of dead) nodeOf(config, host).lost = true;
        });
        console.log(`      up: ${up.seconds.toFixed(0)} s`);
        kubeconfig();
        await whole(120);
        assert.deepEqual(voters(survivor), [survivor]);
        for (const host of dead) lab(["reset", host], { timeout: 180 });
        mainStack().upWith((config) => {
            for (const host of dead) {
                const node = nodeOf(config, host);
                delete node.lost;
                node.rebuilt = (node.rebuilt ?? 0) + 1;
            }
        });
        kubeconfig();
        await whole(180);
        assert.match(notes(), /kept/);
        assert.deepEqual(voters(survivor), [...masters]);
    });
});

describe("sqlite: one master on SQLite gets etcd", function () {
    this.timeout(900_000);
    // With two more that join: tests/long.
    movesToEtcd([]);
});
