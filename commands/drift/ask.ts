/** Asks the hosts of a stack, each in one SSH session, some at a time. */
import { PUBLIC_PATHS, READINESS } from "../../components/model/readiness";
import { KIT_DIR } from "../../components/model/paths";
import { asRoot } from "../../components/remote/login-shell";
import { sideBySide, withSessions } from "../ssh-sessions";
import type { OutsideStack } from "../outside";
import { liveNodes, type ClusterSpec, type NodeSpec } from "../../components/model/cluster";
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

/** What drift.sh is told on a node: the first server looks at what is the cluster's, too. */
export function driftArguments(spec: ClusterSpec, node: NodeSpec): string {
    if (node.name !== spec.firstServer) return "";
    return ` --nodes${READINESS[spec.readiness].cutsPublicRole ? ` --public=${PUBLIC_PATHS.join(",")}` : ""}`;
}

/** The command line on a host: a kit that is not there is drift of the step that brings it. */
export function question(spec: ClusterSpec, node: NodeSpec): string {
    const script = `${KIT_DIR}/drift.sh`;
    return `if test -e ${script}; then ${asRoot(node.ssh)}sh ${script}${driftArguments(spec, node)}; else echo "prepare: ${script} is missing"; fi`;
}

/** Asks all live hosts. */
export async function ask(folder: string, name: string, stack: OutsideStack): Promise<Answer[]> {
    const nodes = liveNodes(stack.spec);
    const answers: Answer[] = [];
    await withSessions(folder, name, stack, (session) =>
        sideBySide(SIDE_BY_SIDE, nodes, async (node) => {
            const { stdout, error } = await session(node, question(stack.spec, node), LIMIT);
            answers.push(error === undefined ? answer(node.name, stdout) : { node: node.name, findings: [], error });
        }),
    );
    return answers.sort((a, b) => (a.node < b.node ? -1 : 1));
}

function answer(node: string, stdout: string): Answer {
    try {
        return { node, findings: parseFindings(node, stdout) };
    } catch (error) {
        return { node, findings: [], error: (error as Error).message };
    }
}
