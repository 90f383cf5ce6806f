/** A real Prometheus in the network of a lab's host, with this repository's rules and targets made as docs/monitoring.md says. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { HOSTS, ROOT, eventually, mainStack, netnsOf } from "./support";

const LISTEN = "127.0.0.1:9099";

/** One series of an answer. */
export interface Series {
    readonly metric: Readonly<Record<string, string>>;
    readonly value: readonly [time: number, value: string];
}

export class Prometheus {
    private readonly folder = mkdtempSync(join(tmpdir(), "k3s-ha-prometheus-"));
    private readonly child: ChildProcess;

    /** It scrapes the proxies of the main cluster every 5 s, from this host. */
    public constructor(private readonly host: string) {
        mkdirSync(join(this.folder, "targets"));
        const targets = mainStack().pulumi(["stack", "output", "prometheusTargets", "--json"]).stdout;
        const list = spawnSync("jq", ["[.[]]"], { input: targets, encoding: "utf8" }).stdout;
        writeFileSync(join(this.folder, "targets/dev.json"), list);
        for (const file of ["rules.yaml", "rules-servers.yaml"])
            writeFileSync(join(this.folder, file), readFileSync(join(ROOT, "monitoring", file)));
        const config = parse(readFileSync(join(ROOT, "monitoring/prometheus.yaml"), "utf8")) as {
            scrape_configs: { job_name: string; scrape_interval?: string; basic_auth?: unknown }[];
        };
        const [haproxy] = config.scrape_configs.filter((job) => job.job_name === "haproxy");
        assert.equal(haproxy?.scrape_interval, "5s");
        // Other scenarios set a password for the metrics, or none.
        const password = mainStack().output("metricsPassword").trim();
        if (password === "") delete haproxy.basic_auth;
        else writeFileSync(join(this.folder, "metrics-password"), password, { mode: 0o600 });
        const own = {
            ...config,
            // As Prometheus has it where nobody sets it: the rules bring their own.
            global: { scrape_interval: "1m", evaluation_interval: "1m" },
            scrape_configs: [haproxy],
        };
        writeFileSync(join(this.folder, "prometheus.yaml"), stringify(own));
        const args = [
            `--config.file=${join(this.folder, "prometheus.yaml")}`,
            `--storage.tsdb.path=${join(this.folder, "data")}`,
            `--web.listen-address=${LISTEN}`,
            "--log.level=warn",
        ];
        this.child = spawn("nsenter", [`--net=${netnsOf(host)}`, "prometheus", ...args], {
            stdio: ["ignore", "inherit", "inherit"],
        });
    }

    /** Waits until it has scraped every proxy; it is stopped when that does not come. */
    public async running(): Promise<this> {
        try {
            await eventually("Prometheus has scraped every proxy", 60, () =>
                assert.deepEqual(
                    this.results('up{job="haproxy"} == 1')
                        .map(({ metric }) => metric["node"])
                        .sort(),
                    [...HOSTS].sort(),
                ),
            );
        } catch (error) {
            await this.stop();
            throw error;
        }
        return this;
    }

    /** The answer to a query, as of now. */
    public results(expr: string): readonly Series[] {
        const url = `http://${LISTEN}/api/v1/query?query=${encodeURIComponent(expr)}`;
        const curl = ["curl", "-s", "--fail-with-body", "--max-time", "5", url];
        const run = spawnSync("nsenter", [`--net=${netnsOf(this.host)}`, ...curl], { encoding: "utf8" });
        assert.equal(run.status, 0, run.stdout + run.stderr);
        return (JSON.parse(run.stdout) as { data: { result: readonly Series[] } }).data.result;
    }

    public async stop(): Promise<void> {
        const closed = new Promise((resolve) => this.child.on("close", resolve));
        this.child.kill();
        await closed;
        rmSync(this.folder, { recursive: true, force: true });
    }
}
