import assert from "node:assert/strict";
import { lateVpn, powerCut, reboot, throughProxy, vpnAsBefore } from "./boot";
import { HOSTS, NET, k3sUnit, mainCluster, mainStack, on, pidOf, underLoad, whole } from "./support";

function nothingToDo(): void {
    const preview = mainStack().pulumi(["preview", "--expect-no-changes"], { check: false });
    assert.equal(preview.status, 0, preview.stdout + preview.stderr);
    const pids = HOSTS.map((host) => [pidOf(host, "haproxy"), pidOf(host, k3sUnit(host))]);
    const up = mainStack().up();
    assert.doesNotMatch(up.stdout, /updated|created|replaced/);
    assert.deepEqual(
        HOSTS.map((host) => [pidOf(host, "haproxy"), pidOf(host, k3sUnit(host))]),
        pids,
    );
}

describe("reboot: the cluster comes back by itself", function () {
    this.timeout(600_000);
    before(mainCluster);

    it("an agent and a master, one after the other: no request through other nodes' proxies fails", async () => {
        await underLoad(
            "reboots of agent-2 and master-2",
            async () => {
                await reboot("agent-2");
                await whole();
                await reboot("master-2");
                await whole();
            },
            { notReady: ["agent-2", "master-2"] },
        );
        throughProxy("agent-2");
    });

    it("power cut of all hosts, agents back first, one master's VPN late: whole without an up", async () => {
        lateVpn("master-3", `${NET}.13`, 15);
        try {
            await powerCut(["agent-2", "agent-1", "master-3", "master-2", "master-1"]);
            await whole(240);
            const listened = on("master-3", "cat /run/listened").stdout;
            assert.match(listened, /127\.0\.0\.1:16443 /, "the API's frontend was there before the VPN");
            for (const host of ["agent-1", "agent-2"]) throughProxy(host);
        } finally {
            vpnAsBefore("master-3");
        }
        for (const host of HOSTS)
            assert.equal(
                on(host, "ls -d /var/lib/k3s-ha/run.* /var/lib/k3s-ha/.k3s-ha.* 2>/dev/null || true").stdout,
                "",
            );
        nothingToDo();
    });
});
