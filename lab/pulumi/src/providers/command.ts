/**
 * The package `command` 1.2.1: remote.Command, remote.CopyToRemote and local.Command. Any changed input runs the
 * command again; `triggers` replaces.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createReadStream, readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { SFTPWrapper } from "ssh2";
import { notSupported } from "../errors";
import { goQuote } from "../gotext";
import {
    Archive,
    Asset,
    Computed,
    containsUnknowns,
    detailedDiff,
    diffMaps,
    isObject,
    makeSecret,
    type PropertyMap,
    Secret,
    unwrapSecrets,
    type Value,
} from "../values";
import {
    type CheckResult,
    diffOf,
    type DiffResult,
    type Log,
    noDiff,
    type PackageDefinition,
    type Provider,
    type Request,
} from "./provider";
import { type Connection, openSftp, runCommand, SshPool } from "./ssh";
import type { Untyped } from "../untyped";

const REMOTE = "command:remote:Command";
const COPY = "command:remote:CopyToRemote";
const LOCAL = "command:local:Command";

type Kind = "string" | "bool" | "number" | "integer" | "strings" | "array" | "object" | "asset" | "logging";
interface Field {
    kind: Kind;
    required?: boolean;
    fields?: Fields;
}
type Fields = Record<string, Field>;

const ENDPOINT: Fields = {
    user: { kind: "string" },
    password: { kind: "string" },
    host: { kind: "string", required: true },
    port: { kind: "number" },
    privateKey: { kind: "string" },
    privateKeyPassword: { kind: "string" },
    agentSocketPath: { kind: "string" },
    dialErrorLimit: { kind: "integer" },
    perDialTimeout: { kind: "integer" },
    hostKey: { kind: "string" },
};
const CONNECTION: Fields = { ...ENDPOINT, proxy: { kind: "object", fields: ENDPOINT } };
const ENDPOINT_DEFAULTS: PropertyMap = { user: "root", port: 22, dialErrorLimit: 10, perDialTimeout: 15 };
const RUN: Fields = {
    triggers: { kind: "array" },
    create: { kind: "string" },
    update: { kind: "string" },
    delete: { kind: "string" },
    stdin: { kind: "string" },
    logging: { kind: "logging" },
    environment: { kind: "strings" },
    addPreviousOutputInEnv: { kind: "bool" },
};
const TYPES: Record<string, Fields> = {
    [REMOTE]: { ...RUN, connection: { kind: "object", required: true, fields: CONNECTION } },
    [COPY]: {
        connection: { kind: "object", required: true, fields: CONNECTION },
        triggers: { kind: "array" },
        source: { kind: "asset", required: true },
        remotePath: { kind: "string", required: true },
    },
    [LOCAL]: { ...RUN, interpreter: { kind: "array" }, dir: { kind: "string" } },
};

export function commandPackage(root: string): PackageDefinition {
    return {
        checkConfig: (inputs) => ({ inputs, failures: [] }),
        diffConfig: (olds, news) => {
            const d = diffMaps(olds, news);
            return d
                ? { ...noDiff, changes: true, changedKeys: Object.keys({ ...d.adds, ...d.deletes, ...d.updates }) }
                : noDiff;
        },
        configure: () => new CommandProvider(root),
    };
}

function fieldsOf(type: string): Fields {
    const f = TYPES[type];
    if (!f) throw notSupported(`resource type ${type}`);
    return f;
}

class CommandProvider implements Provider {
    private readonly pool = new SshPool();

    constructor(private readonly root: string) {}

    check(r: Request, _olds: PropertyMap | undefined, news: PropertyMap): CheckResult {
        const failures: CheckResult["failures"] = [];
        const fields = fieldsOf(r.type);
        checkFields(news, fields, "", failures);
        if (r.type === LOCAL)
            for (const k of ["archivePaths", "assetPaths"])
                if (news[k] !== undefined) throw notSupported(`${k} of ${LOCAL}`);
        const inputs: PropertyMap = Object.fromEntries(
            Object.entries(news).filter(([k, v]) => v !== null && k !== "version"),
        );
        if (inputs.connection !== undefined) inputs.connection = makeSecret(withDefaults(inputs.connection));
        return { inputs, failures };
    }

    diff(
        r: Request,
        _id: string,
        oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        newInputs: PropertyMap,
        ignore: readonly string[],
    ): DiffResult {
        fieldsOf(r.type);
        const news = { ...newInputs };
        for (const k of ignore) if (k in oldOutputs) news[k] = oldOutputs[k]!;
        const d = diffMaps(oldInputs, news, (k) => k === "version" || k.startsWith("__"));
        return diffOf(detailedDiff(d), (p) => /^triggers(\[|$)/.test(p));
    }

    async create(r: Request, inputs: PropertyMap): Promise<{ id: string; outputs: PropertyMap }> {
        const id = r.type === COPY ? randomBytes(8).toString("hex") : r.name + randomBytes(4).toString("hex");
        if (r.preview) return { id: "", outputs: previewOutputs(r, inputs) };
        if (r.type === COPY) return { id, outputs: await this.copy(r, inputs) };
        const script = text(inputs.create);
        return {
            id,
            outputs:
                script === undefined ? { ...inputs, stdout: "", stderr: "" } : await this.run(r, script, inputs, {}),
        };
    }

    async update(
        r: Request,
        _id: string,
        oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        inputs: PropertyMap,
    ): Promise<PropertyMap> {
        if (r.preview) return previewOutputs(r, inputs);
        if (r.type === COPY) {
            const same = ["source", "remotePath"].every(
                (k) => !diffMaps({ v: oldInputs[k] ?? null }, { v: inputs[k] ?? null }),
            );
            return same ? { ...inputs } : this.copy(r, inputs);
        }
        const script = text(inputs.update) ?? text(inputs.create);
        if (script === undefined)
            return { ...inputs, stdout: oldOutputs.stdout ?? "", stderr: oldOutputs.stderr ?? "" };
        return this.run(r, script, inputs, oldOutputs);
    }

    async delete(r: Request, _id: string, _inputs: PropertyMap, outputs: PropertyMap): Promise<void> {
        fieldsOf(r.type);
        const script = r.type === COPY ? undefined : text(outputs.delete);
        if (script !== undefined) await this.run(r, script, outputs, outputs);
    }

    /** Hosts are not asked: drift is not seen. */
    async read(
        _r: Request,
        id: string,
        inputs: PropertyMap,
        outputs: PropertyMap,
    ): Promise<{ id: string; inputs: PropertyMap; outputs: PropertyMap }> {
        return { id, inputs, outputs };
    }

    async invoke(token: string): Promise<PropertyMap> {
        throw notSupported(`function ${token}`);
    }

    close(): void {
        this.pool.closeAll();
    }

    private async run(r: Request, script: string, inputs: PropertyMap, previous: PropertyMap): Promise<PropertyMap> {
        const logging = text(inputs.logging);
        const logged = {
            stdout: logging === undefined || logging === "stdout" || logging === "stdoutAndStderr",
            stderr: logging === undefined || logging === "stderr" || logging === "stdoutAndStderr",
        };
        const env: [string, string][] = [];
        const wanted =
            inputs.environment === undefined ? {} : (unwrapSecrets(inputs.environment) as Record<string, string>);
        for (const [k, v] of Object.entries(wanted)) env.push([k, v]);
        if (unwrapSecrets(inputs.addPreviousOutputInEnv ?? true) !== false) {
            const out = text(previous.stdout);
            const err = text(previous.stderr);
            if (out) env.push(["PULUMI_COMMAND_STDOUT", out]);
            if (err) env.push(["PULUMI_COMMAND_STDERR", err]);
        }
        const onLine = (l: string): void => r.log("info", l, true);
        const result =
            r.type === LOCAL
                ? await this.runLocal(script, inputs, env, logged, onLine)
                : await this.runRemote(r, script, inputs, env, wanted, logged, onLine);
        if (result.error) throw new Error(`${result.error}: running ${goQuote(script)}:\n${result.both}`);
        const trim = (s: string): string => (s.endsWith("\n") ? s.slice(0, -1) : s);
        return { ...inputs, stdout: trim(result.stdout), stderr: trim(result.stderr) };
    }

    private async runRemote(
        r: Request,
        script: string,
        inputs: PropertyMap,
        env: [string, string][],
        wanted: Record<string, string>,
        logged: { stdout: boolean; stderr: boolean },
        onLine: (l: string) => void,
    ): Promise<RunOutcome> {
        const client = await this.pool.dial(connectionOf(inputs), r.log);
        const refused = (name: string): void => {
            const message =
                `Unable to set '${name}'. This only works if your SSH server is configured to accept\n` +
                "\tthese variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, you could\n" +
                "\tprefix the command itself with the variables in the form 'VAR=value command'";
            r.log(name in wanted ? "error" : "warning", message);
            if (name in wanted)
                throw new Error(`could not set environment variable ${goQuote(name)}: ssh: setenv failed`);
        };
        return runCommand(client, script, text(inputs.stdin), env, refused, onLine, logged);
    }

    private runLocal(
        script: string,
        inputs: PropertyMap,
        env: [string, string][],
        logged: { stdout: boolean; stderr: boolean },
        onLine: (l: string) => void,
    ): Promise<RunOutcome> {
        const interpreter = (inputs.interpreter === undefined ? undefined : unwrapSecrets(inputs.interpreter)) as
            string[] | undefined;
        const [cmd, ...args] = interpreter?.length ? interpreter : ["/bin/sh", "-c"];
        return new Promise((resolve, reject) => {
            const child = spawn(cmd!, [...args, script], {
                cwd: path.resolve(this.root, text(inputs.dir) ?? "."),
                env: { ...process.env, ...Object.fromEntries(env) },
                stdio: ["pipe", "pipe", "pipe"],
            });
            const out: Buffer[] = [];
            const err: Buffer[] = [];
            const both: Buffer[] = [];
            let rest = "";
            const take = (into: Buffer[], log: boolean) => (b: Buffer) => {
                into.push(b);
                both.push(b);
                if (!log) return;
                const lines = (rest + b.toString("utf8")).split("\n");
                rest = lines.pop()!;
                lines.forEach(onLine);
            };
            child.stdout.on("data", take(out, logged.stdout));
            child.stderr.on("data", take(err, logged.stderr));
            child.on("error", (e: NodeJS.ErrnoException) =>
                reject(
                    new Error(
                        `${e.code === "ENOENT" ? `exec: ${goQuote(cmd!)}: executable file not found in $PATH` : e.message}: running ${goQuote(script)}:\n`,
                    ),
                ),
            );
            child.stdin.on("error", () => undefined);
            child.stdin.end(text(inputs.stdin) ?? "");
            child.on("close", (code, signal) => {
                if (rest) onLine(rest);
                const t = (b: Buffer[]): string => Buffer.concat(b).toString("utf8");
                const error = signal
                    ? `signal: ${signal.replace(/^SIG/, "").toLowerCase()}`
                    : code !== 0
                      ? `exit status ${code}`
                      : undefined;
                resolve({ stdout: t(out), stderr: t(err), both: t(both), error });
            });
        });
    }

    private async copy(r: Request, inputs: PropertyMap): Promise<PropertyMap> {
        const client = await this.pool.dial(connectionOf(inputs), r.log);
        const sftp = await openSftp(client);
        try {
            const source = unwrapSecrets(inputs.source!);
            const dest = text(inputs.remotePath)!;
            if (source instanceof Asset && source.content.text !== undefined)
                await copyText(sftp, source.content.text, dest);
            else if ((source instanceof Asset || source instanceof Archive) && source.content.path !== undefined)
                await copyPath(
                    sftp,
                    path.resolve(this.root, source.content.path),
                    source.content.path.endsWith("/"),
                    dest,
                );
            else throw notSupported("an archive of assets as the source of CopyToRemote");
        } finally {
            sftp.end();
            client.end();
        }
        return { ...inputs };
    }
}

