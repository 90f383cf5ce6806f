/** SSH sessions on the hosts of a stack for commands that run outside of Pulumi. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pulumi, type OutsideStack } from "./outside";
import { liveNodes, type NodeSpec } from "../components/model/cluster";
import { START_FILES, inMarkedShell, markedOutput } from "../components/remote/login-shell";
import { knownHostsText, sshArguments, sshConfig } from "./ssh-client";

/** How a session ended: what was printed, or why there is nothing. */
export interface SessionResult {
    readonly stdout: string;
    /** Set when ssh or the command failed, or the time was over. */
    readonly error?: string;
}

/** Runs a script of sh on a node, whatever the login shell is, `input` on its stdin, for `limit` ms at most. */
export type Session = (node: NodeSpec, command: string, limit: number, input?: string) => Promise<SessionResult>;

/**
 * Calls `use` with sessions that log in as the stack does. Keys and pinned hosts lie in a private folder that goes at the end.
 * `folder` is the project's, `name` the stack's.
 */
export async function withSessions<T>(
    folder: string,
    name: string,
    stack: OutsideStack,
    use: (session: Session) => Promise<T>,
): Promise<T> {
    const nodes = liveNodes(stack.spec);
    const dir = mkdtempSync(join(tmpdir(), "k3s-ha-ssh-"));
    try {
        const write = (file: string, text: string, mode = 0o600): string => {
            writeFileSync(join(dir, file), text, { mode });
            return join(dir, file);
        };
        const secret = (key: string): string => pulumi(folder, ["config", "get", key, "--stack", name]);
        const key = stack.secret.has("sshPrivateKey")
            ? write("key", `${secret("sshPrivateKey").trimEnd()}\n`)
            : stack.privateKeyFile;
        const passphrase = stack.secret.has("sshPrivateKeyPassword");
        const env = { ...process.env };
        if (passphrase) {
            write("passphrase", `${secret("sshPrivateKeyPassword").replace(/\n$/, "")}\n`);
            env["SSH_ASKPASS"] = write("askpass", '#!/bin/sh\ncat "${0%/*}/passphrase"\n', 0o700);
            env["SSH_ASKPASS_REQUIRE"] = "force";
        }
        const knownHosts = write("known_hosts", knownHostsText(nodes));
        const config = write("config", sshConfig(nodes, { knownHosts, key, passphrase }));
        return await use((node, command, limit, input) =>
            session(sshArguments(config, node.name, inMarkedShell(command)), env, limit, input ?? ""),
        );
    } finally {
        rmSync(dir, { recursive: true, force: true });
    }
}

/** Does `work` for every item, `count` at a time. */
export async function sideBySide<T>(
    count: number,
    items: readonly T[],
    work: (item: T) => Promise<void>,
): Promise<void> {
    const waiting = [...items];
    const worker = async (): Promise<void> => {
        for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
    };
    await Promise.all(Array.from({ length: count }, worker));
}

function session(
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    limit: number,
    input: string,
): Promise<SessionResult> {
    return new Promise((resolve) => {
        const ssh = spawn("ssh", args, { env, stdio: ["pipe", "pipe", "pipe"], timeout: limit });
        let [stdout, err] = ["", ""];
        ssh.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
        ssh.stderr.on("data", (data: Buffer) => (err += data.toString()));
        // A session that ends before it has read everything says so by its status.
        ssh.stdin.on("error", () => undefined);
        ssh.stdin.end(input);
        ssh.on("error", (error) => resolve({ stdout: "", error: error.message }));
        ssh.on("close", (code, signal) => {
            const printed = markedOutput(stdout);
            if (code === 0)
                return resolve(printed === undefined ? { stdout, error: START_FILES } : { stdout: printed });
            const why = signal === null ? `ended with ${code}` : `no answer within ${limit / 1000} s`;
            return resolve({ stdout, error: err.trim() || `ssh ${why}` });
        });
    });
}
