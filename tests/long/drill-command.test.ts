import assert from "node:assert/strict";
import { HOSTS, MASTERS, k3sUnit, lab, mainCluster, mainStack, on, pidOf, whole } from "../cluster/support";

/** The command as a user types it; without a terminal to confirm at. */
const drill = (...args: string[]): ReturnType<typeof lab> =>
    lab(["exec", "--", "npm", "run", "--silent", "drill", "--", "--stack", mainStack().name, ...args], {
        check: false,
        timeout: 600,
    });
const pids = (): string[] => HOSTS.map((host) => pidOf(host, k3sUnit(host)));

describe("drill command: masters stopped one by one on a cluster in use", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("stops nothing without a confirmation, nor when not all is well", async () => {
        const before = pids();
        const unasked = drill();
        assert.equal(unasked.status, 1, unasked.stdout);
        assert.match(unasked.stderr, /no terminal to confirm at/);
        on("agent-2", "systemctl stop haproxy");
        try {
            const unwell = drill("--yes");
            assert.equal(unwell.status, 1, unwell.stdout);
            assert.match(unwell.stderr, /nothing was stopped, since not all is well:\n {2}agent-2: /);
        } finally {
            on("agent-2", "systemctl start haproxy");
        }
        await whole();
        assert.deepEqual(pids(), before);
    });

    it("stops each master once, counts on every node, and loses nothing", async () => {
        const before = pids();
        const run = drill("--yes");
        console.log(run.stdout.replace(/^/gm, "      "));
        assert.equal(run.status, 0, run.stdout + run.stderr);
        for (const master of MASTERS) assert.match(run.stdout, new RegExp(`^${master} stopped: `, "m"));
        const rows = [...run.stdout.matchAll(/^ {2}(\S+) +0 of (\d+) failed, longest gap (\d+) ms$/gm)];
        assert.equal(rows.length, MASTERS.length * HOSTS.length);
        for (const [row, , asked] of rows) assert.ok(Number(asked) > 50, row);
        pids().forEach((pid, i) => assert.equal(pid !== before[i], i < MASTERS.length, HOSTS[i]));
        await whole();
    });
});
