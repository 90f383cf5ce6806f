/**
 * SSH connections as @pulumi/command 1.2.1 makes them: retries, host key, order of authentication, bastion, and its
 * error texts (those of Go's net and x/crypto/ssh).
 */
import { createHash } from "node:crypto";
import { connect as connectSocket, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import ssh2, { type AnyAuthMethod, type Client as SshClient, type ConnectConfig, type SFTPWrapper } from "ssh2";
import type { Log } from "./provider";

const { Client, utils } = ssh2;

/** One host of remote.Connection, defaults filled in. */
export interface Endpoint {
    host: string;
    port: number;
    user: string;
    password?: string;
    privateKey?: string;
    privateKeyPassword?: string;
    agentSocketPath?: string;
    /** Attempts before giving up; -1: never. */
    dialErrorLimit: number;
    /** Seconds for the TCP connection; 0: no limit. */
    perDialTimeout: number;
    /** As in authorized_keys. Without it any host is taken. */
    hostKey?: string;
}

export interface Connection extends Endpoint {
    proxy?: Endpoint;
}

export interface RunResult {
    stdout: string;
    stderr: string;
}

const FIRST_DELAY_MS = 100;
const BACKOFF = 1.5;
const MAX_DELAY_MS = 5_000;
/** A line of this length stops the official provider's log reader, and with it the command, for ever. */
const MAX_LOG_LINE = 64 * 1024;

/** Errors of the set-up that no retry would cure: told at once. */
class SetupError extends Error {}

async function retry<T>(what: string, limit: number, log: Log, f: () => Promise<T>): Promise<T> {
    for (let attempt = 0, delay = FIRST_DELAY_MS; ; attempt++, delay = Math.min(delay * BACKOFF, MAX_DELAY_MS)) {
        try {
            return await f();
        } catch (e) {
            if (limit > -1 && attempt + 1 > limit)
                throw new Error(`after ${attempt} failed attempts: ${(e as Error).message}`);
            log("info", `${what} ${attempt + 1}/${limit === -1 ? "inf" : limit} failed: retrying`, true);
        }
        await new Promise((r) => setTimeout(r, delay));
    }
}

function hostPort(e: Endpoint): string {
    return e.host.includes(":") ? `[${e.host}]:${e.port}` : `${e.host}:${e.port}`;
}

const ERRNO: Record<string, string> = {
    ECONNREFUSED: "connect: connection refused",
    EHOSTUNREACH: "connect: no route to host",
    ENETUNREACH: "connect: network is unreachable",
    ETIMEDOUT: "connect: connection timed out",
    ECONNRESET: "read: connection reset by peer",
    EACCES: "connect: permission denied",
};

function dialTcp(e: Endpoint): Promise<Socket> {
    return new Promise((resolve, reject) => {
        const s = connectSocket({ host: e.host, port: e.port });
        const fail = (m: string): void => {
            s.destroy();
            reject(new Error(`dial tcp ${hostPort(e)}: ${m}`));
        };
        const timer = e.perDialTimeout > 0 ? setTimeout(() => fail("i/o timeout"), e.perDialTimeout * 1000) : undefined;
        s.once("connect", () => {
            clearTimeout(timer);
            s.removeAllListeners("error");
            s.setNoDelay(true);
            // Go's dialer has keep-alive on: first probe after 15 s, nine more every 15 s, so a silent host is given up after
            // two and a half minutes. Node.js cannot set the other two: here it is ten probes, one a second, so 25 s.
            s.setKeepAlive(true, 15_000);
            resolve(s);
        });
        s.once("error", (err: NodeJS.ErrnoException) => {
            clearTimeout(timer);
            if (err.code === "ENOTFOUND" || err.code === "EAI_AGAIN")
                fail(
                    `lookup ${e.host}: ${err.code === "ENOTFOUND" ? "no such host" : "Temporary failure in name resolution"}`,
                );
            else fail(ERRNO[err.code ?? ""] ?? err.message);
        });
    });
}

interface Prepared {
    methods: AnyAuthMethod[];
    names: string[];
    hostKey?: Buffer;
    hostKeyType?: string;
}

/** Checks keys and agent before anything is dialled, as the official provider does. */
async function prepare(e: Endpoint): Promise<Prepared> {
    const methods: AnyAuthMethod[] = [{ type: "none", username: e.user }];
    const names = ["none"];
    const out: Prepared = { methods, names };
    if (e.hostKey !== undefined) {
        const [type, data] = e.hostKey.trim().split(/\s+/);
        const key = data ? utils.parseKey(`${type} ${data}`) : new Error("ssh: no key found");
        if (key instanceof Error) throw new SetupError("failed to parse host key: ssh: no key found");
        out.hostKey = key.getPublicSSH();
        out.hostKeyType = key.type;
    }
    if (e.privateKey !== undefined) {
        const key = utils.parseKey(e.privateKey, e.privateKeyPassword);
        if (key instanceof Error) {
            if (/passphrase|encrypted/i.test(key.message) && e.privateKeyPassword === undefined)
                throw new SetupError("ssh: this private key is passphrase protected");
            if (/integrity|decrypt|bad/i.test(key.message) && e.privateKeyPassword !== undefined)
                throw new SetupError("x509: decryption password incorrect");
            throw new SetupError("ssh: no key found");
        }
        methods.push({
            type: "publickey",
            username: e.user,
            key: e.privateKey,
            passphrase: e.privateKeyPassword,
        } as AnyAuthMethod);
        names.push("publickey");
    }
    if (e.password !== undefined) {
        const password = e.password;
        methods.push({ type: "password", username: e.user, password });
        methods.push({
            type: "keyboard-interactive",
            username: e.user,
            prompt: (_n, _i, _l, prompts, finish) => finish(prompts.map(() => password)),
        } as AnyAuthMethod);
        names.push("password", "keyboard-interactive");
    }
    const agent = e.agentSocketPath ?? (process.env.SSH_AUTH_SOCK || undefined);
    if (agent !== undefined) {
        // A stale socket breaks all connections, also those with a key.
        await new Promise<void>((resolve, reject) => {
            const s = connectSocket(agent);
            s.once("connect", () => {
                s.destroy();
                resolve();
            });
            s.once("error", (err: NodeJS.ErrnoException) => {
                const why =
                    err.code === "ENOENT"
                        ? "no such file or directory"
                        : err.code === "ECONNREFUSED"
                          ? "connection refused"
                          : err.message;
                reject(new SetupError(`dial unix ${agent}: connect: ${why}`));
            });
        });
        // Go's client tries each method name once: with a key given, the agent's keys are never offered.
        if (e.privateKey === undefined) {
            methods.push({ type: "agent", username: e.user, agent });
            names.push("publickey");
        }
    }
    return out;
}

function handshake(e: Endpoint, p: Prepared, sock: Duplex): Promise<SshClient> {
    return new Promise((resolve, reject) => {
        const client = new Client();
        const methods = [...p.methods];
        let mismatch = false;
        const attempted: string[] = [];
        const config: ConnectConfig = {
            sock: sock as never,
            username: e.user,
            // No limit after the TCP connection, as in Go's client.
            readyTimeout: 0,
            keepaliveInterval: 0,
            hostVerifier: (key: Buffer): boolean => {
                mismatch = p.hostKey !== undefined && !key.equals(p.hostKey);
                return !mismatch;
            },
            authHandler: ((left: string[] | null, _partial: boolean, next: (m: unknown) => void) => {
                for (;;) {
                    const m = methods.shift();
                    if (!m) return next(false);
                    const name = m.type === "agent" ? "publickey" : m.type;
                    if (name !== "none" && left && !left.includes(name)) continue;
                    if (!attempted.includes(name)) attempted.push(name);
                    return next(m);
                }
            }) as never,
        };
        if (p.hostKeyType)
            config.algorithms = {
                serverHostKey: (p.hostKeyType === "ssh-rsa"
                    ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]
                    : [p.hostKeyType]) as never,
            };
        let settled = false;
        const fail = (m: string): void => {
            if (settled) return;
            settled = true;
            client.destroy();
            sock.destroy();
            reject(new Error(`ssh: handshake failed: ${m}`));
        };
        client.once("ready", () => {
            settled = true;
            // A connection that breaks later ends the session on it; that is where it is told.
            client.on("error", () => undefined);
            resolve(client);
        });
        client.on("error", (err) => {
            if (mismatch) fail("ssh: host key mismatch");
            else if (err.level === "client-authentication")
                fail(
                    `ssh: unable to authenticate, attempted methods [${attempted.join(" ")}], no supported methods remain`,
                );
            else if (/no matching host key format/.test(err.message))
                fail("ssh: no common algorithm for host key; client offered: [" + p.hostKeyType + "]");
            else
                fail(
                    (err as NodeJS.ErrnoException).code === "ECONNRESET"
                        ? "read tcp: connection reset by peer"
                        : err.message,
                );
        });
        client.once("close", () => fail("EOF"));
        client.connect(config);
    });
}