interface RunOutcome {
    stdout: string;
    stderr: string;
    both: string;
    error?: string;
}

/** What is not an input is known only after the run. */
function previewOutputs(r: Request, inputs: PropertyMap): PropertyMap {
    fieldsOf(r.type);
    return r.type === COPY ? { ...inputs } : { ...inputs, stdout: Computed.value, stderr: Computed.value };
}

function text(v: Value | undefined): string | undefined {
    const u = v === undefined ? undefined : unwrapSecrets(v);
    return typeof u === "string" ? u : undefined;
}

function connectionOf(inputs: PropertyMap): Connection {
    const c = unwrapSecrets(inputs.connection!) as Record<string, Untyped>;
    const clean = (o: Record<string, Untyped>): Untyped =>
        Object.fromEntries(Object.entries({ ...ENDPOINT_DEFAULTS, ...o }).filter(([, v]) => v !== null));
    const { proxy, ...rest } = c;
    return { ...clean(rest), ...(proxy ? { proxy: clean(proxy) } : {}) };
}

function withDefaults(v: Value): Value {
    if (v instanceof Secret) return new Secret(withDefaults(v.element));
    if (!isObject(v)) return v;
    const out: PropertyMap = { ...ENDPOINT_DEFAULTS };
    for (const [k, e] of Object.entries(v)) if (e !== null) out[k] = k === "proxy" && isObject(e) ? withDefaults(e) : e;
    return out;
}

