/** What the cluster knows of its nodes, and its snapshots: steps that run on one master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { renderBundle, type Bundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";
import { fenceBundle, nodesBundle } from "./k3s";
import type { ClusterStepArgs } from "./server";

function clusterStep(
    name: string,
    script: string,
    create: string,
    bundle: Bundle,
    args: ClusterStepArgs,
    parent: pulumi.Resource,
): remote.Command {
    return nodeCommand(
        name,
        args.node,
        args.access,
        { script, create, stdin: renderBundle(bundle) },
        { parent, dependsOn: [...args.after], hooks: args.hooks },
    );
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

/** An etcd snapshot on demand; another name takes another one. */
export class Snapshot extends pulumi.ComponentResource {
    /** Path and host. */
    public readonly place: pulumi.Output<string>;

    public constructor(
        name: string,
        args: ClusterStepArgs & { readonly snapshot: string },
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("k3s-ha:k3s:Snapshot", name, {}, opts);
        const bundle = { settings: { node: args.node.name, name: args.snapshot }, files: [] };
        const taken = clusterStep(`${name}-taken`, "snapshot.sh", "", bundle, args, this);
        this.place = taken.stdout.apply((out) => /^snapshot: (.*)$/m.exec(out ?? "")?.[1] ?? "");
        this.registerOutputs({});
    }
}
