/** A stack of three servers and two agents that the engine has made on hosts which answer at once and do nothing. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { Hosts, privateKey } from "../bench/hosts";
import type { Case, Kept } from "./review-cases";
import { ROOT, engineEnvironment, stageEngine } from "./engine";

/** What pulumi printed, and its exit code. */
export interface Run {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
}

type Settings = Readonly<Record<string, unknown>>;

/** The stack; {@link ReviewStack.end} removes it. */
export class ReviewStack {
    private constructor(
        private readonly folder: string,
        private readonly hosts: Hosts,
        private readonly name: string,
    ) {}

    /** Makes it with these settings beside the usual ones. */
    public static async make(name: string, settings: Settings = {}): Promise<ReviewStack> {
        const folder = mkdtempSync(join(tmpdir(), "k3s-ha-review-"));
        stageEngine(folder);
        writeFileSync(join(folder, "key"), privateKey("ed25519"), { mode: 0o600 });
        const stack = new ReviewStack(folder, await Hosts.start(), name);
        await stack.pulumi(["stack", "init", name]);
        await stack.up(settings);
        return stack;
    }

    public async up(settings: Settings): Promise<void> {
        const run = await this.pulumi(["up", "--yes", "--skip-preview"], settings);
        if (run.code !== 0)
            throw new Error(`pulumi up ended with ${run.code}: ${run.stderr}${run.stdout.slice(-4000)}`);
    }

    /** `pulumi preview --json` with these settings. */
    public async preview(settings: Settings): Promise<Run> {
        return await this.pulumi(["preview", "--json", "--show-sames"], settings);
    }

    /** The same for a case; the state is edited where an older program left it. */
    public async previewOf(of: Case): Promise<Run> {
        if (of.isNew) {
            const stack = `${this.name}-new`;
            await this.pulumi(["stack", "init", stack]);
            return await this.pulumi([
                "preview",
                "--json",
                "--show-sames",
                "--stack",
                stack,
                "--config-file",
                this.file({}),
            ]);
        }
        if (of.older) {
            const now = await this.state();
            const old = JSON.parse(now) as { deployment: { resources: Kept[] } };
            old.deployment.resources.forEach(of.older);
            await this.replaceState(JSON.stringify(old));
            const run = await this.preview({});
            await this.replaceState(now);
            return run;
        }
        const settings = of.settings?.(this) ?? {};
        if (of.secret === undefined) return await this.preview(settings);
        const file = ["--config-file", this.file(settings), "--stack", this.name];
        const set = await this.pulumi(["config", "set", "--secret", "--path", ...of.secret, ...file]);
        if (set.code !== 0) throw new Error(`pulumi config set ended with ${set.code}: ${set.stderr}`);
        return await this.pulumi(["preview", "--json", "--show-sames", ...file]);
    }

    private async state(): Promise<string> {
        return (await this.pulumi(["stack", "export", "--stack", this.name])).stdout;
    }

    private async replaceState(text: string): Promise<void> {
        const file = join(this.folder, "state.json");
        writeFileSync(file, text);
        const run = await this.pulumi(["stack", "import", "--stack", this.name, "--file", file]);
        if (run.code !== 0) throw new Error(`pulumi stack import ended with ${run.code}: ${run.stderr}`);
    }

    /** What of a text is this run's own: port, key, folder. */
    public settled(text: string): string {
        return text
            .replaceAll(this.folder, "/folder")
            .replaceAll(this.hosts.hostKey, "ssh-ed25519 KEY")
            .replace(new RegExp(`\\b${this.hosts.port}\\b`, "g"), "2222");
    }

    /** Makes a case's settings those of the stack file in the project's folder, which the engine takes when no other is named. */
    public use(of: Case): void {
        const text = readFileSync(this.file(of.settings?.(this) ?? {}), "utf8");
        const file = join(ROOT, `Pulumi.${this.name}.yaml`);
        const salt = /^encryptionsalt: .*\n/m.exec(readFileSync(file, "utf8"))?.[0] ?? "";
        writeFileSync(file, salt + text);
    }

    /** Environment in which `npm run review` sees the stack. */
    public get environment(): NodeJS.ProcessEnv {
        return { ...engineEnvironment(this.folder), SSH_AUTH_SOCK: undefined };
    }

    /** The stack file with these settings. */
    public file(settings: Settings): string {
        const file = join(this.folder, `Pulumi.${this.name}.yaml`);
        const all = Object.entries({ ...this.usual(), ...settings }).map(([key, value]) => [`k3s-ha:${key}`, value]);
        writeFileSync(file, stringify({ config: Object.fromEntries(all) }));
        return file;
    }

    public end(): void {
        this.hosts.stop();
        rmSync(this.folder, { recursive: true, force: true });
        for (const stack of [this.name, `${this.name}-new`])
            rmSync(join(ROOT, `Pulumi.${stack}.yaml`), { force: true });
    }

    /** A node on the hosts. */
    public node(name: string, role: string, address: string, more: Settings = {}): Settings {
        return {
            name,
            role,
            address,
            ssh: { host: "127.0.0.1", port: this.hosts.port, hostKey: this.hosts.hostKey },
            ...more,
        };
    }

    /** Three servers, two agents. */
    public get nodes(): Settings[] {
        return [
            ...[1, 2, 3].map((n) => this.node(`server-${n}`, "server", `10.8.0.1${n}`)),
            ...[1, 2].map((n) => this.node(`agent-${n}`, "agent", `10.8.0.2${n}`)),
        ];
    }

    private usual(): Settings {
        return {
            cluster: "prod",
            version: "v1.36.2+k3s1",
            nodes: this.nodes,
            ssh: { privateKeyFile: join(this.folder, "key") },
            publicInfoViewer: { via: "ssh" },
        };
    }

    private pulumi(args: readonly string[], settings?: Settings): Promise<Run> {
        const config = settings === undefined ? [] : ["--stack", this.name, "--config-file", this.file(settings)];
        const child = spawn("pulumi", [...args, ...config, "--non-interactive"], {
            cwd: ROOT,
            env: this.environment,
            stdio: ["ignore", "pipe", "pipe"],
        });
        let [stdout, stderr] = ["", ""];
        child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
        child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
        return new Promise((resolve) => child.on("close", (code) => resolve({ code: code ?? 1, stdout, stderr })));
    }
}
