/** A project in a folder of its own, worked on through bin/pulumi, with the SDKs of the repository's root. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const PULUMI = path.resolve(__dirname, "../bin/pulumi");
const MODULES = path.resolve(__dirname, "../../../node_modules");

export interface Result {
    code: number | null;
    stdout: string;
    stderr: string;
    /** Both, for messages that may be on either. */
    all: string;
}

export class Workspace {
    readonly dir = mkdtempSync(path.join(tmpdir(), "pulumi-cli-"));
    readonly env: NodeJS.ProcessEnv;

    constructor(
        program: string,
        readonly config = "",
        tsx = false,
    ) {
        symlinkSync(MODULES, path.join(this.dir, "node_modules"));
        mkdirSync(path.join(this.dir, "state"));
        const options = tsx ? '{ typescript: false, nodeargs: "--import tsx" }' : "{ typescript: false }";
        this.write("Pulumi.yaml", `name: proj\nruntime:\n  name: nodejs\n  options: ${options}\n${config}`);
        this.write("package.json", JSON.stringify({ name: "proj", main: tsx ? "index.ts" : "index.js" }));
        this.program(program, tsx);
        const inherited = Object.entries(process.env).filter(
            ([k]) => !["PULUMI_STACK", "SSH_AUTH_SOCK", "CI"].includes(k),
        );
        this.env = {
            ...Object.fromEntries(inherited),
            PULUMI_BACKEND_URL: `file://${this.dir}/state`,
            PULUMI_CONFIG_PASSPHRASE: "test",
            PULUMI_HOME: path.join(this.dir, "home"),
        };
    }

    program(text: string, tsx = false): void {
        this.write(tsx ? "index.ts" : "index.js", text);
    }
    write(file: string, text: string): void {
        writeFileSync(path.join(this.dir, file), text);
    }
    read(file: string): string {
        return readFileSync(path.join(this.dir, file), "utf8");
    }
    state(stack = "dev"): string {
        return this.read(`state/.pulumi/stacks/proj/${stack}.json`);
    }

    start(args: string[], env: NodeJS.ProcessEnv = {}): { child: ChildProcess; done: Promise<Result> } {
        const child = spawn(PULUMI, args, {
            cwd: this.dir,
            env: { ...this.env, ...env },
            stdio: ["pipe", "pipe", "pipe"],
        });
        const r: Result = { code: null, stdout: "", stderr: "", all: "" };
        child.stdout!.setEncoding("utf8").on("data", (t: string) => ((r.stdout += t), (r.all += t)));
        child.stderr!.setEncoding("utf8").on("data", (t: string) => ((r.stderr += t), (r.all += t)));
        const done = new Promise<Result>((resolve) => child.on("close", (code) => resolve(Object.assign(r, { code }))));
        return { child, done };
    }

    async run(args: string[], o: { env?: NodeJS.ProcessEnv; input?: string } = {}): Promise<Result> {
        const { child, done } = this.start(args, o.env);
        child.stdin!.end(o.input ?? "");
        return done;
    }

    /** Must succeed. */
    async ok(...args: string[]): Promise<Result> {
        const r = await this.run(args);
        if (r.code !== 0) throw new Error(`pulumi ${args.join(" ")} failed (${r.code}):\n${r.all}`);
        return r;
    }

    remove(): void {
        rmSync(this.dir, { recursive: true, force: true });
    }
}
