/** What tests/cluster/12-reboot.test.ts does with one agent and one master, with every other host, and power cuts in other orders. */
import { lateVpn, powerCut, reboot, throughProxy, vpnAsBefore } from "../cluster/boot";
import { AGENTS, HOSTS, NET, mainCluster, underLoad, whole } from "../cluster/support";

describe("reboot of every host, power cuts in other orders", function () {
    this.timeout(900_000);
    before(mainCluster);

    for (const host of HOSTS)
        it(`${host}: no request through other nodes' proxies fails`, async () => {
            const asked = ["agent-1", "master-3", "master-1"].filter((other) => other !== host).slice(0, 2);
            await underLoad(
                `reboot of ${host}`,
                async () => {
                    await reboot(host);
                    await whole();
                },
                { notReady: [host] },
                asked,
            );
            for (const agent of AGENTS) throughProxy(agent);
        });

    for (const [what, order, late] of [
        ["masters first, an agent's VPN late", ["master-1", "master-2", "master-3", "agent-1", "agent-2"], "agent-1"],
        [
            "one master between the agents, its VPN late",
            ["agent-1", "master-2", "agent-2", "master-3", "master-1"],
            "master-2",
        ],
    ] as const)
        it(`power cut: ${what}`, async () => {
            lateVpn(late, `${NET}.${late === "agent-1" ? 21 : 12}`, 20);
            try {
                await powerCut(order);
                await whole(240);
                for (const agent of AGENTS) throughProxy(agent);
            } finally {
                vpnAsBefore(late);
            }
        });
});
