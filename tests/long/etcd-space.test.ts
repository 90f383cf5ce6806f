/** etcd that has reached its quota takes writes again by `npm run etcd-space`, one server after the other, while clients read. */
import assert from "node:assert/strict";
import { MASTERS, eventually, kubectl, lab, mainCluster, mainStack, underLoad, whole } from "../cluster/support";

const QUOTA = 16 * 1024 * 1024;

const npm = (...args: string[]): { code: number | null; text: string } => {
    const run = lab(["exec", "--", "npm", "run", "--silent", ...args], { check: false, timeout: 400 });
    return { code: run.status, text: run.stdout + run.stderr };
};

/** A ConfigMap of 900 KB; what the API says. */
function write(name: string): string {
    const object = {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name },
        data: { text: "x".repeat(900 * 1024) },
    };
    const run = kubectl(["create", "-f", "-"], { input: JSON.stringify(object), check: false });
    return run.status === 0 ? "" : run.stderr;
}

describe("etcd-space: a full etcd takes writes again", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("refuses nothing but writes while it is full; status finds it; the command brings it back", async () => {
        const config = { "etcd-arg": [`quota-backend-bytes=${QUOTA}`] };
        mainStack().upWith((settings) => void (settings["k3s-ha:server"] = { config }));
        await whole();
        let refused = "";
        for (let i = 0; i < 40 && refused === ""; i++) refused = write(`filler-${i}`);
        assert.match(refused, /database space exceeded/);

        const found = npm("status", "--", "--stack", mainStack().name);
        assert.equal(found.code, 2, found.text);
        assert.match(found.text, /NOSPACE[^]*etcd-quota\.md/);

        // What filled it is deleted: that needs no room.
        kubectl(["delete", "configmaps", "--all", "--wait=false"]);
        assert.match(write("still-full"), /database space exceeded/);
        const { code, text } = npm("etcd-space", "--", "--stack", mainStack().name);
        console.log(text.replace(/^/gm, "      "));
        assert.equal(code, 0, text);
        assert.deepEqual([...text.matchAll(/^(\S+): defragmented, and ready again$/gm)].map((m) => m[1]).sort(), [
            ...MASTERS,
        ]);
        assert.match(text, /^the alarm NOSPACE is off: etcd takes writes again$/m);
        await eventually("the API takes writes", 20, () => assert.equal(write("after"), ""));
        kubectl(["delete", "configmap", "after"]);
        const well = npm("status", "--", "--stack", mainStack().name);
        assert.doesNotMatch(well.text, /NOSPACE/);
    });

    // While etcd is full, k3s ends where it leads: it cannot renew its leases. So this is a test of its own.
    it("fails no request of a cluster that is well", async () => {
        await whole();
        await underLoad("etcd-space", () => {
            const { code, text } = npm("etcd-space", "--", "--stack", mainStack().name);
            assert.equal(code, 0, text);
            assert.doesNotMatch(text, /NOSPACE/);
        });
    });

    it("does nothing while a server does not answer", () => {
        lab(["exec", "master-3", "--", "systemctl", "stop", "k3s"], { timeout: 60 });
        const { code, text } = npm("etcd-space", "--", "--stack", mainStack().name);
        lab(["exec", "master-3", "--", "systemctl", "start", "k3s"], { timeout: 120 });
        assert.equal(code, 1, text);
        assert.match(text, /master-3, status: etcd of this server does not do maintenance/);
        assert.doesNotMatch(text, /compacted/);
    });

    after(async () => {
        mainStack().upWith((settings) => void delete settings["k3s-ha:server"]);
        await whole();
    });
});