function checkFields(v: PropertyMap, fields: Fields, at: string, failures: CheckResult["failures"]): void {
    for (const [k, f] of Object.entries(fields)) {
        const p = at ? `${at}.${k}` : k;
        const raw = v[k];
        if (raw === undefined || raw === null) {
            if (f.required) failures.push({ property: p, reason: `Missing required field '${k}'` });
            continue;
        }
        const e = raw instanceof Secret ? raw.element : raw;
        if (e instanceof Computed) continue;
        const wrong = (want: string): unknown =>
            failures.push({ property: p, reason: `Field '${k}' must be a ${want}` });
        if ((f.kind === "string" || f.kind === "logging") && typeof e !== "string") wrong("string");
        else if (f.kind === "logging" && !["stdout", "stderr", "stdoutAndStderr", "none"].includes(e as string))
            wrong("logging mode");
        else if (f.kind === "bool" && typeof e !== "boolean") wrong("bool");
        else if (f.kind === "number" && typeof e !== "number") wrong("number");
        else if (f.kind === "integer" && !Number.isInteger(e)) wrong("whole number");
        else if (f.kind === "array" && !Array.isArray(e)) wrong("list");
        else if (f.kind === "asset" && !(e instanceof Asset) && !(e instanceof Archive)) wrong("asset or archive");
        else if (
            f.kind === "strings" &&
            !(isObject(e) && Object.values(e).every((x) => typeof unwrapSecrets(x) === "string" || containsUnknowns(x)))
        )
            wrong("map of strings");
        else if (f.kind === "object") {
            if (!isObject(e)) wrong("map");
            else if (f.fields) checkFields(e, f.fields, p, failures);
        }
    }
    for (const k of Object.keys(v))
        if (!(k in fields) && k !== "version" && k !== "archivePaths" && k !== "assetPaths")
            failures.push({ property: at ? `${at}.${k}` : k, reason: `Unrecognized field '${k}'` });
}

