/** Typical changes of a running cluster, for the reviews whose goldens are in reviews/. */
import { kit } from "../../components/remote/kit";
import type { ReviewStack } from "./review-stack";

type Settings = Readonly<Record<string, unknown>>;

/** A resource of an exported state. */
export interface Kept {
    readonly urn: string;
    inputs?: Record<string, unknown>;
    outputs?: Record<string, unknown>;
}

/** A change of the stack file, or of the program since the state was made. */
export interface Case {
    readonly name: string;
    /** What the stack file gets. */
    readonly settings?: (stack: ReviewStack) => Settings;
    /** What is encrypted in it. */
    readonly secret?: readonly [path: string, value: string];
    /** What an older program left, as an edit of each resource. */
    readonly older?: (resource: Kept) => void;
    /** There is no state yet. */
    readonly isNew?: true;
    /** The preview fails. */
    readonly refused?: true;
}

const edit = (resource: Kept, key: string, change: (text: string) => string): void => {
    for (const side of [resource.inputs, resource.outputs]) {
        const value = side?.[key];
        if (side !== undefined && typeof value === "string") side[key] = change(value);
    }
};

/** Of the scripts that an older program sent. */
const OTHER_SUM = "0123456789abcdef".repeat(4);

const others = (stack: ReviewStack, ...names: string[]): Settings[] =>
    stack.nodes.filter((node) => !names.includes(node["name"] as string));
const changed = (stack: ReviewStack, name: string, more: Settings): Settings => ({
    nodes: stack.nodes.map((node) => (node["name"] === name ? { ...node, ...more } : node)),
});

export const CASES: readonly Case[] = [
    { name: "no-change", settings: () => ({}) },
    { name: "version", settings: () => ({ version: "v1.36.3+k3s1" }) },
    { name: "haproxy-line", settings: () => ({ proxy: { maxconn: 3000 } }) },
    {
        name: "haproxy-remarks",
        older: (resource) => edit(resource, "stdin", (text) => text.replace(/^ +# After a reload .*\n/m, "")),
    },
    {
        name: "scripts",
        older: (resource) => {
            const { sum } = kit();
            for (const key of ["create", "update", "remotePath"])
                edit(resource, key, (text) =>
                    text
                        .replaceAll(sum, OTHER_SUM)
                        .replaceAll(sum.slice(0, 12), OTHER_SUM.slice(0, 12))
                        .replaceAll(kit().digest("haproxy.sh"), "0123456789ab"),
                );
            for (const side of [resource.inputs, resource.outputs])
                if (side?.["source"]) side["source"] = { ...side["source"], hash: OTHER_SUM };
        },
    },
    { name: "server-flag", settings: () => ({ server: { config: { disable: ["traefik"] } } }) },
    {
        name: "agent-flag-drained",
        settings: (stack) => ({
            ...changed(stack, "agent-1", { config: { "kubelet-arg": ["max-pods=200"] } }),
            rollout: { drain: true },
        }),
    },
    { name: "agent-added", settings: (s) => ({ nodes: [...s.nodes, s.node("agent-3", "agent", "10.8.0.23")] }) },
    { name: "agent-removed", settings: (s) => ({ nodes: others(s, "agent-2") }) },
    { name: "server-removed", settings: (s) => ({ nodes: others(s, "server-3"), allow: ["lessTolerance"] }) },
    { name: "server-lost", settings: (s) => changed(s, "server-3", { lost: true }) },
    { name: "agent-rebuilt", settings: (s) => changed(s, "agent-1", { rebuilt: 1 }) },
    { name: "labels", settings: (s) => changed(s, "agent-1", { labels: { disk: "ssd" } }) },
    { name: "stats-password", settings: () => ({ rotate: { statsPassword: 1 } }) },
    { name: "tokens", settings: () => ({ rotate: { token: 1, agentToken: 1 } }) },
    { name: "certificates", settings: () => ({ rotate: { certificates: 1 } }) },
    { name: "readiness", settings: () => ({ readiness: "unauthorized" }) },
    {
        name: "pod-network",
        settings: () => ({ server: { config: { "flannel-backend": "wireguard-native" } }, allow: ["podNetwork"] }),
    },
    { name: "snapshot", settings: () => ({ snapshots: { now: "before-work" } }) },
    {
        name: "registries-encrypted",
        settings: () => ({ registries: { configs: { "r.example": { auth: { username: "u" } } } } }),
        secret: ['k3s-ha:registries.configs["r.example"].auth.password', "of-the-registry-1"],
    },
    { name: "refused", settings: () => ({ version: "v1.36.1+k3s1" }), refused: true },
    { name: "new-cluster", isNew: true },
];
