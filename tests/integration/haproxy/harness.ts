/**
 * What the tests with the real haproxy stand on: a network namespace of their own (so that the real addresses and ports
 * of a cluster can be used beside anything else on this machine), masters, load, and haproxy run through haproxy-apply.sh.
 */
import { execFile, execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { haproxyConfigSchema, merge, renderHaproxy, type HaproxyConfig } from "../../../components/haproxy";
import type { Report } from "./client";

const APPLY = join(__dirname, "../../../components/scripts/haproxy-apply.sh");

/**
 * Put before masters, haproxy and load: with other work on the machine (a lab beside this, builds) plain processes wait
 * for the CPU for seconds, and what is measured then is that. Where real-time priority is not to be had, it is empty.
 */
const URGENT = spawnSync("chrt", ["-r", "5", "true"]).status === 0 ? ["chrt", "-r", "5"] : [];

/** A haproxy that the tests run against. */
export interface Binary {
    readonly version: string;
    readonly path: string;
}

function versionOf(path: string): string {
    const output = execFileSync(path, ["-v"], { encoding: "utf8" });
    const version = /^HA-?Proxy version (\d+\.\d+\.\d+)/.exec(output)?.[1];
    if (!version) throw new Error(`${path} -v does not look like haproxy: ${output}`);
    return version;
}

/**
 * The haproxy in PATH, and those that the lab has unpacked below $LAB_CACHE/haproxy/VERSION/haproxy.
 * @throws Error when there is none in PATH: these tests are nothing without it.
 */
export function binaries(): Binary[] {
    const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
    const own = folders.map((folder) => join(folder, "haproxy")).find(existsSync);
    if (!own)
        throw new Error(
            "haproxy is not in PATH: install the distribution's package, or run `make test`, whose lab brings it",
        );
    const cache = process.env.LAB_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "k3s-ha-lab");
    const folder = join(cache, "haproxy");
    const others = existsSync(folder)
        ? readdirSync(folder)
              .map((name) => join(folder, name, "haproxy"))
              .filter(existsSync)
        : [];
    const all = [own, ...others].map((path) => ({ version: versionOf(path), path }));
    return all.filter((binary, index) => all.findIndex((other) => other.version === binary.version) === index);
}

export const MASTERS = [1, 2, 3].map((n) => ({ name: `master-${n}`, address: `10.90.0.1${n}`, port: 6443 }));
export const NODE = "10.90.0.21";
/** An address outside the allowed networks. */
export const FOREIGN = "10.78.0.1";

/** A network namespace with the addresses of three masters, a node and a foreigner on its loopback. */
export class Network {
    private constructor(private readonly holder: ChildProcess) {}

    static async make(): Promise<Network> {
        if (process.getuid?.() !== 0) throw new Error("these tests make a network namespace: run them as root");
        const holder = spawn("unshare", ["--net", "sh", "-c", "echo ready; exec cat"], {
            stdio: ["pipe", "pipe", "inherit"],
        });
        await once(holder.stdout, "data");
        const network = new Network(holder);
        network.run("ip", "link", "set", "lo", "up");
        for (const address of [...MASTERS.map((master) => master.address), NODE, FOREIGN])
            network.run("ip", "address", "add", `${address}/32`, "dev", "lo");
        return network;
    }

    /** The command line that runs another one inside. */
    enter(...command: readonly string[]): [string, string[]] {
        return ["nsenter", [`--net=/proc/${this.holder.pid}/ns/net`, ...command]];
    }

    run(...command: readonly string[]): string {
        const [file, args] = this.enter(...command);
        return execFileSync(file, args, { encoding: "utf8" });
    }

    /** Status code and body of a GET. `from` is the source address. */
    get(url: string, options: { from?: string; user?: string; host?: string } = {}): { code: number; body: string } {
        const extra = [
            ...(options.from ? ["--interface", options.from] : []),
            ...(options.user ? ["--user", options.user] : []),
        ];
        const output = this.run("curl", "-sk", "--max-time", "10", "-w", "\n%{http_code}", ...extra, url);
        const cut = output.lastIndexOf("\n");
        return { code: Number(output.slice(cut + 1)), body: output.slice(0, cut) };
    }

    /** Packets to the address are lost from now on, or arrive again. Nobody is told. */
    silence(address: string, silent: boolean): void {
        this.run("ip", "address", silent ? "del" : "add", `${address}/32`, "dev", "lo");
        // An address that is not of this host: what the loopback device brings in for it is dropped.
        this.run("ip", "route", silent ? "add" : "del", `${address}/32`, "dev", "lo");
    }

    close(): void {
        this.holder.stdin?.end();
    }
}

