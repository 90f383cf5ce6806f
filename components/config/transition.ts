/**
 * What may become of a cluster in one `up`: the description that the last one began with, against the new one. Refused changes
 * are refused in the preview, before any host is touched. Pure.
 */
import type { ClusterDescription, NodeDescription } from "./description";
import { shown } from "./problems";
import type { Problem } from "../haproxy/problem";
import { settingConsequences, settingRefusals, unknownSettings } from "./fixed-settings";
import type { Allowance, ClusterSpec } from "../model/cluster";
import { isIPv6Address, parseK3sVersion } from "../values";

const rebuiltOf = (node: NodeDescription): number => node.rebuilt ?? 0;
const isServer = (node: NodeDescription | undefined): boolean => node?.role === "server";

/** How many servers can be lost without harm: the rest is still a majority. */
const tolerance = (servers: number): number => Math.floor((servers - 1) / 2);

/** What stands in the way of going from one description to the other, minus what the user allows. */
export function refusals(from: ClusterDescription, to: ClusterDescription, allow: readonly Allowance[]): Problem[] {
    return [
        ...clusterRefusals(from, to),
        ...settingRefusals(settingsOf(from), to.settings, allow),
        ...versionRefusals(from, to, allow),
        ...nodeRefusals(from, to),
        ...sizeRefusals(from, to, allow),
        ...rotationRefusals(from, to),
    ];
}

/** What the user should know before a change that is not refused. */
export function consequences(
    from: ClusterDescription,
    to: ClusterDescription,
    manifests: ClusterSpec["manifests"] = [],
): string[] {
    return [
        ...unknownSettings(settingsOf(from)),
        ...settingConsequences(from.settings, to.settings),
        ...manifestConsequences(from, manifests),
    ];
}

/** What becomes of the objects of files that were there. */
function manifestConsequences(from: ClusterDescription, manifests: ClusterSpec["manifests"]): string[] {
    const stateOf = (name: string): string | undefined => manifests.find((file) => file.name === name)?.state;
    const [gone, leftOut] = ["absent", undefined].map((state) =>
        (from.manifests ?? []).filter((name) => stateOf(name) === state),
    ) as [string[], string[]];
    return [
        ...gone.map((name) => `k3s-ha:manifests (${name}): state: absent deletes all objects of this file.`),
        ...leftOut.map(
            (name) =>
                `k3s-ha:manifests (${name}): is left out. The file goes from the servers; its objects stay in the cluster, and nothing manages them. To delete them instead: { name: ${name}, state: absent }`,
        ),
    ];
}

/** Those of the description; of an older one what its nodes tell. */
function settingsOf(description: ClusterDescription): Readonly<Record<string, string>> {
    if (description.settings !== undefined) return description.settings;
    const server = Object.values(description.nodes).find(isServer);
    return server === undefined ? {} : { "IP family": isIPv6Address(server.address) ? "IPv6" : "IPv4" };
}

/** What would found a second cluster, or leave that one without a trace in the program. */
function clusterRefusals(from: ClusterDescription, to: ClusterDescription): Problem[] {
    const problems: Problem[] = [];
    if (from.cluster !== undefined && from.cluster !== to.cluster)
        problems.push({
            path: "k3s-ha:cluster",
            value: shown(to.cluster),
            message: `was ${from.cluster}, and a cluster keeps its name, which its secrets and its hosts know it by; another cluster is another stack`,
        });
    const known = (name: string): boolean => Object.hasOwn(from.nodes, name) && isServer(from.nodes[name]);
    if (to.founder !== undefined && Object.values(from.nodes).some(isServer) && !known(to.founder))
        problems.push({
            path: `k3s-ha:nodes (${to.founder})`,
            message: `is new, and it is listed before the servers of the running cluster (${Object.keys(from.nodes).filter(known).join(", ")}), so it would found a second cluster. List one of those before it. Where all of them are rebuilt, give the new one rebuilt: 1 too. To exchange all servers, add the new ones behind the old ones, run pulumi up, then take the old ones out. Where nothing is to be kept, run pulumi destroy first`,
        });
    return problems;
}

function versionRefusals(from: ClusterDescription, to: ClusterDescription, allow: readonly Allowance[]): Problem[] {
    const [old, now] = [parseK3sVersion(from.version), parseK3sVersion(to.version)];
    if (!old || !now) return [];
    const at = { path: "k3s-ha:version", value: shown(to.version) };
    const order = (["major", "minor", "patch", "release"] as const).map((part) => now[part] - old[part]);
    const first = order.find((difference) => difference !== 0) ?? 0;
    if (first < 0 && !allow.includes("downgrade")) {
        return [
            {
                ...at,
                message: `is older than ${from.version}, which the cluster runs or was on the way to; Kubernetes and etcd do not support going back. Restore a snapshot instead; where you know better, k3s-ha:allow: [downgrade]`,
            },
        ];
    }
    if (now.major === old.major && now.minor - old.minor > 1 && !allow.includes("skipMinor")) {
        return [
            {
                ...at,
                message: `skips a minor release: the cluster runs ${from.version}, and Kubernetes supports only one minor at a time. Go to the newest v${old.major}.${old.minor + 1} first; where you know better, k3s-ha:allow: [skipMinor]`,
            },
        ];
    }
    return [];
}

