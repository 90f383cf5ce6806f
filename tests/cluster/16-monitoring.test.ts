/** A real Prometheus on a host of the cluster: it scrapes every proxy, the dashboard's queries give data, one alert fires. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { HOSTS, ROOT, eventually, mainCluster, mainStack, netnsOf, on, whole } from "./support";

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
    before(mainCluster);

    const from = "agent-1";
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-prometheus-"));
    let prometheus: ChildProcess | undefined;

    /** Prometheus' HTTP API, in the host's network. */
    function api<T>(path: string): T {
        const line = ["-s", "--fail-with-body", "--max-time", "5", `http://127.0.0.1:9099/api/v1/${path}`];
        const run = spawnSync("nsenter", [`--net=${netnsOf(from)}`, "curl", ...line], { encoding: "utf8" });
        assert.equal(run.status, 0, run.stdout + run.stderr);
        return (JSON.parse(run.stdout) as { data: T }).data;
    }
    const results = (expr: string): { metric: Record<string, string>; value: [number, string] }[] =>
        api<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
            `query?query=${encodeURIComponent(expr)}`,
        ).result;

    before(async () => {
        mkdirSync(join(folder, "targets"));
        // As docs/monitoring.md says.
        const targets = mainStack().pulumi(["stack", "output", "prometheusTargets", "--json"]).stdout;
        writeFileSync(
            join(folder, "targets/dev.json"),
            spawnSync("jq", ["[.[]]"], { input: targets, encoding: "utf8" }).stdout,
        );
        writeFileSync(join(folder, "rules.yaml"), readFileSync(join(ROOT, "monitoring/rules.yaml")));
        const config = parse(readFileSync(join(ROOT, "monitoring/prometheus.yaml"), "utf8")) as {
            scrape_configs: { job_name: string; scrape_interval?: string; basic_auth?: unknown }[];
        };
        const [haproxy] = config.scrape_configs.filter((job) => job.job_name === "haproxy");
        assert.equal(haproxy?.scrape_interval, "5s");
        delete haproxy.basic_auth;
        const own = {
            ...config,
            global: { scrape_interval: "5s", evaluation_interval: "5s" },
            scrape_configs: [haproxy],
        };
        writeFileSync(join(folder, "prometheus.yaml"), stringify(own));
        const args = [
            `--config.file=${join(folder, "prometheus.yaml")}`,
            `--storage.tsdb.path=${join(folder, "data")}`,
            "--web.listen-address=127.0.0.1:9099",
            "--log.level=warn",
        ];
        prometheus = spawn("nsenter", [`--net=${netnsOf(from)}`, "prometheus", ...args], {
            stdio: ["ignore", "inherit", "inherit"],
        });
        await eventually("Prometheus has scraped every proxy", 40, () =>
            assert.deepEqual(
                results('up{job="haproxy"} == 1')
                    .map(({ metric }) => metric["node"])
                    .sort(),
                [...HOSTS].sort(),
            ),
        );
    });

    after(async () => {
        if (prometheus !== undefined) {
            const closed = new Promise((resolve) => prometheus?.on("close", resolve));
            prometheus.kill();
            await closed;
        }
        rmSync(folder, { recursive: true, force: true });
    });

    it("every query of the dashboard on proxies gives data", async () => {
        const looked = queries().filter(({ expr }) => !OF_K3S.test(expr));
        assert.ok(looked.length >= 10);
        // A rate needs two scrapes.
        await eventually("the queries give data", 30, () => {
            for (const { title, expr } of looked) {
                const all = results(expr.replaceAll("$cluster", "dev"));
                assert.ok(all.length > 0 && all.every(({ value }) => value[1] !== "NaN"), `${title}: ${expr}`);
            }
        });
        assert.equal(results("k3s_ha:servers")[0]?.value[1], "3");
    });

    it("two of three servers stopped: the critical alert fires within 30 s, and goes when they are back", async () => {
        const firing = (): string[] =>
            results('ALERTS{alertstate="firing"}').map(({ metric }) => metric["alertname"] ?? "");
        assert.deepEqual(firing(), []);
        const stopped = Date.now();
        for (const master of ["master-2", "master-3"]) on(master, "systemctl stop --no-block k3s");
        await eventually("K3sQuorumAtRisk fires", 60, () => assert.ok(firing().includes("K3sQuorumAtRisk")));
        const seconds = (Date.now() - stopped) / 1000;
        console.log(`      fired ${seconds.toFixed(0)} s after the servers were told to stop`);
        // Draining takes up to ten seconds of it: so long they serve.
        assert.ok(seconds < 40, `${seconds} s`);
        for (const master of ["master-2", "master-3"]) on(master, "systemctl start --no-block k3s");
        await whole(120);
        await eventually("it is gone", 30, () => assert.deepEqual(firing(), []));
    });
});
