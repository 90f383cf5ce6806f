/** What the cluster knows of its nodes: steps that run on one master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type ClusterStepArgs } from "./cluster-step";
import { nodeLabels } from "./k3s-files";

/** Nodes that the cluster must forget, and keep out should they come back. */
export function fenceBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: {
            node: node.name,
            datastore: spec.server.datastore === "sqlite" ? "sqlite" : undefined,
            lost: spec.nodes.filter((n) => n.lost).map((n) => n.name),
        },
        files: [],
    };
}

/** The Nodes as they are to be: who is a member, with which labels and taints. */
export function nodesBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const live = spec.nodes.filter((n) => !n.lost);
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

/**
 * Forgets lost nodes (their Node, etcd member and password) and keeps them out, before anything joins: etcd takes no new member
 * while one of three is dead. Lets them in again when they are no longer lost.
 */
export class Fence extends pulumi.ComponentResource {
    public readonly closed: remote.Command;

    public constructor(name: string, args: ClusterStepArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:k3s:Fence", name, {}, opts);
        this.closed = clusterStep(`${name}-lost`, "nodes.sh", "fence", fenceBundle(args.spec, args.node), args, this);
        this.registerOutputs({});
    }
}

/** Labels and taints of the Nodes, changed live; drains those that are no longer in the stack, before their hosts are removed. */
export class Nodes extends pulumi.ComponentResource {
    public readonly converged: remote.Command;

    public constructor(name: string, args: ClusterStepArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:k3s:Nodes", name, {}, opts);
        this.converged = clusterStep(
            `${name}-members`,
            "nodes.sh",
            "converge",
            nodesBundle(args.spec, args.node),
            args,
            this,
        );
        this.registerOutputs({});
    }
}
