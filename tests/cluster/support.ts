/** What the cluster tests share: the lab's commands, pulumi, kubectl, and a client that asks the API all the time. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";

export const ROOT = join(__dirname, "../..");
const LAB = join(ROOT, "lab/lab");

/** The tests' own lab, so that a lab somebody works with stays as it is; tests/run.mjs sets the same. */
process.env["LAB_NAME"] ??= "k3s-ha-test";
process.env["LAB_DIR"] ??= join(ROOT, ".lab-test");
process.env["LAB_NET"] ??= "10.91.0";
process.env["LAB_STACK_FILE"] ??= "tests/cluster/hosts.yaml";
export const NET = process.env["LAB_NET"] as string;
export const LAB_DIR = process.env["LAB_DIR"] as string;
const LAB_NAME = process.env["LAB_NAME"] as string;

export interface Result {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
    readonly seconds: number;
}

export interface RunOptions {
    readonly input?: string;
    /** Seconds. */
    readonly timeout?: number;
    readonly env?: Readonly<Record<string, string>>;
    /** Throw when the command fails (default), or leave it to the caller. */
    readonly check?: boolean;
}

/** Runs lab/lab with these arguments. */
export function lab(args: readonly string[], options: RunOptions = {}): Result {
    const started = Date.now();
    const run = spawnSync(LAB, args, {
        cwd: ROOT,
        input: options.input ?? "",
        encoding: "utf8",
        timeout: (options.timeout ?? 120) * 1000,
        maxBuffer: 256 * 1024 * 1024,
        env: { ...process.env, ...options.env },
    });
    const result = {
        status: run.status,
        stdout: run.stdout,
        stderr: run.stderr,
        seconds: (Date.now() - started) / 1000,
    };
    if (options.check !== false && run.status !== 0) {
        throw new Error(
            `lab/lab ${args.join(" ")} ended with ${run.status ?? run.signal} after ${result.seconds} s:\n${tail(run.stdout)}\n${tail(run.stderr)}`,
        );
    }
    return result;
}

/** The end of a text, and before it the lines that say why something failed: outputs may push them out. */
function tail(text: string): string {
    if (text.length <= 6000) return text;
    const reasons = text.split("\n").filter((line) => /FAILED|\bfailed\b|^\s*(error|next):/.test(line));
    return `${[...new Set(reasons)].slice(0, 20).join("\n")}\n…${text.slice(-6000)}`;
}

/** A shell line as root on a host. */
export function on(host: string, line: string, options: RunOptions = {}): Result {
    return lab(["exec", host, "--", "sh", "-c", line], options);
}

/** What the main stack begins with, and the newer release that it is upgraded to. */
export const OLD_VERSION = "v1.36.2+k3s1";
export const NEW_VERSION = "v1.36.3+k3s1";

/** The hosts of the main stack as it begins; hosts.yaml has more. */
export const MASTERS = ["master-1", "master-2", "master-3"] as const;
export const AGENTS = ["agent-1", "agent-2"] as const;
export const HOSTS = [...MASTERS, ...AGENTS] as const;

/** A node of a stack file. */
export interface StackNode {
    name: string;
    role: "server" | "agent";
    address: string;
    rebuilt?: number;
    lost?: boolean;
    throughProxy?: boolean;
    labels?: Record<string, string>;
    taints?: string[];
    config?: Record<string, unknown>;
    ssh?: Record<string, unknown>;
}
export type Config = Record<string, unknown>;

/** The nodes of a stack's settings, to be changed in place. */
export const nodesOf = (config: Config): StackNode[] => config["k3s-ha:nodes"] as StackNode[];
export const nodeOf = (config: Config, name: string): StackNode => {
    const node = nodesOf(config).find((n) => n.name === name);
    assert.ok(node, `${name} is not in the stack file`);
    return node;
};

/** The lab's stack file: every host it has. */
export function labConfig(): Config {
    const base = lab(["stack"]).stdout.trim();
    return (parse(readFileSync(join(ROOT, `Pulumi.${base}.yaml`), "utf8")) as { config: Config }).config;
}

