/** `make bench`: seconds of a preview of a new stack, and the share of it that is not the engine's own (1.5 s + 20 ms a resource). */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";

/** The engine's own cost: measured with the official engine on two cores, 1.5 s and 16 to 20 ms per resource. */
const engine = (resources: number): number => 1.5 + 0.02 * resources;

const root = join(__dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "k3s-ha-bench-"));
const sizes = (process.env["NODES"] ?? "5,20,100").split(",").map(Number);
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrLdC9JoPv1HnRVTtNQTqxv4O7yPdW8YZMDk0zJqF0Y";

function pulumi(args: string[]): { stdout: string; seconds: number } {
    const started = Date.now();
    const run = spawnSync("pulumi", [...args, "--non-interactive"], {
        cwd: root,
        encoding: "utf8",
        maxBuffer: 1 << 28,
        env: {
            ...process.env,
            PATH: `${process.env["LAB_PULUMI"] ?? join(root, "lab/pulumi/bin")}:${process.env["PATH"]}`,
            PULUMI_BACKEND_URL: `file://${folder}`,
            PULUMI_CONFIG_PASSPHRASE: "bench",
            PULUMI_HOME: join(folder, "home"),
            PULUMI_SKIP_UPDATE_CHECK: "true",
        },
    });
    if (run.status !== 0) throw new Error(`pulumi ${args.join(" ")}: ${run.stderr}${run.stdout}`);
    return { stdout: run.stdout, seconds: (Date.now() - started) / 1000 };
}

try {
    console.log("nodes  resources  preview s  engine's own s  ratio");
    for (const size of sizes) {
        const nodes = Array.from({ length: size }, (_, i) => ({
            name: i < 3 ? `master-${i + 1}` : `agent-${i - 2}`,
            role: i < 3 ? "server" : "agent",
            address: `10.${100 + (i >> 8)}.1.${i % 250}`.replace(/\.0$/, ".251"),
            ssh: { hostKey: KEY },
        }));
        const stack = `bench-${size}`;
        const file = join(folder, `Pulumi.${stack}.yaml`);
        writeFileSync(
            file,
            stringify({
                config: { "k3s-ha:cluster": "bench", "k3s-ha:version": "v1.36.3+k3s1", "k3s-ha:nodes": nodes },
            }),
        );
        pulumi(["stack", "init", stack]);
        const { stdout, seconds } = pulumi(["preview", "--stack", stack, "--config-file", file]);
        const resources = Number(/\+ (\d+) to create/.exec(stdout)?.[1] ?? NaN);
        const own = engine(resources);
        console.log(
            `${String(size).padStart(5)}  ${String(resources).padStart(9)}  ${seconds.toFixed(1).padStart(9)}  ${own.toFixed(1).padStart(14)}  ${(seconds / own).toFixed(2).padStart(5)}`,
        );
    }
} finally {
    rmSync(folder, { recursive: true, force: true });
    for (const size of sizes) rmSync(join(root, `Pulumi.bench-${size}.yaml`), { force: true });
}
