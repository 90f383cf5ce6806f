/** Step members, as values and as a resource. */
import type { remote } from "@pulumi/command";
import { liveNodes, type ClusterSpec, type NodeSpec } from "../model/cluster";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type Place, type StepContext } from "./context";
import { nodeLabels } from "./k3s-files";

/** The Nodes as they are to be: who is a member, with which labels and taints. */
export function membersBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const live = liveNodes(spec);
    return {
        settings: {
            node: node.name,
            datastore: spec.server.datastore === "sqlite" ? "sqlite" : undefined,
            "leave-seconds": spec.rollout.leaveSeconds,
            // A host that was rebuilt has a new Node, without this step's marks.
            member: live.map((n) => `${n.name} ${n.role}${n.rebuilt > 0 ? ` ${n.rebuilt}` : ""}`),
            label: live.flatMap((n) => nodeLabels(n).map((label) => `${n.name} ${label}`)),
            taint: live.flatMap((n) => [...n.taints].sort().map((taint) => `${n.name} ${taint}`)),
        },
        files: [],
    };
}

/** Labels and taints of the Nodes, changed live; drains those that are no longer in the stack, before their hosts are removed. */
export function members(context: StepContext, place: Place): remote.Command {
    const { spec } = context;
    return clusterStep(context, "members", place, membersBundle, {
        component: ["k3s-ha:k3s:Nodes", `${spec.cluster}-nodes`],
        name: `${spec.cluster}-nodes-members`,
    });
}