/** A host of the lab as a node, to be added to a stack. */
export const labNode = (name: string): StackNode => nodeOf(labConfig(), name);

/** A stack of the lab's: its settings are a file that tests change. */
export class Stack {
    public readonly name: string;
    public readonly file: string;

    /** The lab's own stack file with these hosts, under another name and with changes, in the project's folder as a user's would be. */
    public constructor(
        name: string,
        private readonly hosts: readonly string[] = HOSTS,
        private readonly change: (config: Config) => void = () => undefined,
    ) {
        this.name = `test-${name}`;
        this.file = join(ROOT, `Pulumi.${this.name}.yaml`);
    }

    /** Writes the file and makes the stack, if it is not there. */
    public init(): this {
        if (existsSync(this.file)) return this;
        const config = labConfig();
        config["k3s-ha:nodes"] = nodesOf(config).filter((n) => this.hosts.includes(n.name));
        this.change(config);
        writeFileSync(this.file, stringify({ config }));
        this.pulumi(["stack", "init", this.name]);
        return this;
    }

    /** A preview with other settings, as a reviewer reads it. */
    public preview(file: string): Result {
        return lab(
            [
                "exec",
                "--",
                "pulumi",
                "preview",
                "--diff",
                "--stack",
                this.name,
                "--config-file",
                file,
                "--non-interactive",
                "--color",
                "never",
                "--suppress-progress",
            ],
            { timeout: 120 },
        );
    }

    /** pulumi with these arguments on this stack and its settings, inside the lab's network. */
    public pulumi(args: readonly string[], options: RunOptions = {}): Result {
        // lab/lab exec sets the lab's environment itself, so what differs from it is set inside.
        const environment = Object.entries(options.env ?? {}).map(([k, v]) => `${k}=${v}`);
        return lab(["exec", "--", ...(environment.length > 0 ? ["env", ...environment] : []), ...this.command(args)], {
            timeout: 600,
            ...options,
        });
    }

    /** The same in the background, to be interrupted. */
    public start(args: readonly string[]): ChildProcess {
        return spawn(LAB, ["exec", "--", ...this.command(args)], {
            cwd: ROOT,
            stdio: ["ignore", "pipe", "pipe"],
            detached: true,
        });
    }

    private command(args: readonly string[]): string[] {
        const stack = args[0] === "stack" && ["init", "select"].includes(args[1] ?? "") ? [] : ["--stack", this.name];
        return ["pulumi", ...args, ...stack, "--non-interactive", "--color", "never"];
    }

    /** The same stack with other settings, in a file of its own; for previews and changes. */
    public changed(change: (config: Config) => void): string {
        const stack = parse(readFileSync(this.file, "utf8")) as { config: Config };
        change(stack.config);
        const file = join(mkdtempSync(join(tmpdir(), "k3s-ha-change-")), "stack.yaml");
        writeFileSync(file, stringify(stack));
        return file;
    }

    /** Changes the settings for good. */
    public set(change: (config: Config) => void): void {
        const stack = parse(readFileSync(this.file, "utf8")) as { config: Config };
        change(stack.config);
        writeFileSync(this.file, stringify(stack));
    }

    public up(options: RunOptions = {}): Result {
        return this.pulumi(["up", "--yes", "--skip-preview"], options);
    }

    /** The settings as the file has them. */
    public config(): Config {
        return (parse(readFileSync(this.file, "utf8")) as { config: Config }).config;
    }

    /** Changes the settings for good and brings the cluster there. */
    public upWith(change: (config: Config) => void, options: RunOptions = {}): Result {
        this.set(change);
        return this.up(options);
    }

    public output(name: string): string {
        return this.pulumi(["stack", "output", name, "--show-secrets"]).stdout;
    }

    /** Settings file and everything else of this stack on the deployer. */
    public forget(): void {
        this.pulumi(["stack", "rm", "--yes", "--force"], { check: false });
        rmSync(this.file, { force: true });
    }
}