/** A folder that is gone after the test. */
export function workFolder(): string {
    return mkdtempSync(join(tmpdir(), "k3s-ha-haproxy-"));
}

/** Makes NAME.crt and NAME.key in a folder: a CA, or a certificate of one for a DNS name. */
export function certificate(folder: string, name: string, dns?: string, ca?: string): void {
    const key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        join(folder, `${name}.key`),
    ];
    const out = ["-out", join(folder, `${name}.crt`), "-days", "2", "-subj", `/CN=${name}`];
    const leaf =
        dns && ca
            ? [
                  "-CA",
                  join(folder, `${ca}.crt`),
                  "-CAkey",
                  join(folder, `${ca}.key`),
                  "-addext",
                  `subjectAltName=DNS:${dns}`,
              ]
            : [];
    execFileSync("openssl", ["req", "-x509", ...key, ...out, ...leaf], { stdio: ["ignore", "ignore", "pipe"] });
}

/** A running stand-in of a master; see master.ts. */
export class FakeMaster {
    private constructor(
        readonly name: string,
        private readonly child: ChildProcess,
    ) {}

    static async start(network: Network, index: number, folder: string, cert = "server"): Promise<FakeMaster> {
        const { name, address, port } = MASTERS[index] as (typeof MASTERS)[number];
        const files = [join(folder, `${cert}.key`), join(folder, `${cert}.crt`)];
        const script = join(__dirname, "master.ts");
        const [file, args] = network.enter(
            ...URGENT,
            process.execPath,
            "--require",
            join(__dirname, "../../../load/register.cjs"),
            script,
            name,
            address,
            `${port}`,
            ...files,
        );
        const child = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
        await once(child, "message");
        return new FakeMaster(name, child);
    }

    /** One listener for all that comes: two messages may come in one turn, and a second `once` would miss the second. */
    private said(word: "done" | "checked"): Promise<void> {
        return new Promise((resolve) => {
            const listen = (message: unknown): void => {
                if (message !== word) return;
                this.child.off("message", listen);
                resolve();
            };
            this.child.on("message", listen);
        });
    }

    private async tell(what: object): Promise<void> {
        const done = this.said("done");
        this.child.send(what);
        await done;
    }

    /** What /readyz answers from now on, after `delay` milliseconds, and not before `hold` milliseconds from now. */
    async answer(ready: number, { delay = 0, hold = 0 } = {}): Promise<void> {
        await this.tell({ ready, delay, hold });
    }

    /** Whether the file is there that proxies look for. */
    async serves(serving: boolean): Promise<void> {
        await this.tell({ serving });
    }

    /** When a proxy's next check was passed: the moment from which a fault stays unknown for the longest time. */
    checked(): Promise<void> {
        return this.said("checked");
    }

    get dead(): boolean {
        return this.child.exitCode !== null || this.child.signalCode !== null;
    }

    async kill(): Promise<void> {
        if (this.dead) return;
        const gone = once(this.child, "exit");
        this.child.kill("SIGKILL");
        await gone;
    }

    freeze(): void {
        this.child.kill("SIGSTOP");
    }

    thaw(): void {
        this.child.kill("SIGCONT");
    }
}

/** Starts load on the frontend; the returned function ends it and gives its report. */
export async function load(network: Network, rate: number, watches: number): Promise<() => Promise<Report>> {
    const script = join(__dirname, "client.ts");
    const [file, args] = network.enter(
        ...URGENT,
        process.execPath,
        "--require",
        join(__dirname, "../../../load/register.cjs"),
        script,
        "127.0.0.1",
        "16443",
        `${rate}`,
        `${watches}`,
    );
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout });
    await once(lines, "line");
    return async () => {
        child.stdin.end();
        const [line] = (await once(lines, "line")) as [string];
        return JSON.parse(line) as Report;
    };
}

/** What one run of haproxy-apply.sh did. */
export interface Applied {
    readonly code: number;
    /** The result line. */
    readonly out: string;
    readonly err: string;
}

export interface ApplyOptions {
    /** Another program in place of the binary: to play an older version. */
    readonly bin?: string;
    readonly env?: Readonly<Record<string, string>>;
}

/** haproxy on a node: its files in a folder, brought to a configuration by haproxy-apply.sh. */
export class Node {
    readonly cfg: string;
    readonly ca: string;

    constructor(
        readonly network: Network,
        readonly folder: string,
        readonly binary: Binary,
    ) {
        this.cfg = join(folder, "etc/haproxy.cfg");
        this.ca = join(folder, "etc/test-server-ca.crt");
        for (const name of ["etc", "run", "secrets", "chroot"]) mkdirSync(join(folder, name), { recursive: true });
        this.secret("stats-password", "correct horse # 'battery'");
        this.secret("metrics-password", "scraper-password");
        this.secret("stats-salt", "Zq3.x/Y7abcdEFGH");
    }

