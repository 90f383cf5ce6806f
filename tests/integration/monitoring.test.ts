/** Alerts and dashboard: the rules' own tests by promtool, and that documents and runbooks go with them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ROOT } from "./engine";

interface Rule {
    readonly alert?: string;
    readonly expr: string;
    readonly labels?: { readonly severity?: string };
    readonly annotations?: { readonly summary?: string; readonly runbook?: string };
}

interface Tests {
    readonly tests: readonly {
        readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[];
    }[];
}

const FOLDER = join(ROOT, "monitoring");
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");
const RULES = ["rules.yaml", "rules-servers.yaml"];
const rules = RULES.flatMap((file) =>
    (parse(read(`monitoring/${file}`)) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules),
);

function promtool(...args: string[]): void {
    const run = spawnSync("promtool", args, { cwd: FOLDER, encoding: "utf8" });
    assert.equal(run.status, 0, `promtool ${args.join(" ")}: ${run.error?.message ?? ""}${run.stdout}${run.stderr}`);
}

describe("monitoring", () => {
    it("the rules are valid and pass their tests, and every alert has one that fires", () => {
        promtool("check", "rules", ...RULES);
        const files = ["rules.test.yaml", "rules-servers.test.yaml"];
        promtool("test", "rules", ...files);
        const fires = files
            .flatMap((file) => (parse(read(`monitoring/${file}`)) as Tests).tests)
            .flatMap((test) => test.alert_rule_test)
            .filter((test) => (test.exp_alerts ?? []).length > 0);
        for (const { alert } of rules)
            if (alert !== undefined)
                assert.ok(
                    fires.some((t) => t.alertname === alert),
                    `no test has ${alert} fire`,
                );
    });

    it("every alert has a severity, a summary, a runbook that exists, and a row in docs/monitoring.md", () => {
        const docs = read("docs/monitoring.md");
        for (const { alert, labels, annotations } of rules.filter((rule) => rule.alert !== undefined)) {
            assert.ok(existsSync(join(ROOT, annotations?.runbook ?? "?")), `${alert}: ${annotations?.runbook}`);
            assert.ok(annotations?.summary?.includes("{{ $labels.cluster }}"), alert);
            assert.match(docs, new RegExp(`\\| \`${alert}\` +\\| ${labels?.severity} `), alert);
        }
    });

    it("the scrape jobs are valid", () => {
        // It looks for the files that the user makes.
        const run = spawnSync("promtool", ["check", "config", "--syntax-only", "prometheus.yaml"], {
            cwd: FOLDER,
            encoding: "utf8",
        });
        assert.equal(run.status, 0, run.stdout + run.stderr);
    });
});
