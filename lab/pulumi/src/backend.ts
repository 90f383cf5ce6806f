/**
 * The official file backend's layout below DIR of `file://DIR`: `.pulumi/meta.yaml`,
 * `.pulumi/stacks/<project>/<stack>.json`, `.pulumi/locks/organization/<project>/<stack>/<uuid>.json`. Files are 0600.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { homedir, hostname, userInfo } from "node:os";
import path from "node:path";
import { CommandError } from "./errors";
import type { Project } from "./project";
import { parse } from "yaml";
import type { Untyped } from "./untyped";

/** Where credentials and the selected stack are kept: PULUMI_HOME, default ~/.pulumi. */
export function pulumiHome(): string {
    return path.resolve(process.env.PULUMI_HOME || path.join(homedir(), ".pulumi"));
}

export function writePrivate(file: string, text: string | Uint8Array): void {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const tmp = `${file}.${process.pid}.tmp`;
    writeFileSync(tmp, text, { mode: 0o600 });
    renameSync(tmp, file);
}

const credentialsFile = (): string => path.join(pulumiHome(), "credentials.json");

export function login(url: string): void {
    checkUrl(url);
    writePrivate(credentialsFile(), JSON.stringify({ current: url, accounts: { [url]: {} } }, null, 4) + "\n");
}

function checkUrl(url: string): string {
    if (!url.startsWith("file://"))
        throw new CommandError(`backend ${JSON.stringify(url)} is not supported by this stand-in: only file://DIR is`);
    const rest = url.slice("file://".length);
    return path.resolve(rest === "~" || rest.startsWith("~/") ? homedir() + rest.slice(1) : rest);
}

/** PULUMI_BACKEND_URL, then Pulumi.yaml's backend.url, then the last login. */
export function openBackend(project: Project | undefined): Backend {
    let url = process.env.PULUMI_BACKEND_URL || project?.backendUrl;
    if (!url && existsSync(credentialsFile())) url = JSON.parse(readFileSync(credentialsFile(), "utf8")).current;
    if (!url)
        throw new CommandError(
            "no backend: set PULUMI_BACKEND_URL to file://DIR or use `pulumi login file://DIR` (this stand-in has no Pulumi Cloud)",
        );
    return new Backend(url, checkUrl(url));
}

export interface StackRef {
    project: string;
    stack: string;
}

export class Backend {
    private readonly root: string;
    private readonly lockId = randomUUID();

    constructor(
        readonly url: string,
        dir: string,
    ) {
        if (!existsSync(dir))
            throw new CommandError(`unable to open bucket ${url}: stat ${dir}: no such file or directory`);
        this.root = path.join(dir, ".pulumi");
        const meta = path.join(this.root, "meta.yaml");
        if (!existsSync(meta)) writePrivate(meta, "version: 1\n");
        else if (parse(readFileSync(meta, "utf8"))?.version !== 1)
            throw new CommandError(`state store unsupported: ${meta} is not of version 1`);
    }

    file(ref: StackRef): string {
        return path.join(this.root, "stacks", ref.project, `${ref.stack}.json`);
    }

    exists(ref: StackRef): boolean {
        return existsSync(this.file(ref));
    }

    list(project?: string): StackRef[] {
        const dir = path.join(this.root, "stacks");
        const out: StackRef[] = [];
        const projects = existsSync(dir) ? readdirSync(dir) : [];
        for (const p of projects.sort()) {
            if (project !== undefined && p !== project) continue;
            for (const f of readdirSync(path.join(dir, p)).sort())
                if (f.endsWith(".json")) out.push({ project: p, stack: f.slice(0, -".json".length) });
        }
        return out;
    }

    /** `latest` of the checkpoint. */
    readLatest(ref: StackRef): Untyped {
        const file = this.file(ref);
        if (!existsSync(file)) throw new CommandError(`no stack named '${ref.stack}' found`, 6);
        let raw: Untyped;
        try {
            raw = JSON.parse(readFileSync(file, "utf8"));
        } catch (e) {
            throw new CommandError(`failed to load checkpoint: ${file}: ${(e as Error).message}`);
        }
        if (raw.version !== 3) throw new CommandError(`failed to load checkpoint: unsupported version ${raw.version}`);
        return raw.checkpoint?.latest ?? {};
    }

    write(ref: StackRef, parts: readonly Buffer[]): void {
        writePrivate(this.file(ref), Buffer.concat(parts));
    }

