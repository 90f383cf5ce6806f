/** What is planned stays silent: no alert fires while an upgrade goes through the cluster, nor while every server is restarted. */
import assert from "node:assert/strict";
import { Prometheus } from "../cluster/prometheus";
import { HOSTS, MASTERS, NEW_VERSION, kubectl, mainCluster, mainStack, on, whole } from "../cluster/support";

describe("monitoring: planned changes fire no alert", function () {
    this.timeout(900_000);
    let prometheus: Prometheus;
    before(mainCluster);
    before(async () => void (prometheus = await new Prometheus("agent-1").running()));
    after(() => (prometheus as Prometheus | undefined)?.stop());

    const fired = (): string[] =>
        prometheus
            .results('max_over_time(ALERTS{alertstate="firing"}[20m])')
            .map(({ metric }) => `${metric["alertname"]} ${metric["node"] ?? ""} ${metric["server"] ?? ""}`);

    it("an upgrade", async () => {
        mainStack().upWith((config) => void (config["k3s-ha:version"] = NEW_VERSION));
        await whole();
        for (const host of HOSTS)
            assert.equal(
                kubectl(["get", "node", host, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"]).stdout,
                NEW_VERSION,
            );
        assert.deepEqual(fired(), []);
    });

    it("every server restarted, one after the other", async () => {
        for (const master of MASTERS) {
            on(master, "systemctl restart k3s", { timeout: 180 });
            await whole();
        }
        assert.deepEqual(fired(), []);
        // It did look.
        assert.ok(prometheus.results("count_over_time(k3s_ha:servers_up[20m]) > 10").length === HOSTS.length);
    });
});
