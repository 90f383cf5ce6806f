/** What happens, in plain English: a paragraph about restarts and reloads, then one line for each row of the table. Pure. */
import { NODE_STEPS } from "../../components/model/steps";
import { parseBundle, valuesOf } from "./bundle";
import { CONSEQUENCES, consequence, type Kind } from "./consequences";
import type { Effect } from "./data";
import { agentsAtATime, type Preview } from "./preview";
import { code, count, inOrder, nodesInWords, series, word } from "./words";

const ownersOf = (found: readonly Effect[], effect: string): string[] => [
    ...new Set(found.filter(({ kind }) => consequence(kind).effect === effect).map(({ owner }) => owner)),
];

/** Those of the nodes that are servers: by the name of their step. */
function restartsOf(preview: Preview, names: readonly string[]): { servers: string[]; agents: string[] } {
    const isServer = (name: string): boolean =>
        preview.changes.some((change) => change.step === "server" && change.owner === name);
    const ordered = inOrder(names, preview.nodes);
    return { servers: ordered.filter(isServer), agents: ordered.filter((name) => !isServer(name)) };
}

/** `k3s restarts on a, b and c, in this order, one at a time, then …`. */
function restarts(preview: Preview, names: readonly string[], verb: string): string {
    const { servers, agents } = restartsOf(preview, names);
    const parts: string[] = [];
    if (servers.length === 1) parts.push(series(servers.map(word)));
    if (servers.length > 1) parts.push(`${series(servers.map(word), 20)}, in this order, one at a time`);
    const atATime = agentsAtATime(preview);
    const limit = agents.length > atATime ? `, ${atATime} at a time` : "";
    if (agents.length > 0) parts.push(`${nodesInWords(agents, preview.nodes)}${limit}`);
    const total = names.length > 1 ? `: ${verb === "restarts" ? "" : "up to "}${count(names.length, "restart")}` : "";
    return `k3s ${verb} on ${parts.join(", then on ")}${total}.`;
}

/** Where pods are during a restart. */
function pods(preview: Preview, names: readonly string[], leaves: boolean): string {
    const drained = preview.changes.some(({ step, owner, after }) => {
        const data = step === "server" || step === "agent" ? parseBundle(after["stdin"]) : undefined;
        return names.includes(owner) && data !== undefined && valuesOf(data, "drain-seconds").length > 0;
    });
    if (drained) return "Pods leave each node before its restart (`rollout.drain`).";
    return leaves ? "Other pods stay." : "Pods stay.";
}

/** What clients of the API notice of restarts of servers. */
function api(preview: Preview, names: readonly string[], found: readonly Effect[]): string {
    if (restartsOf(preview, names).servers.length === 0) return "The API keeps answering.";
    if (found.some(({ kind }) => kind === "k3s-datastore")) return "The API does not answer during the restart.";
    const joining = new Set(found.filter(({ kind }) => kind === "joins").map(({ owner }) => owner));
    const running = preview.nodes.filter(({ name, role }) => role === "server" && !joining.has(name)).length;
    if (running > 2) return "The API keeps answering.";
    if (running === 2) return "With two servers etcd has no majority during a restart, and the API does not answer.";
    if (running === 1) return "There is one server: the API does not answer for the seconds of its restart.";
    return "";
}

function founding(preview: Preview): string {
    const [first, ...others] = preview.nodes.filter(({ role }) => role === "server").map(({ name }) => word(name));
    const agents = preview.nodes.filter(({ role }) => role === "agent").length;
    const join = others.length > 0 ? [`${series(others, 20)} join in this order, one at a time`] : [];
    if (agents > 0) join.push(`${count(agents, "agent")} ${agents === 1 ? "joins" : "join side by side"}`);
    return [`A new cluster: ${first ?? "the first server"} founds it`, ...join].join(", then ") + ".";
}

/** Nodes that come, go, or are set up again. */
function membership(preview: Preview, found: readonly Effect[]): string[] {
    const of = (kind: Kind): string[] => found.filter((effect) => effect.kind === kind).map(({ owner }) => owner);
    const [joins, leaves, rebuilt] = [of("joins"), of("leaves"), [...of("rebuilt"), ...of("rejoins")]];
    const s = (names: readonly string[], verb: string): string => `${verb}${new Set(names).size === 1 ? "s" : ""}`;
    return [
        ...(joins.length > 0 ? [`${nodesInWords(joins, [])} ${s(joins, "join")} the cluster.`] : []),
        ...(leaves.length > 0 ? [`${nodesInWords(leaves, [])} ${s(leaves, "leave")} the cluster, pods first.`] : []),
        ...(rebuilt.length > 0 ? [`All steps run again on ${nodesInWords(rebuilt, preview.nodes)}.`] : []),
    ];
}