let shared: Stack | undefined;

/** The stack of the suite's main cluster. */
export function mainStack(): Stack {
    shared ??= new Stack("main").init();
    return shared;
}

/** The URN of a resource of the main stack, by its name. */
export function urnOf(name: string): string {
    const { deployment } = JSON.parse(mainStack().pulumi(["stack", "export"]).stdout) as {
        readonly deployment: { readonly resources: readonly { readonly urn: string }[] };
    };
    const found = deployment.resources.find(({ urn }) => urn.endsWith(`::${name}`));
    assert.ok(found, name);
    return found.urn;
}

let kubeconfigFile: string | undefined;

/** A stack's kubeconfig in a file of its own. */
export function kubeconfigOf(stack: Pick<Stack, "output">): string {
    const file = join(mkdtempSync(join(tmpdir(), "k3s-ha-kube-")), "config");
    writeFileSync(file, stack.output("kubeconfig"), { mode: 0o600 });
    return file;
}

/** The main stack's kubeconfig, as its user would write it to a file; read again after a change of the masters. */
export function kubeconfig(): string {
    kubeconfigFile ??= join(mkdtempSync(join(tmpdir(), "k3s-ha-kube-")), "config");
    writeFileSync(kubeconfigFile, mainStack().output("kubeconfig"), { mode: 0o600 });
    return kubeconfigFile;
}

/** kubectl from the deployer. */
export function kubectl(args: readonly string[], options: RunOptions & { readonly context?: string } = {}): Result {
    const file = kubeconfigFile ?? kubeconfig();
    const context = options.context === undefined ? [] : ["--context", options.context];
    return lab(["exec", "--", "kubectl", "--kubeconfig", file, "--request-timeout=20s", ...context, ...args], options);
}

/** Until the condition holds; its last error when it never does. */
export async function eventually(what: string, seconds: number, check: () => void | Promise<void>): Promise<void> {
    const end = Date.now() + seconds * 1000;
    for (;;) {
        try {
            await check();
            return;
        } catch (error) {
            if (Date.now() > end)
                throw new Error(
                    `${what}: not within ${seconds} s: ${error instanceof Error ? error.message : String(error)}`,
                );
            await new Promise((resolve) => setTimeout(resolve, 500));
        }
    }
}

/** Names of the masters that a host's proxy sees up, by the admin socket. */
export function mastersUp(host: string, backend = "dev-kube-api"): string[] {
    const csv = on(host, "echo 'show stat' | socat - /run/haproxy/admin.sock").stdout;
    return csv
        .split("\n")
        .map((l) => l.split(","))
        .filter((f) => f[0] === backend && f[1] !== "BACKEND" && /^UP/.test(f[17] ?? ""))
        .map((f) => f[1] as string)
        .sort();
}

/** Live nodes of the main stack by role, as its file has them now. */
export function members(): { masters: string[]; hosts: string[] } {
    const live = nodesOf(mainStack().config()).filter((n) => n.lost !== true);
    return {
        masters: live
            .filter((n) => n.role === "server")
            .map((n) => n.name)
            .sort(),
        hosts: live.map((n) => n.name).sort(),
    };
}

/** Everything as it should be: all proxies see all masters, all Nodes Ready and no other Node, all masters etcd voters. */
export async function whole(seconds = 120): Promise<void> {
    const { masters, hosts } = members();
    kubeconfig();
    await eventually("the cluster is whole", seconds, () => {
        for (const host of hosts) assert.deepEqual(mastersUp(host), masters, `servers up as seen by ${host}`);
        const nodes = JSON.parse(
            kubectl(["get", "nodes", "-o", "json"], { context: `dev-${masters.at(-1)}` }).stdout,
        ) as {
            items: { metadata: { name: string }; status: { conditions: { type: string; status: string }[] } }[];
        };
        const ready = nodes.items
            .filter((n) => n.status.conditions.some((c) => c.type === "Ready" && c.status === "True"))
            .map((n) => n.metadata.name);
        assert.deepEqual(ready.sort(), hosts, "Nodes Ready");
        assert.equal(nodes.items.length, hosts.length, "Nodes");
        assert.deepEqual(voters(masters.at(-1) as string), masters, "etcd voters");
    });
}