/* ---------- CopyToRemote: by SFTP as the login user, in place ---------- */

function stat(sftp: SFTPWrapper, p: string): Promise<"dir" | "file" | undefined> {
    return new Promise((resolve, reject) =>
        sftp.stat(p, (err, s) => {
            if (!err) resolve(s.isDirectory() ? "dir" : "file");
            else if ((err as { code?: unknown }).code === 2) resolve(undefined);
            else reject(new Error(`failed to stat remote path ${p}: ${err.message}`));
        }),
    );
}

async function mkdirAll(sftp: SFTPWrapper, p: string): Promise<void> {
    if ((await stat(sftp, p)) === "dir") return;
    if (path.posix.dirname(p) !== p) await mkdirAll(sftp, path.posix.dirname(p));
    await new Promise<void>((resolve, reject) =>
        sftp.mkdir(p, (err) =>
            err ? reject(new Error(`failed to create remote directory ${p}: ${err.message}`)) : resolve(),
        ),
    );
}

function writeStream(sftp: SFTPWrapper, dest: string, from: NodeJS.ReadableStream | string): Promise<void> {
    return new Promise((resolve, reject) => {
        const w = sftp.createWriteStream(dest);
        w.on("error", (e: Error) => reject(new Error(`failed to create remote file ${dest}: ${e.message}`)));
        w.on("close", () => resolve());
        if (typeof from === "string") w.end(from);
        else from.on("error", reject).pipe(w);
    });
}

async function copyText(sftp: SFTPWrapper, content: string, dest: string): Promise<void> {
    if ((await stat(sftp, dest)) === "dir")
        throw new Error(`remote path ${dest} is a directory; when using a text asset, remotePath must be a file path`);
    await mkdirAll(sftp, path.posix.dirname(dest));
    await writeStream(sftp, dest, content);
}

async function copyPath(sftp: SFTPWrapper, source: string, contentsOnly: boolean, dest: string): Promise<void> {
    const there = await stat(sftp, dest);
    if (!statSync(source).isDirectory()) {
        let to = dest;
        if (there === "dir") to = path.posix.join(dest, path.basename(source));
        else if (there === undefined) await mkdirAll(sftp, path.posix.dirname(dest));
        await writeStream(sftp, to, createReadStream(source));
        return;
    }
    if (there === undefined) await mkdirAll(sftp, dest);
    let to = dest;
    if (!contentsOnly) {
        to = path.posix.join(dest, path.basename(source));
        if ((await stat(sftp, to)) === "file") throw new Error(`remote path ${to} exists but is not a directory`);
    }
    await copyDir(sftp, source, to);
}

async function copyDir(sftp: SFTPWrapper, source: string, dest: string): Promise<void> {
    await mkdirAll(sftp, dest);
    for (const e of readdirSync(source, { withFileTypes: true })) {
        const from = path.join(source, e.name);
        const to = path.posix.join(dest, e.name);
        if (e.isDirectory()) await copyDir(sftp, from, to);
        else await writeStream(sftp, to, createReadStream(from));
    }
}

export type { Log };