    async writeAsync(ref: StackRef, parts: readonly Buffer[]): Promise<void> {
        const file = this.file(ref);
        const tmp = `${file}.${process.pid}.tmp`;
        const handle = await open(tmp, "w", 0o600);
        try {
            const { bytesWritten } = await handle.writev(parts);
            const length = parts.reduce((sum, p) => sum + p.length, 0);
            if (bytesWritten !== length) throw new Error(`${tmp}: wrote ${bytesWritten} of ${length} bytes`);
        } finally {
            await handle.close();
        }
        await rename(tmp, file);
    }

    /** Keeps the state from before an operation beside it, as the official backend does. */
    backup(ref: StackRef): void {
        if (this.exists(ref)) writePrivate(`${this.file(ref)}.bak`, readFileSync(this.file(ref)));
    }

    remove(ref: StackRef): void {
        this.backup(ref);
        rmSync(this.file(ref));
    }

    private lockDir(ref: StackRef): string {
        return path.join(this.root, "locks", "organization", ref.project, ref.stack);
    }

    private otherLocks(ref: StackRef): string[] {
        const dir = this.lockDir(ref);
        if (!existsSync(dir)) return [];
        return readdirSync(dir)
            .filter((f) => f.endsWith(".json") && f !== `${this.lockId}.json`)
            .map((f) => path.join(dir, f));
    }

    private checkLock(ref: StackRef): void {
        const files = this.otherLocks(ref);
        const locks: { file: string; l: Untyped }[] = [];
        for (const file of files) {
            try {
                locks.push({ file, l: JSON.parse(readFileSync(file, "utf8")) });
            } catch {
                // gone in the meantime
            }
        }
        if (locks.length === 0) return;
        let m =
            `the stack is currently locked by ${locks.length} lock(s). Either wait for the other process(es) to end ` +
            "or delete the lock file with `pulumi cancel`.";
        for (const { file, l } of locks)
            m += `\n  file://${file}: created by ${l.username}@${l.hostname} (pid ${l.pid}) at ${l.timestamp}`;
        throw new CommandError(m);
    }

    lock(ref: StackRef): void {
        this.checkLock(ref);
        const file = path.join(this.lockDir(ref), `${this.lockId}.json`);
        writePrivate(
            file,
            JSON.stringify({
                pid: process.pid,
                username: userInfo().username,
                hostname: hostname(),
                timestamp: new Date().toISOString(),
            }),
        );
        try {
            this.checkLock(ref);
        } catch (e) {
            this.unlock(ref);
            throw e;
        }
    }

    unlock(ref: StackRef): void {
        rmSync(path.join(this.lockDir(ref), `${this.lockId}.json`), { force: true });
    }

    /** `pulumi cancel`: takes all locks away, whoever holds them. */
    removeLocks(ref: StackRef): void {
        for (const f of this.otherLocks(ref)) rmSync(f, { force: true });
    }

    /** `stack`, `project/stack` or `organization/project/stack`. */
    parse(name: string, project: Project | undefined): StackRef {
        const parts = name.split("/");
        const stack = parts.at(-1)!;
        if (parts.length === 3 && parts[0] !== "organization")
            throw new CommandError("organization name must be 'organization'");
        if (parts.length > 3) throw new CommandError(`could not parse stack reference '${name}'`);
        const p = parts.length > 1 ? parts.at(-2)! : project?.name;
        if (!/^[A-Za-z0-9_.-]{1,100}$/.test(stack))
            throw new CommandError(
                `invalid stack name: a stack name may only contain alphanumeric, hyphens, underscores, or periods: ${JSON.stringify(stack)}`,
            );
        if (!p)
            throw new CommandError(
                "if you're using the --stack flag, pass the fully qualified name (organization/project/stack)",
            );
        return { project: p, stack };
    }
}

function workspaceFile(project: Project): string {
    const file = ["Pulumi.yaml", "Pulumi.yml"].map((f) => path.join(project.root, f)).find((f) => existsSync(f))!;
    return path.join(
        pulumiHome(),
        "workspaces",
        `${project.name}-${createHash("sha1").update(file).digest("hex")}-workspace.json`,
    );
}

export function selectedStack(project: Project): string | undefined {
    const f = workspaceFile(project);
    return existsSync(f) ? JSON.parse(readFileSync(f, "utf8")).stack || undefined : undefined;
}

export function selectStack(project: Project, ref: StackRef | undefined): void {
    writePrivate(
        workspaceFile(project),
        JSON.stringify(ref ? { stack: `organization/${ref.project}/${ref.stack}` } : {}),
    );
}