/** No hosts and no stack files: what an earlier run left is gone. */
export function freshLab(): void {
    lab(["down"]);
    // What the set-up copied is gone with it.
    if (process.env["LAB_K3S"]) lab(["setup"], { timeout: 300 });
    for (const file of readdirSync(ROOT)) if (/^Pulumi\.test-.*\.yaml$/.test(file)) rmSync(join(ROOT, file));
}

let brought = false;

/** The main cluster with its first five hosts: brought up where a scenario runs by itself, brought back where the one before left another. */
export async function mainCluster(): Promise<void> {
    await someCluster();
    const { hosts } = members();
    if (nodesOf(mainStack().config()).length === HOSTS.length && HOSTS.every((host) => hosts.includes(host))) return;
    console.log(`      the cluster is ${hosts.join(" ")}: back to ${HOSTS.join(" ")}`);
    mainStack().upWith((config) => {
        const now = nodesOf(config);
        config["k3s-ha:nodes"] = HOSTS.map((name) => {
            const { lost, rebuilt = 0, ...node } = now.find((n) => n.name === name) ?? labNode(name);
            return rebuilt > 0 || lost ? { ...node, rebuilt: lost ? rebuilt + 1 : rebuilt } : node;
        });
    });
    await whole();
}

/** The main cluster with whatever nodes the scenario before left. */
export async function someCluster(): Promise<void> {
    if (brought) return;
    if (!existsSync(`/run/netns/${LAB_NAME}-router`)) freshLab();
    lab(["hosts", "up"], { timeout: 300 });
    mainStack().up();
    kubeconfig();
    await whole();
    brought = true;
}

/** Said by the first scenario, which brings the cluster up itself. */
export function clusterIsUp(): void {
    brought = true;
}

/** Process id of a unit, which a restart changes. */
export const pidOf = (host: string, unit: string): string =>
    on(host, `systemctl show -p MainPID --value ${unit}`).stdout.trim();

export const k3sUnit = (host: string): string => (host.startsWith("master") ? "k3s" : "k3s-agent");

/** Names of the etcd voters, as a master lists them. */
export function voters(master: string): string[] {
    const text = on(master, "HOME=/tmp k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml get --raw /db/info").stdout;
    const { members } = JSON.parse(text) as { members: { name: string; isLearner?: boolean }[] };
    return members
        .filter((m) => !m.isLearner)
        .map((m) => m.name.replace(/-[0-9a-f]{8}$/, ""))
        .sort();
}

/** Whether this master is etcd's leader, as its own etcd says (that API is on 2382). */
export function leads(master: string): boolean {
    const text = on(
        master,
        'cd /var/lib/rancher/k3s/server/tls/etcd; curl -s --max-time 5 --cacert server-ca.crt --cert client.crt --key client.key -d "{}" https://127.0.0.1:2382/v3/maintenance/status',
    ).stdout;
    const status = JSON.parse(text) as { header: { member_id: string }; leader: string };
    return status.header.member_id === status.leader;
}

/** What a client without credentials gets from a master, from the deployer. */
export function anonymousCode(address: string, path: string): string {
    const url = `https://${address}:6443${path}`;
    return lab(["exec", "--", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url]).stdout;
}

