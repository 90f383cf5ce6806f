/** Runs functions of what runs on a node, with files in a folder of the run, in moments that a running lab seldom has. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { kitFolder } from "./kit-folder";

export interface Run {
    readonly code: number | null;
    readonly text: string;
}

export type Shell = (commands: string, files?: Readonly<Record<string, string>>) => Promise<Run>;

async function run(source: string, commands: string, files: Readonly<Record<string, string>> = {}): Promise<Run> {
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-step-"));
    for (const [path, text] of Object.entries({ "work/manifest": "", "etc/config.yaml": "", ...files })) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), text);
    }
    // One pipe, so that the order of messages and results is that of the script.
    const script = `exec 2>&1; KIT=${kitFolder()}; . $KIT/lib.sh
ROLE=server UNIT=k3s-ha-test-of-a-step.service
. $KIT/k3s-lib.sh; . $KIT/snapshot-lib.sh; . $KIT/promote.sh
${source}
WORK=${folder}/work STATE=${folder} SECRETS=${folder}/secrets DATA=${folder}/data CONF=${folder}/etc MEMBERSHIP=${folder}/etc/membership
STARTED=${folder}/started NODE=master-1 BIN=/bin/true UNIT=k3s-ha-test-of-a-step.service
# Waiting is no part of these tests.
wait_for() { shift; "$@"; }
systemctl() { :; }
${commands}`;
    const child = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "pipe"], timeout: 20_000 });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    rmSync(folder, { recursive: true });
    return { code, text };
}

/**
 * Runs commands with the libraries of the k3s steps. `files` lie in the run's folder: work/ is $WORK, secrets/ $SECRETS, data/ $DATA,
 * etc/ $CONF, etc/membership $MEMBERSHIP, the folder itself $STATE.
 */
export const shell: Shell = (commands, files) => run("", commands, files);

/** The same with the functions of a script, which does nothing when it is sourced. */
export const stepShell =
    (name: string): Shell =>
    (commands, files) =>
        run(`. $KIT/${name}`, commands, files);
