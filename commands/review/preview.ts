/** What `pulumi preview --json` prints, as the changes of this program's steps. Without secrets from here on. Pure. */
import { nameOfUrn } from "../urn";
import { CLUSTER_STEPS, NODE_STEPS } from "../../components/model/steps";
import { masked } from "./masked";

export type Inputs = Readonly<Record<string, unknown>>;

/** What is done with a resource. */
export type Operation = "create" | "update" | "replace" | "delete";

/** One resource that changes. */
export interface Change {
    readonly op: Operation;
    /** The resource's name and type. */
    readonly name: string;
    readonly type: string;
    /** Of a step: its name, and the node or cluster that it is of. */
    readonly step?: string;
    readonly owner: string;
    /** Names of the inputs that differ; empty where the resource comes or goes. */
    readonly changed: readonly string[];
    readonly before: Inputs;
    readonly after: Inputs;
    /** Nothing is done on the host when the resource goes. */
    readonly retained: boolean;
}

/** A node, as the description in the state has it. */
export interface ReviewNode {
    readonly name: string;
    readonly role: string;
    readonly lost: boolean;
}

/** A message of the engine's or the program's. */
export interface Diagnostic {
    readonly severity: string;
    readonly about: string;
    readonly message: string;
}

/** A preview that can be reviewed. */
export interface Preview {
    readonly changes: readonly Change[];
    /** Live nodes as they will be: the first server, the other servers, the agents. */
    readonly nodes: readonly ReviewNode[];
    /** True where there is no cluster yet. */
    readonly isNew: boolean;
    readonly diagnostics: readonly Diagnostic[];
    /** The stack's settings, those that are not secret. */
    readonly config: Inputs;
    readonly failed: boolean;
}

const STEPS: readonly string[] = [...NODE_STEPS, ...CLUSTER_STEPS];
/** prune-manifests ends like manifests. */
const LONGEST_FIRST = [...STEPS].sort((a, b) => b.length - a.length);

const record = (value: unknown): Inputs =>
    value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Inputs) : {};
const list = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const texts = (value: unknown): string[] => list(value).filter((item) => typeof item === "string");

/** The type without those of its parents. */
const typeOf = (urn: string): string => (urn.includes("::") ? (urn.split("::").at(-2) ?? "").replace(/^.*\$/, "") : "");

/** Owner and step by the name; only commands are steps, and the role that is set over the API. */
function stepOf(name: string, type: string): { step?: string; owner: string } {
    if (!/^command:remote:|ClusterRolePatch$/.test(type)) return { owner: name };
    const step = LONGEST_FIRST.find((s) => name.endsWith(`-${s}`) && name.length > s.length + 1);
    return step === undefined ? { owner: name } : { step, owner: name.slice(0, -step.length - 1) };
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
    create: "create",
    import: "create",
    update: "update",
    delete: "delete",
    replace: "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "import-replacement": "replace",
};