/** What a client saw that asked the API 50 times a second. */
export interface Seen {
    readonly requests: number;
    readonly failed: number;
    /** Milliseconds since the start of each failed request, and its error. */
    readonly failures: readonly { readonly at: number; readonly ms: number; readonly error: string }[];
    /** The longest time between two successful answers, in milliseconds. */
    readonly longestGap: number;
    readonly slowest: number;
    /** Nodes that were seen not Ready. */
    readonly notReady: readonly string[];
    /** Least number of ready replicas of Deployment default/web, where there is one. */
    readonly leastReady: number | null;
    /** How often a watch that was opened at the beginning had to be opened again. */
    readonly watchBreaks: number;
    /** What the watch learned of ConfigMap default/beat: its number, and when (milliseconds since the epoch). */
    readonly beats: readonly (readonly [beat: number, at: number])[];
    /** With {@link ClientOptions.beat}: each number, and when the API had taken it. */
    readonly taken: readonly (readonly [beat: number, at: number])[];
    /** When the client began, in milliseconds since the epoch. */
    readonly began: number;
}

/** What a {@link Client} does otherwise than usual. */
export interface ClientOptions {
    /** Default the host's own proxy. */
    readonly url?: string;
    /** New connections a second; default 50. */
    readonly rate?: number;
    readonly path?: string;
    /** Seconds after which a request has failed; default 15, longer than any fail-over that we promise. */
    readonly patience?: number;
    /** Count ConfigMap default/beat, which is there, twice a second. */
    readonly beat?: boolean;
}

/** The network namespace of a host, for clients that run in it. */
export function netnsOf(host: string): string {
    const netns = `/run/netns/${LAB_NAME}.${host}`;
    assert.ok(existsSync(netns), `${netns} is missing`);
    return netns;
}

/** A client in a host's network that asks through the host's own proxy until it is stopped. */
export class Client {
    private readonly child: ChildProcess;
    private text = "";

    public constructor(host: string, config = kubeconfig(), how: ClientOptions = {}) {
        this.child = spawn(
            "nsenter",
            [
                `--net=${netnsOf(host)}`,
                "--",
                process.execPath,
                join(__dirname, "client.mjs"),
                config,
                how.url ?? "https://127.0.0.1:16443",
                String(how.rate ?? 50),
                how.path ?? "/api/v1/namespaces/default",
                String(how.patience ?? 15),
                ...(how.beat === true ? ["beat"] : []),
            ],
            {
                stdio: ["pipe", "pipe", "inherit"],
            },
        );
        this.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (this.text += chunk));
    }

    /** Waits until it has had its first answers. */
    public async running(): Promise<this> {
        await eventually("the client runs", 20, () => assert.match(this.text, /^running$/m));
        return this;
    }

    /** Ends it and says what it saw; requests under way are waited for. */
    public async stop(): Promise<Seen> {
        const closed = new Promise<void>((resolve) => this.child.on("close", () => resolve()));
        this.child.stdin?.end();
        await closed;
        return JSON.parse(this.text.split("\n").filter((l) => l.startsWith("{"))[0] ?? "null") as Seen;
    }
}

/** One line for the test's output, so that a run shows its figures. */
export function figures(what: string, seen: Seen): void {
    console.log(
        `      ${what}: ${seen.failed} of ${seen.requests} requests failed, longest gap ${seen.longestGap} ms, slowest answer ${seen.slowest} ms`,
    );
    for (const f of seen.failures.slice(0, 5)) console.log(`        at ${f.at} ms after ${f.ms} ms: ${f.error}`);
}

/**
 * Which servers a host's proxy took for down around a client's first failure, and how busy the machine was; more of it in the
 * test's output. A failure of CI leaves no lab to look into.
 */
function proxySaid(host: string, seen: Seen): string {
    const first = (seen.began + (seen.failures[0]?.at ?? 0)) / 1000;
    const journal = `journalctl -u haproxy -o short-iso-precise --no-pager --since @${Math.floor(first) - 10} --until @${Math.ceil(first) + 10}`;
    const lines = on(host, `${journal} | grep -vE ' -- |WARNING|NOTICE|stopped' | tail -n 60 | cut -c 1-240`, {
        check: false,
    }).stdout;
    console.log(`        first failure at ${new Date(first * 1000).toISOString()}; haproxy on ${host}:\n${lines}`);
    const busy = `load ${readFileSync("/proc/loadavg", "utf8").split(" ", 2).join(" ")}`;
    const down = lines.split("\n").flatMap((line) => {
        const [, at, server, reason] =
            /T([\d:]+)\S* .*Health check for server \S+\/(\S+) failed, reason: (.*), status: 0/.exec(line) ?? [];
        return at === undefined ? [] : [`${at} ${server} ${reason}`];
    });
    return [...new Set(down), busy].join(", ");
}

