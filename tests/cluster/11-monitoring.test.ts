/** A real Prometheus on a host of the cluster: it scrapes every proxy, the dashboard's queries give data, one alert fires. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Prometheus } from "./prometheus";
import { ROOT, eventually, mainCluster, on, whole } from "./support";

/** Series that the k3s stand-in has not: k3s's own, of docs/monitoring.md. */
const OF_K3S = /k3s_(certificate|etcd_snapshot)|apiserver_storage_size_bytes/;

interface Query {
    readonly title: string;
    readonly expr: string;
}

function queries(): Query[] {
    const { panels } = JSON.parse(readFileSync(join(ROOT, "monitoring/grafana/dashboard.json"), "utf8")) as {
        panels: { title: string; targets: { expr: string }[] }[];
    };
    return panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
}

describe("monitoring: a Prometheus looks at the proxies", function () {
    this.timeout(300_000);
    let prometheus: Prometheus;
    before(mainCluster);
    before(async () => void (prometheus = await new Prometheus("agent-1").running()));
    after(() => (prometheus as Prometheus | undefined)?.stop());

    it("every query of the dashboard on proxies gives data", async () => {
        const looked = queries().filter(({ expr }) => !OF_K3S.test(expr));
        assert.ok(looked.length >= 10);
        // A rate needs two scrapes.
        await eventually("the queries give data", 30, () => {
            for (const { title, expr } of looked) {
                const all = prometheus.results(expr.replaceAll("$cluster", "dev"));
                assert.ok(all.length > 0 && all.every(({ value }) => value[1] !== "NaN"), `${title}: ${expr}`);
            }
        });
        assert.equal(prometheus.results("k3s_ha:servers")[0]?.value[1], "3");
    });

    it("two of three servers stopped: the critical alert fires within 30 s, and goes when they are back", async () => {
        const firing = (): string[] =>
            prometheus.results('ALERTS{alertstate="firing"}').map(({ metric }) => metric["alertname"] ?? "");
        assert.deepEqual(firing(), []);
        const stopped = Date.now();
        for (const master of ["master-2", "master-3"]) on(master, "systemctl stop --no-block k3s");
        try {
            await eventually("K3sQuorumLost fires", 60, () => assert.ok(firing().includes("K3sQuorumLost")));
        } finally {
            for (const master of ["master-2", "master-3"]) on(master, "systemctl start --no-block k3s");
        }
        const seconds = (Date.now() - stopped) / 1000;
        console.log(`      fired ${seconds.toFixed(0)} s after the servers were told to stop`);
        // Draining takes up to ten seconds of it: so long they serve.
        assert.ok(seconds < 40, `${seconds} s`);
        await whole(120);
        await eventually("it is gone", 30, () => assert.deepEqual(firing(), []));
    });
});
