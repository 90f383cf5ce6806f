/** stack and config commands. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Backend, openBackend, selectedStack, selectStack, type StackRef } from "./backend";
import type { Parsed } from "./cli";
import { isInteractive, ask } from "./terminal";
import { CommandError } from "./errors";
import { Crypter, readPassphrase } from "./passphrase";
import {
    applyProjectConfig,
    configKey,
    loadProject,
    type Project,
    splitConfigPath,
    type StackConfig,
    StackFile,
} from "./project";
import { exportDeployment, readDeployment, type Snapshot, SnapshotWriter } from "./state";
import { displayType, isRootStack, urnName } from "./urn";
import { type PropertyMap, Secret, toDisplayJSON, type Value } from "./values";
import type { Untyped } from "./untyped";

/** A stack with all that is needed to work on it. */
export interface Opened {
    project: Project;
    backend: Backend;
    ref: StackRef;
    file: StackFile;
    crypter: () => Promise<Crypter>;
}

export function stackFilePath(project: Project, stack: string, configFile?: string): string {
    return configFile ? path.resolve(configFile) : path.join(project.stackConfigDir, `Pulumi.${stack}.yaml`);
}

/** --stack, then PULUMI_STACK, then the selected one. */
export function openStack(p: Parsed, name = p.string("stack"), mustExist = true): Opened {
    const project = loadProject(process.cwd());
    const backend = openBackend(project);
    const chosen = name || process.env.PULUMI_STACK || selectedStack(project);
    if (!chosen)
        throw new CommandError(
            "no stack selected; please use `pulumi stack select` or `pulumi stack init` to choose one",
            6,
        );
    const ref = backend.parse(chosen, project);
    if (mustExist && !backend.exists(ref)) throw new CommandError(`no stack named '${ref.stack}' found`, 6);
    if (ref.project !== project.name)
        throw new CommandError(`provided project name "${ref.project}" doesn't match Pulumi.yaml (${project.name})`);
    const file = new StackFile(
        stackFilePath(project, ref.stack, p.has("config-file") ? p.string("config-file") : undefined),
    );
    return { project, backend, ref, file, crypter: lazyCrypter(backend, ref, file) };
}

/** The salt of the stack file, else of the state; else a new one, which is put into the stack file. */
function lazyCrypter(backend: Backend, ref: StackRef, file: StackFile): () => Promise<Crypter> {
    let made: Promise<Crypter> | undefined;
    return () =>
        (made ??= (async () => {
            const salt =
                file.salt ??
                (backend.exists(ref)
                    ? readDeployment({ ...backend.readLatest(ref), resources: [], pending_operations: [] }, undefined)
                          .salt
                    : undefined);
            const phrase = readPassphrase();
            const c = salt ? await Crypter.open(phrase, salt) : await Crypter.create(phrase);
            if (!file.salt) {
                file.salt = c.salt;
                file.save();
            }
            return c;
        })());
}

export async function readConfig(s: Opened, check: boolean): Promise<StackConfig> {
    const config = await s.file.read(s.project.name, s.crypter);
    try {
        applyProjectConfig(s.project, s.ref.stack, config, check);
    } catch (e) {
        if (e instanceof CommandError && check) throw new CommandError(`validating stack config: ${e.message}`);
        throw e;
    }
    return config;
}

async function loadSnapshot(s: Opened): Promise<Snapshot> {
    return readDeployment(s.backend.readLatest(s.ref), await s.crypter());
}

const out = (s: string): void => void process.stdout.write(s);

function table(header: string[], rows: string[][]): void {
    const widths = header.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i]!.length)));
    for (const r of [header, ...rows])
        out(
            `${r
                .map((c, i) => c.padEnd(widths[i]!))
                .join("  ")
                .trimEnd()}\n`,
        );
}

/* ---------- stack ---------- */

