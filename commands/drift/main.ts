/**
 * npm run drift -- --stack NAME [--json] [--mark]: what differs on the hosts from what the stack's steps left there.
 * Exit code 0: nothing. 2: something. 1: a host could not be asked, or the settings are wrong.
 * --mark: the steps that left what has changed are run again by the next `pulumi up`, and no others.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pulumi, readOutside } from "../outside";
import { ask } from "./ask";
import type { Finding } from "./findings";
import { mark, type Deployment } from "./mark";

const FOLDER = join(__dirname, "../..");

async function main(): Promise<number> {
    const { values } = parseArgs({
        options: { stack: { type: "string" }, json: { type: "boolean" }, mark: { type: "boolean" } },
    });
    const name = values.stack;
    if (!name) throw new Error("which stack? npm run drift -- --stack NAME [--json] [--mark]");
    const stack = readOutside(FOLDER, name);
    for (const warning of stack.warnings) console.error(`warning: ${warning}`);
    const answers = await ask(FOLDER, name, stack);
    const findings = answers.flatMap((a) => a.findings);
    const errors = answers.flatMap((a) => (a.error === undefined ? [] : [{ node: a.node, error: a.error }]));
    if (values.json === true) console.log(JSON.stringify({ stack: name, findings, errors }, null, 2));
    else show(findings, answers.length - errors.length);
    for (const { node, error } of errors) console.error(`${node} could not be asked: ${error}`);
    if (values.mark === true && findings.length > 0) markState(name, stack.spec.cluster, findings);
    if (errors.length > 0) return 1;
    return findings.length > 0 ? 2 : 0;
}

function show(findings: readonly Finding[], hosts: number): void {
    const widest = (of: (f: Finding) => string): number => Math.max(0, ...findings.map((f) => of(f).length));
    const [node, step] = [widest((f) => f.node), widest((f) => f.step)];
    for (const f of findings) console.log(`${f.node.padEnd(node)}  ${f.step.padEnd(step)}  ${f.what}`);
    if (findings.length === 0) console.log(`no drift on ${hosts} host${hosts === 1 ? "" : "s"}`);
}

/** The state as the backend has it, secrets encrypted, is kept in a file until the marked one is in its place. */
function markState(stack: string, cluster: string, findings: readonly Finding[]): void {
    const text = pulumi(FOLDER, ["stack", "export", "--stack", stack]);
    const result = mark(JSON.parse(text) as Deployment, findings, cluster);
    if (result.marked.length > 0) {
        const dir = mkdtempSync(join(tmpdir(), `k3s-ha-drift-${stack}-`));
        const backup = join(dir, "state.json");
        writeFileSync(backup, text, { mode: 0o600 });
        try {
            pulumi(FOLDER, ["stack", "import", "--stack", stack], JSON.stringify(result.deployment));
        } catch (error) {
            console.error(
                `the state could not be marked; as it was: ${backup} (pulumi stack import --stack ${stack} --file ${backup})`,
            );
            throw error;
        }
        rmSync(dir, { recursive: true });
    }
    for (const what of result.marked) console.error(`marked: ${what}`);
    for (const what of result.unknown) console.error(`not in the state, so the next up makes it: ${what}`);
    console.error(`next: pulumi preview --diff --stack ${stack}, then pulumi up`);
}

main().then(
    (code) => (process.exitCode = code),
    (error: unknown) => {
        console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
        process.exitCode = 1;
    },
);
