/**
 * The second half of `make bench`: `up` and an unchanged `up` on lab hosts, three masters with 2 and with 12 agents (AGENTS=2,12). All hosts
 * share this machine's processors, so more agents cost more here than on machines of their own; the chain of masters is what bounds `up`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";

const root = join(__dirname, "../..");
const counts = (process.env["AGENTS"] ?? "2,12").split(",").map(Number);
const folder = mkdtempSync(join(tmpdir(), "k3s-ha-bench-"));

const environment = {
    ...process.env,
    LAB_NAME: "k3s-ha-bench",
    LAB_DIR: join(root, ".lab-bench"),
    LAB_NET: "10.96.0",
    LAB_STACK_FILE: join(folder, "hosts.yaml"),
};

function lab(args: readonly string[], check = true): { stdout: string; seconds: number } {
    const started = Date.now();
    const run = spawnSync(join(root, "lab/lab"), args, {
        cwd: root,
        env: environment,
        encoding: "utf8",
        maxBuffer: 1 << 28,
    });
    if (check && run.status !== 0) throw new Error(`lab/lab ${args.join(" ")}: ${run.stderr}${run.stdout}`);
    return { stdout: run.stdout, seconds: (Date.now() - started) / 1000 };
}

interface StackFile {
    config: Record<string, unknown> & { "k3s-ha:nodes": { name: string; role: string; address: string }[] };
}

/** SSH logins that the hosts have seen. */
const logins = (hosts: readonly string[]): number =>
    hosts.reduce(
        (sum, host) =>
            sum +
            Number(
                lab([
                    "exec",
                    host,
                    "--",
                    "sh",
                    "-c",
                    "journalctl -u ssh --no-pager -o cat | grep -c 'Accepted publickey' || true",
                ]).stdout,
            ),
        0,
    );

try {
    console.log(
        `3 masters, ${cpus().length} processors for all hosts:\nagents  hosts up s  up s  SSH logins  unchanged up s  SSH logins  slowest steps of up`,
    );
    for (const agents of counts) {
        const stack = parse(readFileSync(join(root, "tests/cluster/hosts.yaml"), "utf8")) as StackFile;
        stack.config["k3s-ha:nodes"] = [
            ...[1, 2, 3].map((i) => ({ name: `master-${i}`, role: "server", address: `10.90.0.${10 + i}` })),
            ...Array.from({ length: agents }, (_, i) => ({
                name: `agent-${i + 1}`,
                role: "agent",
                address: `10.90.0.${21 + i}`,
            })),
        ];
        writeFileSync(environment.LAB_STACK_FILE, stringify(stack));
        const hosts = stack.config["k3s-ha:nodes"].map((n) => n.name);
        lab(["setup"]);
        const boot = lab(["hosts", "up"]);
        const name = lab(["stack"]).stdout.trim();
        lab(["exec", "--", "pulumi", "stack", "init", name]);
        const up = lab([
            "exec",
            "--",
            "pulumi",
            "up",
            "--yes",
            "--skip-preview",
            "--stack",
            name,
            "--non-interactive",
            "--color",
            "never",
        ]);
        const first = logins(hosts);
        const again = lab([
            "exec",
            "--",
            "pulumi",
            "up",
            "--yes",
            "--skip-preview",
            "--expect-no-changes",
            "--stack",
            name,
        ]);
        const steps = [...up.stdout.matchAll(/command:remote:Command (\S+) created \(([0-9.]+)s\)/g)]
            .map((m) => [m[1] as string, Number(m[2])] as const)
            .sort((a, b) => b[1] - a[1])
            .slice(0, 4)
            .map(([step, seconds]) => `${step} ${seconds.toFixed(0)}`);
        console.log(
            `${String(agents).padStart(6)}  ${boot.seconds.toFixed(0).padStart(10)}  ${up.seconds.toFixed(0).padStart(4)}  ${String(first).padStart(10)}  ${again.seconds.toFixed(1).padStart(14)}  ${String(logins(hosts) - first).padStart(10)}  ${steps.join(", ")}`,
        );
        lab(["down"]);
    }
} finally {
    lab(["down"], false);
    rmSync(folder, { recursive: true, force: true });
}