/** Connections stay open until closeAll(), as with the official provider. */
export class SshPool {
    private readonly open = new Set<SshClient>();

    async dial(c: Connection, log: Log): Promise<SshClient> {
        const target = await prepare(c);
        if (!c.proxy) {
            return this.keep(
                await retry("Dial", c.dialErrorLimit, log, async () => handshake(c, target, await dialTcp(c))),
            );
        }
        const p = c.proxy;
        const wrap = (e: unknown): Error => new Error(`proxy: ${(e as Error).message}`);
        try {
            const via = await prepare(p);
            const bastion = this.keep(
                await retry("Dial proxy", p.dialErrorLimit, log, async () => handshake(p, via, await dialTcp(p))),
            );
            const channel = (): Promise<Duplex> =>
                retry(
                    "Dial from proxy",
                    c.dialErrorLimit,
                    log,
                    () =>
                        new Promise<Duplex>((resolve, reject) =>
                            bastion.forwardOut("127.0.0.1", 0, c.host, c.port, (err, ch) =>
                                err ? reject(new Error(`ssh: rejected: connect failed (${err.message})`)) : resolve(ch),
                            ),
                        ),
                );
            return this.keep(
                await retry("Dial", c.dialErrorLimit, log, async () => handshake(c, target, await channel())),
            );
        } catch (e) {
            throw wrap(e);
        }
    }