    secret(name: string, value: string): void {
        writeFileSync(join(this.folder, "secrets", name), `${value}\n`, { mode: 0o600 });
    }

    /** A configuration whose paths lead to this node's folder; nothing else of it changes. */
    here(config: HaproxyConfig): HaproxyConfig {
        // expose-fd, as in the presets: else a reload loses what waits to be accepted on the old listeners.
        const param = ["mode 660", "level admin", "expose-fd listeners"];
        const sockets = [{ listen: join(this.folder, "run/admin.sock"), param }];
        return merge(config, {
            global: { chroot: join(this.folder, "chroot"), stats: { sockets, timeout: "30s" } },
        });
    }

    /** The folder that haproxy-apply.sh is told of, with one list. */
    aclFiles(list: { path: string; mode: string; content: string }): string {
        const folder = join(this.folder, "acl");
        mkdirSync(folder, { recursive: true });
        writeFileSync(join(folder, "list"), `1 root root ${list.mode} ${list.path}\n`);
        writeFileSync(join(folder, "1"), list.content);
        return folder;
    }

    async apply(config: HaproxyConfig | string, options: ApplyOptions = {}): Promise<Applied> {
        const template = join(this.folder, "template.cfg");
        const text = typeof config === "string" ? config : renderHaproxy(haproxyConfigSchema.parse(this.here(config)));
        writeFileSync(template, text);
        const pidFile = join(this.folder, "run/pid");
        const masterSocket = join(this.folder, "run/master.sock");
        const env = {
            ...process.env,
            NODE_NAME: "agent-1",
            BACKEND: "test-kube-api",
            CA_FILE: this.ca,
            LISTEN: `127.0.0.1 16443\n${NODE} 1936`,
            SECRETS: join(this.folder, "secrets"),
            APPLIED: join(this.folder, "applied"),
            STATE_FILE: join(this.folder, "servers"),
            HAPROXY_BIN: options.bin ?? this.binary.path,
            HAPROXY_CFG: this.cfg,
            MASTER_SOCKET: masterSocket,
            PIDFILE: pidFile,
            RELOAD: `kill -USR2 "$(cat ${pidFile})"`,
            START: `${URGENT.join(" ")} ${this.binary.path} -W -D -f ${this.cfg} -p ${pidFile} -S ${masterSocket} </dev/null >${this.folder}/log 2>&1`,
            ...options.env,
        };
        const [file, args] = this.network.enter("sh", APPLY, template);
        return new Promise((resolve) =>
            execFile(file, args, { env, encoding: "utf8" }, (error, out, err) =>
                resolve({ code: error ? Number(error.code ?? -1) : 0, out: out.trim(), err }),
            ),
        );
    }

    effective(): string {
        return readFileSync(this.cfg, "utf8");
    }

    /** Asks over the admin socket. */
    ask(command: string): string {
        return execFileSync("socat", ["-t", "5", "-", `UNIX-CONNECT:${join(this.folder, "run/admin.sock")}`], {
            input: `${command}\n`,
            encoding: "utf8",
        });
    }

    worker(): string {
        return /^Pid: (\d+)$/m.exec(this.ask("show info"))?.[1] ?? "";
    }

    /** A column of `show stat` by server of a backend. */
    column(name: string, backend = "test-kube-api"): Record<string, string> {
        const [head = "", ...rows] = this.ask("show stat").replace(/^# /, "").trim().split("\n");
        const columns = head.split(",");
        const at = (row: string[], wanted: string) => row[columns.indexOf(wanted)] ?? "";
        return Object.fromEntries(
            rows
                .map((row) => row.split(","))
                .filter((row) => at(row, "pxname") === backend && at(row, "svname") !== "BACKEND")
                .map((row) => [at(row, "svname"), at(row, name)]),
        );
    }

    /** Status by server of a backend, as haproxy says it: UP, DOWN, "DOWN 1/2", "no check" ... */
    states(backend?: string): Record<string, string> {
        return this.column("status", backend);
    }

    async stop(): Promise<void> {
        const pidFile = join(this.folder, "run/pid");
        if (!existsSync(pidFile)) return;
        const pid = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
        try {
            process.kill(pid, "SIGTERM");
        } catch {
            return;
        }
        await until("haproxy has stopped", 10, () => !existsSync(`/proc/${pid}`));
        rmSync(pidFile, { force: true });
    }
}

/** Asks every 50 ms until it is true. @throws Error after so many seconds, with what was waited for. */
export async function until(what: string, seconds: number, test: () => boolean): Promise<number> {
    const start = Date.now();
    while (!test()) {
        if (Date.now() - start > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return Date.now() - start;
}