export async function stackInit(p: Parsed): Promise<void> {
    if (p.args.length > 0 && p.string("stack"))
        throw new CommandError("only one of --stack or argument stack name may be specified, not both");
    const name = p.args[0] ?? p.string("stack");
    if (!name) throw new CommandError("missing stack name");
    const provider = p.string("secrets-provider");
    if (provider !== undefined && provider !== "default" && provider !== "passphrase")
        throw new CommandError(`unknown secrets provider type '${provider}' (supported value: passphrase)`, 2);
    const s = openStack(p, name, false);
    if (s.backend.exists(s.ref)) throw new CommandError(`stack '${s.ref.stack}' already exists`);
    const crypter = await s.crypter();
    s.backend.write(
        s.ref,
        new SnapshotWriter(crypter).checkpoint(`organization/${s.ref.project}/${s.ref.stack}`, {
            resources: [],
            pendingOperations: [],
        }),
    );
    if (!p.bool("no-select")) selectStack(s.project, s.ref);
    out("Created stack '" + s.ref.stack + "'\n");
}

export async function stackSelect(p: Parsed): Promise<void> {
    if (p.args.length > 0 && p.string("stack"))
        throw new CommandError("only one of --stack or argument stack name may be specified, not both");
    const name = p.args[0] ?? p.string("stack");
    if (!name) throw new CommandError("no stack selected; specify a stack name with --stack", 6);
    const s = openStack(p, name, false);
    if (!s.backend.exists(s.ref)) {
        if (!p.bool("create")) throw new CommandError(`no stack named '${s.ref.stack}' found`, 6);
        const crypter = await s.crypter();
        s.backend.write(
            s.ref,
            new SnapshotWriter(crypter).checkpoint(`organization/${s.ref.project}/${s.ref.stack}`, {
                resources: [],
                pendingOperations: [],
            }),
        );
        out(`Created stack '${s.ref.stack}'\n`);
    }
    selectStack(s.project, s.ref);
}

export async function stackUnselect(): Promise<void> {
    const project = loadProject(process.cwd());
    selectStack(project, undefined);
    out("Stack was unselected\n");
}

export async function stackList(p: Parsed): Promise<void> {
    let project: Project | undefined;
    try {
        project = loadProject(process.cwd());
    } catch (e) {
        if (!p.bool("all")) throw e;
    }
    const backend = openBackend(project);
    const current = project && (process.env.PULUMI_STACK || selectedStack(project));
    const currentRef = current && project ? backend.parse(current, project) : undefined;
    const rows = backend.list(p.bool("all") ? undefined : project!.name).map((r) => {
        const latest = backend.readLatest(r);
        return {
            name: r.project === project?.name ? r.stack : `organization/${r.project}/${r.stack}`,
            current: r.stack === currentRef?.stack && r.project === currentRef.project,
            count: (latest.resources ?? []).length as number,
            time: latest.resources ? (latest.manifest?.time as string | undefined) : undefined,
        };
    });
    if (p.bool("json"))
        return out(
            `${JSON.stringify(
                rows.map((r) => ({
                    name: r.name,
                    current: r.current,
                    lastUpdate: r.time,
                    updateInProgress: false,
                    resourceCount: r.count,
                })),
                null,
                2,
            )}\n`,
        );
    table(
        ["NAME", "LAST UPDATE", "RESOURCE COUNT"],
        rows.map((r) => [r.name + (r.current ? "*" : ""), r.time ?? "n/a", r.time ? String(r.count) : "n/a"]),
    );
}

export async function stackShow(p: Parsed): Promise<void> {
    const s = openStack(p);
    if (p.bool("show-name")) return out(`${s.ref.stack}\n`);
    const snap = await loadSnapshot(s);
    out(`Current stack is ${s.ref.stack}:\n    Managed by ${s.backend.url}\n`);
    const live = snap.resources.filter((r) => !r.delete);
    if (live.length === 0) out("    No updates yet; run `pulumi up`\n");
    out(`Current stack resources (${live.length}):\n`);
    if (live.length === 0) out("    No resources currently in this stack\n");
    else
        table(
            ["    TYPE", "NAME"],
            live.map((r) => ["    " + displayType(r.type), p.bool("show-urns") ? r.urn : urnName(r.urn)]),
        );
    out("\n");
    printOutputs(rootOutputs(snap, p.bool("show-secrets")));
    out("\nUse `pulumi stack select` to change stack; `pulumi stack ls` lists known ones\n");
}

function rootOutputs(snap: Snapshot, showSecrets: boolean): Record<string, unknown> {
    const root = snap.resources.find((r) => isRootStack(r.urn) && !r.delete);
    const outputs: PropertyMap = root?.outputs ?? {};
    return toDisplayJSON(outputs as Value, (s: Secret) => (showSecrets ? s : "[secret]"));
}