    private keep(c: SshClient): SshClient {
        this.open.add(c);
        c.once("close", () => this.open.delete(c));
        return c;
    }

    closeAll(): void {
        for (const c of this.open) c.end();
        for (const c of this.open) c.destroy();
        this.open.clear();
    }
}

/**
 * Runs a command. `env` is sent one variable after the other and each is waited for; `onRefused` decides what a refusal
 * means: it throws to give up before the command starts.
 */
export function runCommand(
    client: SshClient,
    command: string,
    stdin: string | undefined,
    env: [string, string][],
    onRefused: (name: string) => void,
    onLine: (line: string) => void,
    logged: { stdout: boolean; stderr: boolean },
): Promise<RunResult & { both: string; error?: string }> {
    return new Promise((resolve, reject) => {
        if (env.length > 0) confirmEnv(client, onRefused, reject);
        client.exec(command, env.length > 0 ? { env: Object.fromEntries(env) } : {}, (err, ch) => {
            if (err) {
                if (err.message !== REFUSED) reject(new Error(`ssh: ${err.message}`));
                return;
            }
            const out: Buffer[] = [];
            const errs: Buffer[] = [];
            const both: Buffer[] = [];
            let pendingLine = "";
            let tooLong = false;
            const line = (b: Buffer): void => {
                pendingLine += b.toString("utf8");
                const lines = pendingLine.split("\n");
                pendingLine = lines.pop()!;
                for (const l of lines) onLine(l.endsWith("\r") ? l.slice(0, -1) : l);
                if (!tooLong && [pendingLine, ...lines].some((l) => Buffer.byteLength(l) >= MAX_LOG_LINE)) {
                    tooLong = true;
                    ch.close();
                    reject(
                        new Error(
                            "the command printed a line of 64 KiB or more while logging is on: the official provider hangs for ever here (set logging to none)",
                        ),
                    );
                }
            };
            let code: number | null | undefined;
            let signal: string | undefined;
            ch.on("data", (b: Buffer) => {
                out.push(b);
                both.push(b);
                if (logged.stdout) line(b);
            });
            ch.stderr.on("data", (b: Buffer) => {
                errs.push(b);
                both.push(b);
                if (logged.stderr) line(b);
            });
            ch.on("exit", (c: number | null, s?: string) => {
                code = c;
                signal = s;
            });
            ch.on("error", () => undefined);
            ch.on("close", () => {
                if (pendingLine) onLine(pendingLine);
                const text = (b: Buffer[]): string => Buffer.concat(b).toString("utf8");
                let error: string | undefined;
                if (signal)
                    error = `Process exited with status ${128 + (SIGNALS[signal.replace(/^SIG/, "")] ?? 0)} from signal ${signal.replace(/^SIG/, "")}`;
                else if (code === undefined || code === null)
                    error = "wait: remote command exited without exit status or exit signal";
                else if (code !== 0) error = `Process exited with status ${code}`;
                resolve({ stdout: text(out), stderr: text(errs), both: text(both), error });
            });
            ch.end(stdin ?? "");
        });
    });
}

