/** Steps that are the cluster's: each runs on one master. */
import type { remote } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import type { SshAccess } from "../model/credentials";
import { renderBundle, type Bundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";

/** Arguments of the steps that are the cluster's and run on one master. */
export interface ClusterStepArgs {
    readonly spec: ClusterSpec;
    /** The master that the step runs on. */
    readonly node: NodeSpec;
    readonly access: SshAccess;
    readonly after: readonly pulumi.Resource[];
    readonly hooks?: pulumi.ResourceHookBinding;
}

/** One that is given a bundle and has nothing to undo. */
export function clusterStep(
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
