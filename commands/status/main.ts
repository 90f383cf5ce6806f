/**
 * npm run status -- --stack NAME [--json] [--html FILE] [--watch [--every SECONDS]]: how the cluster is, asked of every host in one SSH session, ten at a
 * time. Changes nothing. Exit code 0: well. 2: something needs care. 1: nobody could be asked, or the settings are wrong.
 */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs, styleText } from "node:util";
import { liveNodes, type ClusterSpec, type NodeSpec } from "../../components/model/cluster";
import { backendName } from "../../components/model/proxy";
import { scriptText } from "../../components/remote/kit";
import { asRoot } from "../../components/remote/login-shell";
import { driftArguments } from "../drift/ask";
import { readOutside } from "../outside";
import { sideBySide, withSessions, type Session } from "../ssh-sessions";
import { parseHostStatus } from "./host-status";
import { findings, type Answer, type Answers, type Finding } from "./findings";
import { page } from "./html";
import { table, type Paint } from "./table";

const FOLDER = join(__dirname, "../..");
const SCRIPT = ["components/scripts/show-stat.sh", "commands/status/on-host.sh"]
    .map((path) => scriptText(join(FOLDER, path)))
    .join("");
/** Sessions at a time. */
const SIDE_BY_SIDE = 10;
/** A whole session, in ms: drift.sh hashes the k3s binary twice. */
const LIMIT = 120_000;

const paint: Paint = (text, colour) => (process.stdout.isTTY ? styleText(colour, text) : text);

/** The command line on a host. */
export function question(spec: ClusterSpec, node: NodeSpec): string {
    const first = node.name === spec.firstServer ? "yes" : "no";
    return `${asRoot(node.ssh)}sh -s -- ${node.role} ${backendName(spec)} ${first}${driftArguments(spec, node)}`;
}

async function ask(spec: ClusterSpec, session: Session): Promise<Answers> {
    const answers = new Map<string, Answer>();
    await sideBySide(SIDE_BY_SIDE, liveNodes(spec), async (node) => {
        const { stdout, error } = await session(node, question(spec, node), LIMIT, SCRIPT);
        answers.set(node.name, error === undefined ? read(stdout) : { error });
    });
    return answers;
}

function read(stdout: string): Answer {
    try {
        return parseHostStatus(stdout);
    } catch (error) {
        return { error: (error as Error).message };
    }
}

/** What --json prints; docs/operations.md#status describes it. */
export function asJson(
    stack: string,
    spec: ClusterSpec,
    answers: Answers,
    found: readonly Finding[],
    now: Date,
): object {
    return {
        stack,
        cluster: spec.cluster,
        version: spec.version,
        time: now.toISOString(),
        nodes: liveNodes(spec).map(({ name, role, address }) => ({ name, role, address, ...answers.get(name) })),
        findings: found,
    };
}

/** As a whole: a browser that reloads it never reads half of it. */
function writePage(file: string, html: string): void {
    writeFileSync(`${file}.new`, html);
    renameSync(`${file}.new`, file);
}

const exitCode = (answers: Answers, found: readonly Finding[]): number =>
    [...answers.values()].every((answer) => "error" in answer) ? 1 : found.length > 0 ? 2 : 0;

async function main(): Promise<number> {
    const { values } = parseArgs({
        options: {
            stack: { type: "string" },
            json: { type: "boolean" },
            html: { type: "string" },
            watch: { type: "boolean" },
            every: { type: "string", default: "10" },
        },
    });
    const name = values.stack;
    if (!name)
        throw new Error(
            "which stack? npm run status -- --stack NAME [--json] [--html FILE] [--watch [--every SECONDS]]",
        );
    const every = Number(values.every);
    if (!(every >= 1)) throw new Error(`--every: ${values.every} must be a number of seconds, 1 or more`);
    const stack = readOutside(FOLDER, name);
    const { spec } = stack;
    return withSessions(FOLDER, name, stack, async (session) => {
        for (;;) {
            const answers = await ask(spec, session);
            const now = new Date();
            const found = findings(spec, answers, name, now);
            const text =
                values.json === true
                    ? JSON.stringify(asJson(name, spec, answers, found, now))
                    : table(spec, answers, found, now, paint).join("\n");
            if (values.html !== undefined) writePage(values.html, page(spec, answers, found, now));
            if (values.watch !== true) {
                console.log(text);
                return exitCode(answers, found);
            }
            if (process.stdout.isTTY && values.json !== true) process.stdout.write("\u001b[2J\u001b[H");
            console.log(values.json === true ? text : `${now.toISOString()}  ${text}\n`);
            await new Promise((resolve) => setTimeout(resolve, every * 1000));
        }
    });
}

if (require.main === module)
    main().then(
        (code) => (process.exitCode = code),
        (error: unknown) => {
            console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
            process.exitCode = 1;
        },
    );
