/**
 * What of k3s's settings can be changed on a cluster that runs: one table, from which the refusals, the restarts of agents and the copy
 * in docs/operations.md follow. Pure.
 */
import type { ClusterSpec, NodeSpec } from "./cluster";
import { defaultDns, listOf, networksOf } from "./networks";
import { isIPv6Address } from "../values";

/**
 * - `founding`: k3s fixes it in its data when the cluster is founded; a change is refused.
 * - `podNetwork`: all nodes must have the same at the same time, which no roll can give: refused without `allow: [podNetwork]`.
 * - `rolling`: servers one at a time, then agents, since those take it from the servers when they start.
 */
export type ChangeKind = "founding" | "podNetwork" | "rolling";

/** One row of the table. */
export interface ChangeRule {
    readonly setting: string;
    readonly kind: ChangeKind;
    /** What a change does, or why it cannot be. */
    readonly why: string;
    /** A setting of k3s's that agents take from the servers when they start. */
    readonly agents?: true;
}

/** Every setting that is not changed on its own node alone; all others roll, and restart only the nodes that they are of. */
export const CHANGE_RULES: readonly ChangeRule[] = [
    { setting: "cluster-cidr", kind: "founding", why: "every Node keeps its part of it permanently" },
    { setting: "service-cidr", kind: "founding", why: "every Service keeps its address in it permanently" },
    {
        setting: "IP family",
        kind: "founding",
        why: "Nodes and Services have addresses of one family (nodes[].address)",
    },
    {
        setting: "secrets-encryption",
        kind: "founding",
        why: "k3s can neither begin later, nor read what is encrypted without it",
    },
    { setting: "server.datastore", kind: "founding", why: "from sqlite to etcd is possible, back is not" },
    {
        setting: "flannel-backend",
        kind: "podNetwork",
        why: "nodes of two backends do not reach each other's pods",
        agents: true,
    },
    {
        setting: "cluster-dns",
        kind: "podNetwork",
        why: "pods query the old address until they restart",
        agents: true,
    },
    {
        setting: "cluster-domain",
        kind: "podNetwork",
        why: "pods search the old domain until they restart",
        agents: true,
    },
    {
        setting: "disable-kube-proxy",
        kind: "podNetwork",
        why: "Services answer only where the one or the other serves them",
        agents: true,
    },
    { setting: "flannel-external-ip", kind: "rolling", why: "agents take it from the servers", agents: true },
    { setting: "flannel-ipv6-masq", kind: "rolling", why: "agents take it from the servers", agents: true },
    { setting: "disable-network-policy", kind: "rolling", why: "agents take it from the servers", agents: true },
    { setting: "egress-selector-mode", kind: "rolling", why: "agents take it from the servers", agents: true },
    { setting: "embedded-registry", kind: "rolling", why: "agents take it from the servers", agents: true },
    { setting: "supervisor-metrics", kind: "rolling", why: "agents take it from the servers", agents: true },
];

/** k3s's own values, where one is not "false". */
const STANDARD: Readonly<Record<string, string>> = {
    "flannel-backend": "vxlan",
    "cluster-domain": "cluster.local",
    "egress-selector-mode": "agent",
};

function serverConfig(spec: ClusterSpec): NodeSpec["config"] {
    return spec.nodes.find((n) => n.name === spec.firstServer)?.config ?? {};
}

function valueOf(spec: ClusterSpec, setting: string): string {
    const config = serverConfig(spec);
    const first = spec.nodes.find((n) => n.name === spec.firstServer);
    const family = isIPv6Address(first?.address ?? "") ? 6 : 4;
    const networks = networksOf(config, family);
    if (setting === "IP family") return `IPv${family}`;
    if (setting === "cluster-cidr" || setting === "service-cidr") return networks[setting].join(",");
    if (setting === "cluster-dns")
        return listOf(config[setting]).join(",") || (defaultDns(networks["service-cidr"][0] as string) ?? "");
    return String(config[setting] ?? STANDARD[setting] ?? false);
}

/** What must not change, or not without permission, as it is in force, defaults written out: kept in the state for the next `up`. */
export function fixedSettings(spec: ClusterSpec): Record<string, string> {
    const kept = CHANGE_RULES.filter((r) => r.kind !== "rolling" && r.setting !== "server.datastore");
    return Object.fromEntries(kept.map(({ setting }) => [setting, valueOf(spec, setting)]));
}

/** What agents take from the servers and is not k3s's default, as `key=value`: a change restarts them. */
export function takenFromServers(spec: ClusterSpec): string[] {
    const config = serverConfig(spec);
    return CHANGE_RULES.filter((r) => r.agents && config[r.setting] !== undefined)
        .map(({ setting }) => `${setting}=${valueOf(spec, setting)}`)
        .filter((text) => !text.endsWith("=false"))
        .sort();
}

/** The flannel backend of all nodes. */
export function flannelBackend(spec: ClusterSpec): string {
    return valueOf(spec, "flannel-backend");
}

/** The table for people, in Markdown. */
export function changeTable(): string {
    const effect: Readonly<Record<ChangeKind, string>> = {
        founding: "refused",
        podNetwork: "needs `allow: [podNetwork]`; servers one at a time, then agents",
        rolling: "servers one at a time, then agents",
    };
    return [
        "| setting of `server.config` | a change on a running cluster | why |",
        "| --- | --- | --- |",
        ...CHANGE_RULES.map(({ setting, kind, why }) => `| \`${setting}\` | ${effect[kind]} | ${why} |`),
        "| all others | servers one at a time; only nodes whose files change | each node reads its own |",
    ].join("\n");
}
