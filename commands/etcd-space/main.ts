/**
 * npm run etcd-space -- --stack NAME: etcd gives back the room of what it has forgotten, and takes writes again where it was full: compact,
 * defragment one server after the other, take the alarm off. Exit code 0: done. 1: stopped. 2: done, and something needs care.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { servers, type NodeSpec } from "../../components/model/cluster";
import { asRoot } from "../../components/remote/login-shell";
import { readOutside } from "../outside";
import { withSessions, type Session } from "../ssh-sessions";
import { care, full, order, parseSpace, told, unfit, type Space } from "./plan";

const FOLDER = join(__dirname, "../..");
const SCRIPT = readFileSync(join(__dirname, "on-host.sh"), "utf8").replaceAll("\r\n", "\n");
/** A whole session, in ms: a defragmentation of 300 s, and 60 s until the server is ready. */
const LIMIT = 400_000;

/** How long the members may take to answer and to have a leader, in ms. */
const PATIENCE = 60_000;

type Task = "status" | "compact" | "defragment" | "disarm";

/** @throws what the host said, with its name */
async function run(session: Session, node: NodeSpec, task: Task): Promise<string> {
    const { stdout, error } = await session(node, `${asRoot(node.ssh)}sh -s -- ${task}`, LIMIT, SCRIPT);
    if (error !== undefined) throw new Error(`${node.name}, ${task}: ${error}`);
    return stdout;
}

/** Again and again until it succeeds or the time is over: while etcd is full, k3s ends and starts again where it leads. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
    for (const end = Date.now() + PATIENCE; ; await new Promise((resolve) => setTimeout(resolve, 2000))) {
        try {
            return await work();
        } catch (error) {
            if (Date.now() >= end) throw error;
        }
    }
}

async function makeRoom(session: Session, nodes: readonly NodeSpec[], say: (line: string) => void): Promise<number> {
    const status = async (): Promise<Space[]> => {
        const spaces: Space[] = [];
        for (const node of nodes) spaces.push(parseSpace(node.name, await run(session, node, "status")));
        return spaces;
    };
    /** All answer and follow a leader: one that is down would be one too many while another one defragments. */
    const fit = async (): Promise<Space[]> => {
        const spaces = await status();
        const weak = unfit(spaces);
        if (weak !== undefined) throw new Error(weak);
        return spaces;
    };
    const onFit = async (node: NodeSpec, task: Task): Promise<void> =>
        patiently(async () => {
            await fit();
            await run(session, node, task);
        });
    const before = await patiently(fit);
    const [first] = nodes as [NodeSpec];
    await onFit(first, "compact");
    say("compacted");
    for (const name of order(before)) {
        await onFit(nodes.find((node) => node.name === name) as NodeSpec, "defragment");
        say(`${name}: defragmented, and ready again`);
    }
    if (full(before)) await onFit(first, "disarm");
    const after = await patiently(status);
    if (full(before) && !full(after)) say("the alarm NOSPACE is off: etcd takes writes again");
    for (const line of [...told(before, after), ...care(after)]) say(line);
    return care(after).length > 0 ? 2 : 0;
}

async function main(): Promise<number> {
    const { values } = parseArgs({ options: { stack: { type: "string" } } });
    const name = values.stack;
    if (!name) throw new Error("which stack? npm run etcd-space -- --stack NAME");
    const stack = readOutside(FOLDER, name);
    if (stack.spec.server.datastore !== "etcd") throw new Error("k3s-ha:server.datastore is sqlite: there is no etcd");
    return withSessions(FOLDER, name, stack, async (session) =>
        makeRoom(session, servers(stack.spec), (line) => console.log(line)),
    );
}

if (require.main === module)
    main().then(
        (code) => (process.exitCode = code),
        (error: unknown) => {
            console.error(
                `error: ${error instanceof Error ? error.message : String(error)}\nNothing else was done. Run it again when that is corrected; what was done stays.`,
            );
            process.exitCode = 1;
        },
    );
