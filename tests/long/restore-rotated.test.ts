/** A snapshot whose server token the cluster has no longer: docs/runbooks/restore-snapshot.md. */
import assert from "node:assert/strict";
import { note, notes, runbook } from "../cluster/recovery";
import { mainCluster, mainStack, members, on, whole, type Config } from "../cluster/support";

const TOKEN = "/etc/rancher/k3s/token";
const rotated = (config: Config): void => {
    const rotate = (config["k3s-ha:rotate"] ?? {}) as { token?: number };
    config["k3s-ha:rotate"] = { ...rotate, token: (rotate.token ?? 0) + 1 };
};

describe("restore after rotation: the snapshot is older than the server token", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("is refused with the new token, and restored with the old one on every master", async () => {
        note("before-rotation");
        mainStack().upWith((config) => void (config["k3s-ha:snapshots"] = { now: "old-token" }));
        const [snapshot, , holder] = mainStack().output("snapshot").trim().split(" ") as [string, string, string];
        const old = on(holder, `cat ${TOKEN}`).stdout;
        mainStack().upWith(rotated);
        note("after-rotation");
        const others = members().masters.filter((master) => master !== holder);
        const [restore, rejoin] = runbook("restore-snapshot") as [string, string];
        for (const master of others) on(master, "systemctl stop k3s");

        const refused = on(holder, `${restore} ${snapshot}`, { check: false, timeout: 300 });
        assert.match(refused.stderr, /FAILED on node master-\d, step recover/);
        assert.match(
            refused.stderr,
            /next: the snapshot is of another server token: put that one into .* its data are in \S+\/etcd-old-\d+: to have them back/,
        );

        for (const master of [holder, ...others]) on(master, `umask 077; cat >${TOKEN}`, { input: old });
        on(holder, `${restore} ${snapshot}`, { timeout: 300 });
        for (const master of others) on(master, rejoin, { timeout: 300 });
        await whole(180);
        assert.match(notes(), /before-rotation/);
        assert.doesNotMatch(notes(), /after-rotation/);

        mainStack().upWith(rotated);
        await whole();
        for (const master of members().masters) assert.notEqual(on(master, `cat ${TOKEN}`).stdout, old);
    });
});