/** The steps of one resource as one change. */
function changeOf(urn: string, steps: readonly Inputs[]): Change | undefined {
    const ops = steps.map((step) => OPERATIONS[text(step["op"])]).filter((op) => op !== undefined);
    if (ops.length === 0) return undefined;
    const op = ops.includes("replace") ? "replace" : (ops.at(-1) as Operation);
    const state = (key: string): Inputs =>
        record(
            steps
                .map((step) => step[key])
                .filter(Boolean)
                .at(-1),
        );
    const [old, now] = [state("oldState"), state("newState")];
    const reasons = steps.flatMap((step) => [
        ...texts(step["diffReasons"]),
        ...texts(step["replaceReasons"]),
        ...(op === "update" || op === "replace" ? Object.keys(record(step["detailedDiff"])) : []),
    ]);
    const [name, type] = [nameOfUrn(urn), typeOf(urn)];
    return {
        op,
        name,
        type,
        ...stepOf(name, type),
        changed: [...new Set(reasons.map((reason) => reason.replace(/[.[].*$/s, "")))].sort(),
        before: record(old["inputs"]),
        after: op === "delete" ? {} : record(now["inputs"]),
        retained: old["retainOnDelete"] === true || now["retainOnDelete"] === true,
    };
}

/** By the description that the program keeps in the state. */
function nodesOf(description: Inputs): ReviewNode[] {
    const first = text(description["founder"]);
    const nodes = Object.entries(record(description["nodes"])).map(([name, node]): ReviewNode => {
        if (typeof node === "string") return { name, role: node.split(" ")[0] ?? "", lost: node.endsWith(" lost") };
        return { name, role: text(record(node)["role"]), lost: record(node)["lost"] === true };
    });
    const rank = (node: ReviewNode): number => (node.role !== "server" ? 2 : node.name === first ? 0 : 1);
    return nodes
        .filter(({ lost }) => !lost)
        .sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** By the stack file, where the preview does not show what stays the same. */
function nodesOfConfig(config: Inputs): ReviewNode[] {
    const nodes = list(parsed(config["k3s-ha:nodes"])).map(record);
    const live = nodes.filter((node) => node["lost"] !== true);
    const servers = live.filter((node) => node["role"] === "server");
    const first = servers.find((node) => !Number(node["rebuilt"] ?? 0)) ?? servers[0];
    const described = live.map((node) => [text(node["name"]), { role: node["role"] }] as const);
    return nodesOf({ founder: first?.["name"], nodes: Object.fromEntries(described) });
}

/** A setting that is no text is JSON. */
function parsed(value: unknown): unknown {
    try {
        return JSON.parse(text(value));
    } catch {
        return undefined;
    }
}

/** Agents that restart at a time. */
export function agentsAtATime({ config }: Preview): number {
    const agents = Number(record(parsed(config["k3s-ha:rollout"]))["agents"] ?? 3);
    return Number.isInteger(agents) && agents > 0 ? agents : 3;
}

/** Colours are marks in angle brackets to the engine. */
const plain = (message: string): string => message.replace(/<\{%[a-z]*%\}>/g, "").trim();

/** The messages, those that repeat another one once. */
function diagnosticsOf(root: Inputs): Diagnostic[] {
    const found = new Map<string, Diagnostic>();
    for (const item of list(root["diagnostics"]).map(record)) {
        const severity = text(item["severity"]);
        const message = plain(text(item["prefix"]) + text(item["message"])).replace(/^(error|warning): /, "");
        if (!/^(error|warning)/.test(severity) || message === "") continue;
        found.set(`${severity} ${message}`, { severity, about: nameOfUrn(text(item["urn"])), message });
    }
    if (typeof root["error"] === "string")
        found.set(root["error"], { severity: "error", about: "", message: plain(root["error"]) });
    // The engine's last word; it has a reason before it.
    const reasons = [...found.values()].filter(({ message }) => message !== "preview failed");
    return reasons.some(({ severity }) => severity === "error") ? reasons : [...found.values()];
}

/** The engine's order is another in each run: by step, then by node, so that the same change always has the same review. */
function sorted(changes: readonly Change[], nodes: readonly ReviewNode[]): Change[] {
    const order = new Map(nodes.map(({ name }, i) => [name, i]));
    const rank = ({ step, owner }: Change): readonly number[] => [
        step === undefined ? -1 : STEPS.indexOf(step),
        order.get(owner) ?? nodes.length,
    ];
    const [text, less] = [
        (c: Change): string => `${c.name} ${c.type} ${c.op}`,
        (d: number): number | undefined => d || undefined,
    ];
    return [...changes].sort((a, b) => {
        const [x, y] = [rank(a), rank(b)] as [number[], number[]];
        return less(x[0]! - y[0]!) ?? less(x[1]! - y[1]!) ?? (text(a) < text(b) ? -1 : 1);
    });
}

/** The review's view of a parsed `pulumi preview --json`. `failed`: the command ended with an error. */
export function readPreview(json: unknown, failed = false): Preview {
    const root = record(masked(json));
    const byUrn = new Map<string, Inputs[]>();
    for (const step of list(root["steps"]).map(record)) {
        const urn = text(step["urn"]);
        byUrn.set(urn, [...(byUrn.get(urn) ?? []), step]);
    }
    const changes = [...byUrn].map(([urn, steps]) => changeOf(urn, steps)).filter((change) => change !== undefined);
    const described = [...byUrn]
        .filter(([urn]) => typeOf(urn) === "pulumi:index:Stash" && /^(.*-)?description$/.test(nameOfUrn(urn)))
        .flatMap(([, steps]) => steps)
        .map((step) => record(record(record(step["newState"])["inputs"])["input"]))
        .find((input) => Object.keys(input).length > 0);
    const diagnostics = diagnosticsOf(root);
    const config = record(root["config"]);
    const nodes = described === undefined ? nodesOfConfig(config) : nodesOf(described);
    return {
        changes: sorted(changes, nodes),
        nodes,
        isNew: changes.some(({ op, type }) => op === "create" && type === "k3s-ha:index:Cluster"),
        diagnostics,
        config,
        failed: failed || diagnostics.some(({ severity }) => severity === "error"),
    };
}