const asText = (v: unknown): string => (typeof v === "string" ? v : JSON.stringify(v));

function printOutputs(outputs: Record<string, unknown>): void {
    const keys = Object.keys(outputs).sort();
    out(`Current stack outputs (${keys.length}):\n`);
    if (keys.length === 0) return out("    No output values currently in this stack\n");
    table(
        ["    OUTPUT", "VALUE"],
        keys.map((k) => ["    " + k, asText(outputs[k])]),
    );
}

export async function stackOutput(p: Parsed): Promise<void> {
    if (p.bool("json") && p.bool("shell")) throw new CommandError("only one of --json and --shell may be set");
    const s = openStack(p);
    const outputs = rootOutputs(await loadSnapshot(s), p.bool("show-secrets"));
    const quote = (t: string): string => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(t) ? t : `'${t.replaceAll("'", `'\\''`)}'`);
    const name = p.args[0];
    if (name !== undefined) {
        if (!(name in outputs)) throw new CommandError(`current stack does not have output property '${name}'`);
        const v = outputs[name];
        if (p.bool("json")) out(`${JSON.stringify(v, null, 2)}\n`);
        else if (p.bool("shell")) out(`${name}=${quote(asText(v))}\n`);
        else out(`${asText(v)}\n`);
    } else if (p.bool("json")) out(`${JSON.stringify(outputs, null, 2)}\n`);
    else if (p.bool("shell")) for (const k of Object.keys(outputs).sort()) out(`${k}=${quote(asText(outputs[k]))}\n`);
    else printOutputs(outputs);
}

export async function stackExport(p: Parsed): Promise<void> {
    const s = openStack(p);
    const crypter = await s.crypter();
    const text = `${JSON.stringify(exportDeployment(await loadSnapshot(s), crypter, p.bool("show-secrets")), null, 4)}\n`;
    const file = p.string("file");
    if (file) writeFileSync(file, text, { mode: 0o600 });
    else out(text);
}

export async function stackImport(p: Parsed): Promise<void> {
    const s = openStack(p);
    const file = p.string("file");
    let raw: Untyped;
    try {
        raw = JSON.parse(readFileSync(file ?? 0, "utf8"));
    } catch (e) {
        throw new CommandError(`could not import deployment: ${(e as Error).message}`);
    }
    if (raw.version !== 3) throw new CommandError(`could not import deployment: unsupported version ${raw.version}`);
    const crypter = await s.crypter();
    // Secrets may be encrypted under another salt than the stack's.
    const salt: string | undefined = raw.deployment?.secrets_providers?.state?.salt;
    const reader = salt && salt !== crypter.salt ? await Crypter.open(readPassphrase(), salt) : crypter;
    const snap = readDeployment(raw.deployment, reader);
    const prefix = `urn:pulumi:${s.ref.stack}::${s.ref.project}::`;
    const foreign = snap.resources.find((r) => !r.urn.startsWith(prefix));
    if (foreign && !p.bool("force"))
        throw new CommandError(
            `resource '${foreign.urn}' is not of stack ${s.ref.stack}\nimporting this file could be dangerous; rerun with --force to proceed anyway`,
        );
    if (snap.pendingOperations.length > 0 && !p.bool("force")) snap.pendingOperations = [];
    s.backend.lock(s.ref);
    try {
        s.backend.backup(s.ref);
        s.backend.write(
            s.ref,
            new SnapshotWriter(crypter).checkpoint(`organization/${s.ref.project}/${s.ref.stack}`, snap),
        );
    } finally {
        s.backend.unlock(s.ref);
    }
    out("Import complete.\n");
}

export async function stackRemove(p: Parsed): Promise<void> {
    if (p.args.length > 0 && p.string("stack"))
        throw new CommandError("only one of --stack or argument stack name may be specified, not both");
    const s = openStack(p, p.args[0] ?? p.string("stack"));
    if (!p.bool("yes")) {
        if (!isInteractive(p)) throw new CommandError("non-interactive mode requires --yes flag", 2);
        const answer = await ask(
            `This will permanently remove the '${s.ref.stack}' stack!\nPlease confirm that this is what you'd like to do by typing \`${s.ref.stack}\`: `,
        );
        if (answer !== s.ref.stack) throw new CommandError("confirmation declined", 8);
    }
    s.backend.lock(s.ref);
    try {
        const resources: Untyped[] = s.backend.readLatest(s.ref).resources ?? [];
        if (resources.length > 0 && !p.bool("force"))
            throw new CommandError(
                `'${s.ref.stack}' still has resources; removal rejected. Possible actions:\n` +
                    `- Make sure that '${s.ref.stack}' is the stack that you want to destroy\n` +
                    "- Run `pulumi destroy` to delete the resources, then run `pulumi stack rm`\n" +
                    "- Run `pulumi stack rm --force` to override this error",
            );
        s.backend.remove(s.ref);
    } finally {
        s.backend.unlock(s.ref);
    }
    if (!p.bool("preserve-config")) rmSync(stackFilePath(s.project, s.ref.stack), { force: true });
    const current = selectedStack(s.project);
    if (current && s.backend.parse(current, s.project).stack === s.ref.stack) selectStack(s.project, undefined);
    out(`Stack '${s.ref.stack}' has been removed!\n`);
}

