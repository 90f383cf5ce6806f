/** Step lost-nodes, as values and as a resource. */
import type { remote } from "@pulumi/command";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type Place, type StepContext } from "./context";

/** Nodes that the cluster must forget, and keep out should they come back. */
export function lostNodesBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: {
            node: node.name,
            datastore: spec.server.datastore === "sqlite" ? "sqlite" : undefined,
            lost: spec.nodes.filter((n) => n.lost).map((n) => n.name),
        },
        files: [],
    };
}

/**
 * Forgets lost nodes (their Node, etcd member and password) and keeps them out, before anything joins: etcd takes no new member
 * while one of three is dead. Lets them in again when they are no longer lost.
 */
export function lostNodes(context: StepContext, place: Place): remote.Command {
    const { spec } = context;
    return clusterStep(context, "lost-nodes", place, lostNodesBundle, {
        component: ["k3s-ha:k3s:Fence", `${spec.cluster}-fence`],
        name: `${spec.cluster}-fence-lost`,
    });
}