/** Changes that a host cannot make in place. */
function nodeRefusals(from: ClusterDescription, to: ClusterDescription): Problem[] {
    const problems: Problem[] = [];
    if (from.datastore === "etcd" && to.datastore === "sqlite") {
        problems.push({
            path: "k3s-ha:server.datastore",
            value: shown("sqlite"),
            message: "cannot follow etcd: k3s moves data from SQLite to etcd and not back",
        });
    }
    for (const [name, now] of Object.entries(to.nodes)) {
        // A node may be called constructor.
        const before = Object.hasOwn(from.nodes, name) ? from.nodes[name] : undefined;
        problems.push(...(before === undefined ? nameRefusals(name, now, from, to) : hostRefusals(name, before, now)));
    }
    return problems;
}

/** A host under another name. */
function nameRefusals(name: string, now: NodeDescription, from: ClusterDescription, to: ClusterDescription): Problem[] {
    const [former] =
        Object.entries(from.nodes).find(
            ([old, node]) => !Object.hasOwn(to.nodes, old) && !node.lost && node.address === now.address,
        ) ?? [];
    if (former === undefined) return [];
    return [
        {
            path: `k3s-ha:nodes (${name})`,
            message: `has the address of ${former}, and a host cannot change its name in place: take ${former} out of the stack file, pulumi up, then add it as ${name}`,
        },
    ];
}

/** Changes of one node. */
function hostRefusals(name: string, before: NodeDescription, now: NodeDescription): Problem[] {
    const problems: Problem[] = [];
    if (now.role !== before.role) {
        problems.push({
            path: `k3s-ha:nodes (${name}).role`,
            value: shown(now.role),
            message: `was ${before.role}, and a host cannot change its role in place: take it out of the stack file, pulumi up, then add it with the new role`,
        });
    } else if (isServer(now) && now.address !== before.address && !before.lost) {
        problems.push({
            path: `k3s-ha:nodes (${name}).address`,
            value: shown(now.address),
            message: `was ${before.address}, which the other etcd members know it by: take it out of the stack file, pulumi up, then add it with the new address`,
        });
    }
    // None of its inputs differs from before the loss, so no step would run.
    if (before.lost && !now.lost && rebuiltOf(now) <= rebuiltOf(before)) {
        problems.push({
            path: `k3s-ha:nodes (${name}).rebuilt`,
            value: shown(rebuiltOf(now)),
            message: `must be above ${rebuiltOf(before)}, which it was while the node was lost: the cluster has forgotten it, so its steps have to run again`,
        });
    }
    return problems;
}

function sizeRefusals(from: ClusterDescription, to: ClusterDescription, allow: readonly Allowance[]): Problem[] {
    // A loss is not a choice: neither marking a server as lost is refused nor taking it out afterwards.
    const old = Object.values(from.nodes).filter((node) => isServer(node) && !node.lost).length;
    const now = Object.values(to.nodes).filter(isServer).length;
    if (now >= old || tolerance(now) > 0 || tolerance(old) === 0) return [];
    if (allow.includes("lessTolerance")) return [];
    return [
        {
            path: "k3s-ha:nodes",
            message: `would go from ${old} servers to ${now}. The cluster tolerates the loss of ${tolerance(old)} today; after this change it would tolerate none, since etcd needs a majority. Add the replacement first; where that is meant, k3s-ha:allow: [lessTolerance]`,
        },
    ];
}

/** Servers restart for new keys of Secrets alone: what else restarts them in the same roll would be between the key and its readers. */
function rotationRefusals(from: ClusterDescription, to: ClusterDescription): Problem[] {
    const [old, now] = [from.encryption, to.encryption];
    if (now === undefined || now.rotated <= (old?.rotated ?? 0)) return [];
    // Not as JSON: the state has the properties of a node in another order.
    const serversOf = ({ nodes }: ClusterDescription): string =>
        Object.entries(nodes)
            .filter(([, node]) => isServer(node))
            .map(([name, node]) => [name, node.address, rebuiltOf(node), node.lost === true].join(" "))
            .sort()
            .join();
    const also = [
        from.version === to.version ? [] : [`version (${from.version} → ${to.version})`],
        serversOf(from) === serversOf(to) ? [] : ["the list of servers"],
        old?.restarts === undefined || now.restarts === undefined || old.restarts === now.restarts
            ? []
            : ["settings that restart servers"],
    ].flat();
    if (also.length === 0) return [];
    return [
        {
            path: "k3s-ha:rotate.secretsEncryption",
            value: shown(now.rotated),
            message: `asks for a new key of Secrets in the same up as another change of the servers: ${also.join(", ")}. From the new key on until the last server has restarted nobody can write Secrets. Put ${old?.rotated ?? 0} back, pulumi up, then raise it alone`,
        },
    ];
}
