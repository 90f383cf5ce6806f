/**
 * npm run drill -- --stack NAME [--yes]: stops k3s on one server after the other as planned, for ten seconds each, while every node opens
 * new connections to the API through its own proxy, and prints what they lost. Looks first, changes nothing unless all is well, and asks.
 * Exit code 0: nothing was lost. 2: something was. 1: not begun, or a server did not come back.
 */
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { backendName } from "../../components/model/proxy";
import { scriptText } from "../../components/remote/kit";
import { asRoot } from "../../components/remote/login-shell";
import { sideBySide, withSessions, type Session } from "../ssh-sessions";
import { readOutside } from "../outside";
import { liveNodes, servers, type ClusterSpec, type NodeSpec } from "../../components/model/cluster";
import { obstacles, parseLoss, parseView, type Loss, type View } from "./results";

const FOLDER = join(__dirname, "../..");
const SCRIPT = ["components/scripts/show-stat.sh", "commands/drill/on-host.sh"]
    .map((path) => scriptText(join(FOLDER, path)))
    .join("");
/** Seconds: before the stop, stopped, and in all. */
const [BEFORE, STOPPED, ASKED] = [3, 10, 25];

class Drill {
    private readonly live: readonly NodeSpec[];

    public constructor(
        private readonly spec: ClusterSpec,
        private readonly session: Session,
    ) {
        this.live = liveNodes(spec);
    }

    private run(node: NodeSpec, args: string, seconds: number): ReturnType<Session> {
        return this.session(node, `${asRoot(node.ssh)}sh -s -- ${args}`, seconds * 1000, SCRIPT);
    }

    /** What stands in the way of stopping a server. */
    public async look(): Promise<string[]> {
        const views = new Map<string, View | string>();
        await sideBySide(10, this.live, async (node) => {
            const { stdout, error } = await this.run(node, `look ${backendName(this.spec)}`, 60);
            views.set(node.name, error ?? parseView(stdout));
        });
        return obstacles(this.spec, views);
    }

    /** Stops one server; what each node lost. */
    public async stop(server: NodeSpec): Promise<Map<string, Loss>> {
        const losses = new Map<string, Loss>();
        const asking = this.live.map(async (node) => {
            const { stdout, error } = await this.run(node, `ask ${ASKED} ${this.spec.proxy.port}`, ASKED + 60);
            if (error !== undefined) throw new Error(`${node.name} could not be asked: ${error}`);
            losses.set(node.name, parseLoss(this.spec, stdout));
        });
        await new Promise((resolve) => setTimeout(resolve, BEFORE * 1000));
        const { error } = await this.run(server, `stop ${STOPPED}`, 60);
        const ended = await Promise.allSettled(asking);
        if (error !== undefined) throw new Error(`k3s on ${server.name} could not be stopped: ${error}`);
        for (const end of ended) if (end.status === "rejected") throw end.reason;
        return losses;
    }

    /** Until the cluster is as it was. */
    public async whole(server: NodeSpec): Promise<void> {
        const end = Date.now() + this.spec.timeouts.server * 1000;
        for (;;) {
            const left = await this.look();
            if (left.length === 0) return;
            if (Date.now() > end)
                throw new Error(
                    `after the stop of ${server.name} the cluster is not whole again, and no other server is stopped:\n${list(left)}\nnext: journalctl -u k3s on ${server.name}`,
                );
        }
    }
}

const list = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join("\n");

async function confirmed(question: string, answer: string): Promise<boolean> {
    if (!process.stdin.isTTY) throw new Error("there is no terminal to confirm at; --yes is for those who know");
    const terminal = createInterface({ input: process.stdin, output: process.stdout });
    try {
        return (await terminal.question(question)) === answer;
    } finally {
        terminal.close();
    }
}

async function main(): Promise<number> {
    const { values } = parseArgs({ options: { stack: { type: "string" }, yes: { type: "boolean" } } });
    const name = values.stack;
    if (!name) throw new Error("which stack? npm run drill -- --stack NAME [--yes]");
    const stack = readOutside(FOLDER, name);
    const { spec } = stack;
    return withSessions(FOLDER, name, stack, async (session) => {
        const drill = new Drill(spec, session);
        const all = servers(spec);
        const found = await drill.look();
        if (found.length > 0) throw new Error(`nothing was stopped, since not all is well:\n${list(found)}`);
        console.log(
            `${spec.nodes.length} nodes, all proxies see all servers, all Nodes Ready, all servers etcd voters.\nk3s stops for ${STOPPED} s on each of: ${all.map((n) => n.name).join(", ")}`,
        );
        if (values.yes !== true && !(await confirmed(`Type the stack's name to go on: `, name))) {
            console.log("nothing was stopped");
            return 1;
        }
        let lost = 0;
        for (const server of all) {
            const losses = await drill.stop(server);
            console.log(`\n${server.name} stopped: new connections through each node's own proxy`);
            for (const node of [...losses.keys()].sort()) {
                const { asked, failed, longestGap } = losses.get(node) as Loss;
                lost += failed;
                console.log(`  ${node.padEnd(20)} ${failed} of ${asked} failed, longest gap ${longestGap} ms`);
            }
            await drill.whole(server);
        }
        console.log(`\nwhole again; ${lost === 0 ? "nothing" : `${lost} connections`} lost`);
        return lost === 0 ? 0 : 2;
    });
}

main().then(
    (code) => (process.exitCode = code),
    (error: unknown) => {
        console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
        process.exitCode = 1;
    },
);