/** What a change may cost: nothing, unless a test says so. */
export interface Allowed {
    readonly failed?: number;
    /** Nodes that the change itself restarts so that they may be seen not Ready. */
    readonly notReady?: readonly string[];
    /** Ready replicas of the lab's Deployment, where a node was not Ready before the change; default its budget. */
    readonly ready?: number;
}

/**
 * Runs a change while clients ask through an agent's and a master's proxy, and asserts what they saw: no failed request, no
 * node not Ready, and the lab's Deployment within its budget.
 */
export async function underLoad(
    what: string,
    change: () => unknown,
    allowed: Allowed = {},
    hosts: readonly string[] = ["agent-1", "master-3"],
    config?: string,
): Promise<readonly Seen[]> {
    const clients = await Promise.all(hosts.map((host) => new Client(host, config).running()));
    let error: unknown;
    try {
        await change();
    } catch (e) {
        error = e;
    }
    const all = await Promise.all(clients.map((client) => client.stop()));
    all.forEach((seen, i) => {
        figures(`${what}, through ${hosts[i]}`, seen);
    });
    const words = all.map((seen, i) =>
        seen.failed > (allowed.failed ?? 0) ? proxySaid(hosts[i] as string, seen) : "",
    );
    if (error !== undefined) throw error;
    all.forEach((seen, i) => {
        assert.ok(seen.requests > 50, `the client on ${hosts[i]} asked ${seen.requests} times only`);
        assert.ok(
            seen.failed <= (allowed.failed ?? 0),
            `${seen.failed} of ${seen.requests} requests failed through ${hosts[i]}: ${words[i]}; ${JSON.stringify(seen.failures.slice(0, 3))}`,
        );
        const unexpected = seen.notReady.filter((n) => !(allowed.notReady ?? []).includes(n));
        assert.deepEqual(unexpected, [], `seen not Ready through ${hosts[i]}`);
        if (seen.leastReady !== null)
            assert.ok(
                seen.leastReady >= (allowed.ready ?? BUDGET),
                `only ${seen.leastReady} replicas were ready, the budget is ${BUDGET}`,
            );
    });
    return all;
}

/** minAvailable of the lab's Deployment, of four replicas. */
const BUDGET = 3;

/** The lab's Deployment and its PodDisruptionBudget. */
export async function workload(): Promise<void> {
    if (process.env["LAB_K3S"]) {
        console.log("      no Deployment is watched: the official k3s needs images, which the lab has not");
        return;
    }
    const manifest = [
        {
            apiVersion: "apps/v1",
            kind: "Deployment",
            metadata: { name: "web", namespace: "default" },
            spec: {
                replicas: 4,
                selector: { matchLabels: { app: "web" } },
                template: {
                    metadata: { labels: { app: "web" } },
                    spec: { containers: [{ name: "web", image: "registry.k8s.io/pause:3.10" }] },
                },
            },
        },
        {
            apiVersion: "policy/v1",
            kind: "PodDisruptionBudget",
            metadata: { name: "web", namespace: "default" },
            spec: { minAvailable: BUDGET, selector: { matchLabels: { app: "web" } } },
        },
    ];
    kubectl(["apply", "-f", "-"], { input: manifest.map((m) => JSON.stringify(m)).join("\n---\n") });
    await workloadReady(60);
}

/** Until all replicas are: those of a Node that is gone are made elsewhere after a minute. */
export async function workloadReady(seconds: number): Promise<void> {
    if (process.env["LAB_K3S"]) return;
    await eventually("the Deployment is ready", seconds, () =>
        assert.equal(kubectl(["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"]).stdout, "4"),
    );
}