/** The paragraph at the top. */
export function lead(preview: Preview, found: readonly Effect[]): string {
    const sentences: string[] = [];
    if (preview.failed)
        sentences.push("**The preview failed.** What follows is no more than what it found before that.");
    if (preview.isNew) return [...sentences, founding(preview)].join(" ");
    if (found.length === 0) {
        const nothing = preview.changes.length > 0 ? "Nothing changes on any host." : "Nothing changes.";
        return [...sentences, ...(preview.failed ? [] : [nothing])].join(" ");
    }
    const moving = membership(preview, found);
    const quiet = moving.length > 0 ? "On other nodes " : "";
    const [reload, restart, may] = ["reload", "restart", "may restart"].map((effect) => ownersOf(found, effect)) as [
        string[],
        string[],
        string[],
    ];
    const unsure = may.filter((name) => !restart.includes(name));
    const touched = [...restart, ...unsure];
    const isMost = reload.length > 6 || (reload.length === preview.nodes.length && reload.length > 2);
    const reloads = isMost ? count(reload.length, "node") : nodesInWords(reload, preview.nodes);
    sentences.push(...moving);
    const sent = [...new Set(found.filter(({ kind }) => kind === "scripts").map(({ owner }) => owner))];
    if (sent.length > 0 && moving.length === 0)
        sentences.push(`Scripts are sent${where(sent, preview).replace(" on ", " to ")}.`);
    if (reload.length > 0) sentences.push(`haproxy reloads on ${reloads}.`);
    if (restart.length > 0) sentences.push(restarts(preview, restart, "restarts"));
    if (unsure.length > 0) sentences.push(restarts(preview, unsure, "may restart"));
    if (touched.length > 0) {
        const leaves = found.some(({ kind }) => kind === "leaves");
        sentences.push(pods(preview, touched, leaves), api(preview, touched, found));
    } else if (reload.length === 0) sentences.push(`${quiet}k3s does not restart, haproxy does not reload.`);
    else sentences.push(`${quiet}k3s does not restart.`, "The API keeps answering.");
    if (touched.length > 0 && reload.length === 0) sentences.push(`${quiet}haproxy does not reload.`);
    return sentences.filter(Boolean).join(" ");
}

/** Rows whose details say more with the nodes that each is for. */
const MOST_GROUPS = 10;

/** Details with the nodes that they are for; those of the same nodes together. */
function details(found: readonly Effect[], preview: Preview): string {
    const byDetail = new Map<string, Set<string>>();
    for (const { owner, detail } of found)
        if (detail !== undefined) byDetail.set(detail, (byDetail.get(detail) ?? new Set()).add(owner));
    const byNodes = new Map<string, string[]>();
    for (const [detail, owners] of byDetail) {
        const nodes = where([...owners], preview);
        byNodes.set(nodes, [...(byNodes.get(nodes) ?? []), code(detail)]);
    }
    const groups = [...byNodes].map(([nodes, list]) => series(list, 12) + nodes);
    const more = groups.length - MOST_GROUPS;
    return [...groups.slice(0, MOST_GROUPS), ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

/** ` on …`, where the owners are nodes. */
function where(owners: readonly string[], preview: Preview): string {
    const isNode = (name: string): boolean =>
        preview.nodes.some((node) => node.name === name) ||
        preview.changes.some((change) => change.owner === name && isNodeStep(change.step));
    const nodes = owners.filter((owner) => isNode(owner));
    return nodes.length === 0 ? "" : ` on ${nodesInWords(nodes, preview.nodes)}`;
}
const isNodeStep = (step?: string): boolean => (NODE_STEPS as readonly (string | undefined)[]).includes(step);

const capital = (text: string): string =>
    /^(k3s|haproxy)/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);

/** One line for each row of the table that the preview has. */
export function rows(preview: Preview, found: readonly Effect[]): string[] {
    return CONSEQUENCES.flatMap((row) => {
        const mine = found.filter(({ kind }: { kind: Kind }) => kind === row.kind);
        if (mine.length === 0) return [];
        const told = details(mine, preview);
        const title = row.kind === row.step ? `step ${row.step}` : row.change;
        const owners = [...new Set(mine.map(({ owner }) => owner))];
        return [`- **${capital(title)}**${told === "" ? where(owners, preview) : `: ${told}`}. ${row.happens}`];
    });
}
