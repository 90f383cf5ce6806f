/**
 * `make bench`: preview, first up, unchanged up and preview of a stack of each size on hosts that answer at once and do nothing
 * (NODES=5,50,200,500), so that what is measured is the program and the engine. Beside each, two programs with as many resources: empty ones
 * (the engine's own share), and for the first up commands that do nothing. Measured is time of processors, so what else runs on the machine
 * counts less, and the hosts, which are in this process, not at all. KEY=none leaves the SSH key to an agent, KEY=rsa gives a longer one.
 * LAB_PULUMI names another pulumi than the lab's. More than 50 KB of state a node (of stacks of 50 nodes and more) is an error.
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

/** What the stack's settings hold: nothing, as with an SSH agent, or a key of that kind. Every resource of a host has it in the state. */
const key = process.env["KEY"] ?? "ed25519";

/** The command line, its plugins and the program together. Asked ten times a second, so the last tenth of each is missing. */
interface Run {
    readonly stdout: string;
    /** By the clock. */
    readonly seconds: number;
    /** Of the processors. */
    readonly cpu: number;
    /** The most that they held at a time, in MiB. */
    readonly memory: number;
}

/** Adds up what a process and all below it use; those that have ended keep what they used. */
class Usage {
    public memory = 0;
    private readonly ticks = new Map<number, number>();

    /** Seconds; the kernel counts in hundredths on every Linux that Node.js runs on. */
    public get cpu(): number {
        return [...this.ticks.values()].reduce((sum, ticks) => sum + ticks, 0) / 100;
    }

    public sample(pid: number): void {
        const children = new Map<number, number[]>();
        const now = new Map<number, { ticks: number; pages: number }>();
        for (const entry of readdirSync("/proc")) {
            if (!/^\d+$/.test(entry)) continue;
            try {
                // proc_pid_stat(5), from its third field: the name before it may hold anything.
                const stat = readFileSync(`/proc/${entry}/stat`, "utf8")
                    .replace(/^.*\) /s, "")
                    .split(" ")
                    .map(Number);
                const at = (field: number): number => stat[field - 3] as number;
                children.set(at(4), [...(children.get(at(4)) ?? []), Number(entry)]);
                now.set(Number(entry), { ticks: at(14) + at(15), pages: at(24) });
            } catch {
                // It has ended meanwhile.
            }
        }
        let pages = 0;
        for (const left = [pid]; left.length > 0;) {
            const next = left.pop() as number;
            const used = now.get(next);
            if (used) this.ticks.set(next, used.ticks);
            pages += used?.pages ?? 0;
            left.push(...(children.get(next) ?? []));
        }
        this.memory = Math.max(this.memory, pages / 256);
    }
}

function pulumi(cwd: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
    const started = Date.now();
    const child = spawn("pulumi", [...args, "--non-interactive"], {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
        // A running agent would be asked too.
        env: { ...engineEnvironment(folder), SSH_AUTH_SOCK: undefined, ...env },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const usage = new Usage();
    const sampling = setInterval(() => usage.sample(child.pid as number), 100);
    return new Promise((resolve, reject) =>
        child.on("close", (code) => {
            clearInterval(sampling);
            const seconds = (Date.now() - started) / 1000;
            if (code === 0) resolve({ stdout, seconds, cpu: usage.cpu, memory: usage.memory });
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
const most = (runs: Readonly<Record<(typeof COLUMNS)[number], Run>>): number =>
    Math.max(...COLUMNS.map((c) => runs[c].memory));
/** Ours, in parentheses the other's, and how many times that is. */
const ratio = (ours: number, other: number, digits = 1): string =>
    `${ours.toFixed(digits)} (${other.toFixed(digits)}) ${(ours / other).toFixed(1)}x`;

/** A stack of so many nodes, all of them on one SSH server. */
function settings(size: number, hosts: Hosts, keyFile: string | undefined): Record<string, unknown> {
    const ssh = { host: "127.0.0.1", port: hosts.port, hostKey: hosts.hostKey };
    return {
        "k3s-ha:cluster": "bench",
        "k3s-ha:version": "v1.36.3+k3s1",
        "k3s-ha:nodes": Array.from({ length: size }, (_, i) => ({
            name: i < 3 ? `master-${i + 1}` : `agent-${i - 2}`,
            role: i < 3 ? "server" : "agent",
            address: `10.${100 + Math.floor(i / 250)}.1.${(i % 250) + 1}`,
            ssh,
        })),
        "k3s-ha:publicInfoViewer": { via: "ssh" },
        ...(keyFile !== undefined && { "k3s-ha:ssh": { privateKeyFile: keyFile } }),
    };
}

async function main(): Promise<void> {
    stageEngine(folder);
    const hosts = await Hosts.start();
    const keyFile = key === "none" ? undefined : join(folder, "key");
    if (keyFile !== undefined) writeFileSync(keyFile, privateKey(key), { mode: 0o600 });
    const baseline = join(__dirname, "baseline");
    const plain = join(folder, "Pulumi.base.yaml");
    writeFileSync(plain, stringify({ config: {} }));
    try {
        for (const size of sizes) {
            const stack = `bench-${size}`;
            const file = join(folder, `Pulumi.${stack}.yaml`);
            writeFileSync(file, stringify({ config: settings(size, hosts, keyFile) }));
            await pulumi(root, ["stack", "init", stack]);
            const before = hosts.connections;
            const ours = await measure(root, stack, file);
            const connections = hosts.connections - before;
            const state = statSync(join(folder, `.pulumi/stacks/k3s-ha/${stack}.json`)).size / size;
            const resources = Number(/(\d+) unchanged/.exec(ours.again.stdout)?.[1] ?? NaN);

            const env = { RESOURCES: String(resources - 1) };
            await pulumi(baseline, ["stack", "init", `base-${size}`], env);
            const own = await measure(baseline, `base-${size}`, plain, env);
            const empty = { ...env, SSH_PORT: String(hosts.port), SSH_KEY_FILE: keyFile ?? "" };
            await pulumi(baseline, ["stack", "init", `commands-${size}`], empty);
            const up = ["up", "--yes", "--skip-preview", "--stack", `commands-${size}`, "--config-file", plain];
            const commands = await pulumi(baseline, up, empty);

            const lines = {
                "new preview, s": ratio(ours.preview.cpu, own.preview.cpu),
                "first up, s": ratio(ours.up.cpu, own.up.cpu),
                "the same, beside empty commands": ratio(ours.up.cpu, commands.cpu),
                "the same by the clock": ratio(ours.up.seconds, own.up.seconds),
                "unchanged up, s": ratio(ours.again.cpu, own.again.cpu),
                "unchanged preview, s": ratio(ours.look.cpu, own.look.cpu),
                "memory, MiB": ratio(most(ours), most(own), 0),
                "SSH connections": String(connections),
                "state, KB a node": (state / 1000).toFixed(1),
            };
            console.log(`${size} nodes, ${resources} resources, SSH key: ${key}`);
            for (const [what, value] of Object.entries(lines)) console.log(`  ${what.padEnd(32)} ${value}`);
            if (size >= STATE.from && state > STATE.most)
                throw new Error(
                    `the state of ${size} nodes has ${Math.round(state)} bytes a node, more than ${STATE.most}`,
                );
        }
    } finally {
        hosts.stop();
        rmSync(folder, { recursive: true, force: true });
    }
}

main().catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
});