/* ---------- config ---------- */

export async function configList(p: Parsed): Promise<void> {
    const s = openStack(p);
    const show = p.bool("show-secrets");
    const config = await readConfig(s, false);
    const short = (k: string): string => (k.startsWith(`${s.project.name}:`) ? k.slice(s.project.name.length + 1) : k);
    const keys = [...config.keys()].sort();
    if (p.bool("json")) {
        const all: Record<string, unknown> = {};
        for (const k of keys) {
            const v = config.get(k)!;
            const visible = !v.secret || show;
            all[k] = {
                ...(visible ? { value: v.text } : {}),
                ...(visible && v.object ? { objectValue: JSON.parse(v.text) } : {}),
                secret: v.secret,
            };
        }
        return out(`${JSON.stringify(all, null, 2)}\n`);
    }
    table(
        ["KEY", "VALUE"],
        keys.map((k) => [short(k), config.get(k)!.secret && !show ? "[secret]" : config.get(k)!.text]),
    );
}

export async function configGet(p: Parsed): Promise<void> {
    const s = openStack(p);
    const { key, below } = p.bool("path")
        ? splitConfigPath(s.project.name, p.args[0]!)
        : { key: configKey(s.project.name, p.args[0]!), below: [] };
    const v = (await readConfig(s, false)).get(key);
    let text = v?.text;
    let object: unknown = v?.object ? JSON.parse(v.text) : undefined;
    if (v && below.length > 0) {
        let at: Untyped = object;
        for (const part of below) at = typeof at === "object" && at !== null ? at[part] : undefined;
        object = typeof at === "object" ? at : undefined;
        text = at === undefined ? undefined : typeof at === "string" ? at : JSON.stringify(at);
    }
    if (text === undefined)
        throw new CommandError(`configuration key '${p.args[0]}' not found for stack '${s.ref.stack}'`);
    if (p.bool("json"))
        return out(
            `${JSON.stringify({ value: text, ...(object !== undefined ? { objectValue: object } : {}), secret: v!.secret }, null, 2)}\n`,
        );
    out(`${text}\n`);
}

export async function configSet(p: Parsed): Promise<void> {
    const s = openStack(p);
    const { key, below } = p.bool("path")
        ? splitConfigPath(s.project.name, p.args[0]!)
        : { key: configKey(s.project.name, p.args[0]!), below: [] };
    if (p.bool("secret") && p.bool("plaintext"))
        throw new CommandError("only one of --secret and --plaintext may be given");
    let value = p.args[1];
    if (value === undefined) {
        if (process.stdin.isTTY) throw new CommandError("no value given: pass it as an argument or on standard input");
        value = readFileSync(0, "utf8").replace(/\r?\n$/, "");
    }
    const declared = s.project.config[key] ?? s.project.config[key.replace(`${s.project.name}:`, "")];
    const secret = p.bool("secret") || (declared?.secret === true && !p.bool("plaintext"));
    s.file.set(key, below, value, secret ? (await s.crypter()).encrypt(value) : undefined);
    s.file.save();
}

export async function configRemove(p: Parsed): Promise<void> {
    const s = openStack(p);
    const { key, below } = p.bool("path")
        ? splitConfigPath(s.project.name, p.args[0]!)
        : { key: configKey(s.project.name, p.args[0]!), below: [] };
    s.file.remove(key, below);
    s.file.save();
}
