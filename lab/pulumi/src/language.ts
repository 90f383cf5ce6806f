/** Runs the program as the official nodejs language host does: `node <nodeargs> .../cmd/run --monitor ... .`. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { CommandError } from "./errors";
import type { Project } from "./project";

/** The exit code of a program whose error was logged already. */
export const LOGGED_FAILURE = 32;

export interface RunOptions {
    project: Project;
    stack: string;
    preview: boolean;
    parallel: number;
    monitor: string;
    config: Record<string, string>;
    secretKeys: string[];
    onOutput: (stream: "stdout" | "stderr", text: string) => void;
}

/** Words of a shell-like text: quotes and backslashes as in a shell, nothing else. */
export function splitWords(text: string): string[] {
    const out: string[] = [];
    let cur: string | undefined;
    let quote = "";
    for (let i = 0; i < text.length; i++) {
        const c = text[i]!;
        if (quote) {
            if (c === quote) quote = "";
            else if (c === "\\" && quote === '"') cur += text[++i] ?? "";
            else cur += c;
        } else if (c === "'" || c === '"') {
            quote = c;
            cur ??= "";
        } else if (c === "\\") cur = (cur ?? "") + (text[++i] ?? "");
        else if (/\s/.test(c)) {
            if (cur !== undefined) out.push(cur);
            cur = undefined;
        } else cur = (cur ?? "") + c;
    }
    if (quote) throw new CommandError("nodeargs: unbalanced quote");
    if (cur !== undefined) out.push(cur);
    return out;
}

export interface Running {
    child: ChildProcess;
    exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export function startProgram(o: RunOptions): Running {
    const { project } = o;
    let run: string;
    try {
        run = createRequire(path.join(project.programDir, "index.js")).resolve("@pulumi/pulumi/cmd/run");
    } catch {
        throw new CommandError(
            "It looks like the Pulumi SDK has not been installed. Have you run npm install or yarn install?",
        );
    }
    const tsconfig = path.join(project.programDir, "tsconfig.json");
    const args = [
        ...splitWords(project.nodeArgs),
        run,
        ...["--monitor", o.monitor, "--engine", o.monitor],
        ...["--organization", "organization", "--project", project.name, "--root-directory", project.root],
        ...["--stack", o.stack, "--pwd", project.programDir],
        ...(o.preview ? ["--dry-run"] : []),
        ...["--parallel", String(o.parallel), "."],
    ];
    const env: NodeJS.ProcessEnv = {
        ...process.env,
        PULUMI_CONFIG: JSON.stringify(o.config),
        PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(o.secretKeys),
    };
    if (project.typescript) env.PULUMI_NODEJS_TYPESCRIPT = "true";
    if (existsSync(tsconfig)) env.PULUMI_NODEJS_TSCONFIG_PATH = tsconfig;
    const child = spawn(process.execPath, args, { cwd: project.programDir, env, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout!.setEncoding("utf8").on("data", (t: string) => o.onOutput("stdout", t));
    child.stderr!.setEncoding("utf8").on("data", (t: string) => o.onOutput("stderr", t));
    const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", (code, signal) => resolve({ code, signal }));
    });
    return { child, exited };
}
