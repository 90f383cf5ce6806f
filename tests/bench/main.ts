/**
 * `make bench`: preview, first up, unchanged up and preview of a stack of each size on hosts that answer at once and do nothing
 * (NODES=5,50,200,500), so that what is measured is the program and the engine. Beside each, a program with as many empty resources: the
 * engine's own share. LAB_PULUMI names another pulumi than the lab's. More than 50 KB of state a node (of stacks of 50 nodes and more) is an error.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { ROOT as root, engineEnvironment, stageEngine } from "../integration/engine";
import { Hosts, privateKey } from "./hosts";

const folder = mkdtempSync(join(tmpdir(), "k3s-ha-bench-"));
/** Of state a node, in bytes; the cluster's own share counts, so small stacks have more. */
const STATE = { most: 50_000, from: 50 };
const sizes = (process.env["NODES"] ?? "5,50,200,500").split(",").map(Number);

interface Run {
    readonly stdout: string;
    readonly seconds: number;
    /** The most memory that the command line, its plugins and the program held at a time, in MiB; asked ten times a second. */
    readonly memory: number;
}

/** Resident memory of a process and all below it, in KiB. */
function residentOf(pid: number): number {
    let sum = 0;
    const children = new Map<number, number[]>();
    const resident = new Map<number, number>();
    for (const entry of readdirSync("/proc")) {
        if (!/^\d+$/.test(entry)) continue;
        try {
            const status = readFileSync(`/proc/${entry}/status`, "utf8");
            const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
            children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
            resident.set(Number(entry), Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0));
        } catch {
            // It has ended meanwhile.
        }
    }
    for (const left = [pid]; left.length > 0;) {
        const next = left.pop() as number;
        sum += resident.get(next) ?? 0;
        left.push(...(children.get(next) ?? []));
    }
    return sum;
}

function pulumi(cwd: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
    const started = Date.now();
    const child = spawn("pulumi", [...args, "--non-interactive"], {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...engineEnvironment(folder), ...env },
    });
    let [stdout, stderr, memory] = ["", "", 0];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const sampling = setInterval(() => (memory = Math.max(memory, residentOf(child.pid as number) / 1024)), 100);
    return new Promise((resolve, reject) =>
        child.on("close", (code) => {
            clearInterval(sampling);
            if (code === 0) resolve({ stdout, seconds: (Date.now() - started) / 1000, memory });
            else reject(new Error(`pulumi ${args.join(" ")} ended with ${code}: ${stderr}${stdout.slice(-2000)}`));
        }),
    );
}

/** One size: the four commands, of our program or the baseline. */
async function measure(
    cwd: string,
    stack: string,
    file: string,
    env: Readonly<Record<string, string>> = {},
): Promise<Record<"preview" | "up" | "again" | "look", Run>> {
    const common = ["--stack", stack, "--config-file", file];
    const preview = await pulumi(cwd, ["preview", ...common], env);
    const up = await pulumi(cwd, ["up", "--yes", "--skip-preview", ...common], env);
    const again = await pulumi(cwd, ["up", "--yes", "--skip-preview", "--expect-no-changes", ...common], env);
    const look = await pulumi(cwd, ["preview", "--expect-no-changes", ...common], env);
    return { preview, up, again, look };
}

const COLUMNS = ["preview", "up", "again", "look"] as const;

async function main(): Promise<void> {
    stageEngine(folder);
    const hosts = await Hosts.start();
    const key = join(folder, "key");
    writeFileSync(key, privateKey(), { mode: 0o600 });
    const rows: { size: number; resources: number; ours: number[]; own: number[] }[] = [];
    try {
        console.log(
            "nodes  resources  seconds, in brackets the baseline's: new preview, first up, unchanged up, unchanged preview;  SSH connections of first and unchanged up;  MiB at most;  KB of state a node",
        );
        for (const size of sizes) {
            const nodes = Array.from({ length: size }, (_, i) => ({
                name: i < 3 ? `master-${i + 1}` : `agent-${i - 2}`,
                role: i < 3 ? "server" : "agent",
                address: `10.${100 + Math.floor(i / 250)}.1.${(i % 250) + 1}`,
            }));
            const stack = `bench-${size}`;
            const file = join(folder, `Pulumi.${stack}.yaml`);
            const ssh = { host: "127.0.0.1", port: hosts.port, hostKey: hosts.hostKey };
            const config = {
                "k3s-ha:cluster": "bench",
                "k3s-ha:version": "v1.36.3+k3s1",
                "k3s-ha:nodes": nodes.map((node) => ({ ...node, ssh })),
                "k3s-ha:publicInfoViewer": { via: "ssh" },
                "k3s-ha:ssh": { privateKeyFile: key },
            };
            writeFileSync(file, stringify({ config }));
            await pulumi(root, ["stack", "init", stack]);
            const before = hosts.connections;
            const ours = await measure(root, stack, file);
            const connections = hosts.connections - before;
            const state = statSync(join(folder, `.pulumi/stacks/k3s-ha/${stack}.json`)).size / size;
            const resources = Number(/(\d+) unchanged/.exec(ours.again.stdout)?.[1] ?? NaN);

            const baseline = join(__dirname, "baseline");
            const env = { RESOURCES: String(resources - 1) };
            const plain = join(folder, `Pulumi.base-${size}.yaml`);
            writeFileSync(plain, stringify({ config: {} }));
            await pulumi(baseline, ["stack", "init", `base-${size}`], env);
            const own = await measure(baseline, `base-${size}`, plain, env);

            rows.push({
                size,
                resources,
                ours: COLUMNS.map((c) => ours[c].seconds),
                own: COLUMNS.map((c) => own[c].seconds),
            });
            const pair = (c: (typeof COLUMNS)[number]): string =>
                `${ours[c].seconds.toFixed(1)} (${own[c].seconds.toFixed(1)})`.padStart(14);
            console.log(
                `${String(size).padStart(5)}  ${String(resources).padStart(9)}  ${COLUMNS.map(pair).join("  ")}  ${String(connections).padStart(6)}  ${Math.max(
                    ...COLUMNS.map((c) => ours[c].memory),
                )
                    .toFixed(0)
                    .padStart(6)}  ${(state / 1000).toFixed(1).padStart(5)}`,
            );
            if (size >= STATE.from && state > STATE.most)
                throw new Error(
                    `the state of ${size} nodes has ${Math.round(state)} bytes a node, more than ${STATE.most}`,
                );
        }
        const [first, last] = [rows[0], rows.at(-1)];
        if (first && last && first !== last) {
            const grown = (of: (row: (typeof rows)[number]) => number): number =>
                (of(last) - of(first)) / (last.size - first.size);
            const growth = COLUMNS.map(
                (_, i) =>
                    `${(grown((r) => r.ours[i] as number) * 1000).toFixed(0)} (${(grown((r) => r.own[i] as number) * 1000).toFixed(0)})`,
            );
            console.log(
                `per node: ${grown((r) => r.resources).toFixed(1)} resources; milliseconds ${growth.join(", ")}`,
            );
        }
    } finally {
        hosts.stop();
        rmSync(folder, { recursive: true, force: true });
        for (const size of sizes) {
            rmSync(join(root, `Pulumi.bench-${size}.yaml`), { force: true });
            rmSync(join(__dirname, "baseline", `Pulumi.base-${size}.yaml`), { force: true });
        }
    }
}

main().catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
});
