/** Asks the hosts of a stack, each in one SSH session, some at a time. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PUBLIC_PATHS } from "../components/access/public-paths";
import { KIT_DIR } from "../components/remote/kit-dir";
import { knownHostsText, sshArguments, sshConfig } from "../components/remote/ssh-client";
import { pulumi, type OutsideStack } from "../components/spec/outside";
import type { ClusterSpec, NodeSpec } from "../components/spec/spec";
import { parseFindings, type Finding } from "./findings";

/** What one host said, or why it could not be asked. */
export interface Answer {
    readonly node: string;
    readonly findings: readonly Finding[];
    readonly error?: string;
}

/** Sessions at a time. */
const SIDE_BY_SIDE = 10;
/** A whole session, in ms: it hashes the k3s binary twice. */
const LIMIT = 120_000;

/** The command line on a host: a kit that is not there is drift of the step that brings it. */
export function question(spec: ClusterSpec, node: NodeSpec): string {
    const script = `${KIT_DIR}/drift.sh`;
    const role =
        spec.readiness === "anonymous" && node.name === spec.founder ? ` --public=${PUBLIC_PATHS.join(",")}` : "";
    const as = node.ssh.user === "root" ? "" : "sudo -n ";
    return `if test -e ${script}; then ${as}sh ${script}${role}; else echo "prepare: ${script} is missing"; fi`;
}

/** Asks all live hosts. The folder with keys and pinned hosts is private and goes at the end. */
export async function ask(folder: string, name: string, stack: OutsideStack): Promise<Answer[]> {
    const nodes = stack.spec.nodes.filter((n) => !n.lost);
    const dir = mkdtempSync(join(tmpdir(), "k3s-ha-drift-"));
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
        const waiting = [...nodes];
        const answers: Answer[] = [];
        const worker = async (): Promise<void> => {
            for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
                answers.push(
                    await session(node.name, sshArguments(config, node.name, question(stack.spec, node)), env),
                );
            }
        };
        await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
        return answers.sort((a, b) => (a.node < b.node ? -1 : 1));
    } finally {
        rmSync(dir, { recursive: true, force: true });
    }
}

function session(node: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Answer> {
    return new Promise((resolve) => {
        const ssh = spawn("ssh", args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: LIMIT });
        let [out, err] = ["", ""];
        ssh.stdout.on("data", (data: Buffer) => (out += data.toString()));
        ssh.stderr.on("data", (data: Buffer) => (err += data.toString()));
        ssh.on("error", (error) => resolve({ node, findings: [], error: error.message }));
        ssh.on("close", (code, signal) => {
            if (code !== 0) {
                const why = signal === null ? `ended with ${code}` : `no answer within ${LIMIT / 1000} s`;
                return resolve({ node, findings: [], error: err.trim() || `ssh ${why}` });
            }
            try {
                resolve({ node, findings: parseFindings(node, out) });
            } catch (error) {
                resolve({ node, findings: [], error: (error as Error).message });
            }
        });
    });
}