const SIGNALS: Record<string, number> = {
    HUP: 1,
    INT: 2,
    QUIT: 3,
    ILL: 4,
    ABRT: 6,
    FPE: 8,
    KILL: 9,
    SEGV: 11,
    PIPE: 13,
    ALRM: 14,
    TERM: 15,
};
const REFUSED = "environment refused";

/**
 * ssh2 sends variables without asking for an answer. Here each is confirmed, and the command is held back until all
 * answers are in. Uses ssh2's protocol object (pinned version); the connection runs this one command only.
 */
function confirmEnv(client: SshClient, onRefused: (name: string) => void, reject: (e: Error) => void): void {
    const c = client as unknown as {
        _protocol: {
            env: (id: number, k: string, v: string, want: boolean) => void;
            exec: (id: number, cmd: string, want: boolean) => void;
        };
        _chanMgr: {
            _channels: Record<
                string,
                { outgoing: { id: number }; _callbacks: ((err?: unknown) => void)[]; close(): void }
            >;
        };
    };
    const { _protocol: protocol } = c;
    const env = protocol.env.bind(protocol);
    const exec = protocol.exec.bind(protocol);
    const channel = (id: number): { _callbacks: ((err?: unknown) => void)[]; close(): void } =>
        Object.values(c._chanMgr._channels).find((ch) => ch?.outgoing?.id === id)!;
    const answers: Promise<void>[] = [];
    protocol.env = (id, k, v) => {
        answers.push(
            new Promise((resolve, rej) =>
                channel(id)._callbacks.push((err) => {
                    if (err) {
                        try {
                            onRefused(k);
                        } catch (e) {
                            return rej(e as Error);
                        }
                    }
                    resolve();
                }),
            ),
        );
        env(id, k, v, true);
    };
    protocol.exec = (id, cmd, want) => {
        Promise.all(answers).then(
            () => exec(id, cmd, want),
            (e: Error) => {
                channel(id).close();
                reject(e);
            },
        );
    };
}

export function openSftp(client: SshClient): Promise<SFTPWrapper> {
    return new Promise((resolve, reject) => client.sftp((err, s) => (err ? reject(err) : resolve(s))));
}

/** An id as the official provider's: eight bytes. */
export function uniqueId(seed: string): string {
    return createHash("sha256").update(seed).digest("hex").slice(0, 16);
}
