/**
 * The steps by their names. A name stands in the file of components/steps, the script, the end of the resource's name, errors and docs.
 * Pure.
 */
import type { NodeSettings } from "../settings";

/** What every node goes through, in this order. The last one is called like its role. */
const ON_NODES = ["kit", "prepare", "haproxy", "stage"] as const;
/** Only servers have it, and only where the setting of this name is or was set. */
const MANIFESTS = "manifests";
/** What a cluster has once; they run on the first server. */
export const CLUSTER_STEPS = [
    "kubeconfig",
    "lost-nodes",
    "members",
    "prune-manifests",
    "public-info-viewer",
    "anonymous-check",
    "snapshot",
] as const;

/** All steps that belong to a node. */
export const NODE_STEPS = [...ON_NODES, MANIFESTS, "server", "agent"] as const;

export type NodeStepName = (typeof NODE_STEPS)[number];
export type ClusterStepName = (typeof CLUSTER_STEPS)[number];
export type StepName = NodeStepName | ClusterStepName;

/** The steps that a node may have, in their order. */
export function stepsOf({ role }: { readonly role: NodeSettings["role"] }): readonly NodeStepName[] {
    return role === "server" ? [...ON_NODES, MANIFESTS, role] : [...ON_NODES, role];
}
