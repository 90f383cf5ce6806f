/** What all steps are made with, and the ones that are made once for a cluster. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import type { ClusterStepName } from "../model/steps";
import { renderBundle, type Bundle } from "../remote/bundle";
import { nodeCommand, type CommandContext, type NodeStep } from "../remote/node-command";
import { tellOf } from "../plan";
import type { ClusterSecrets } from "../secrets";

/** What every step of a cluster is made with. */
export interface StepContext extends CommandContext {
    readonly secrets: ClusterSecrets;
    /** What the engine calls back: of every step's command, and of an agent's. See components/hooks. */
    readonly hooks: { readonly command: pulumi.ResourceHookBinding; readonly agent: pulumi.ResourceHookBinding };
    /** The component that the steps belong to. */
    readonly cluster: pulumi.Resource;
}

/** Data of a step, as text. */
export const dataOf = (
    context: StepContext,
    node: NodeSpec,
    make: (spec: ClusterSpec, node: NodeSpec) => Bundle,
): pulumi.Input<string> => tellOf(context, node, (spec, it) => renderBundle(make(spec, it)));

/** Where a step of the cluster runs, and after which others. */
export interface Place {
    /** The server whose host it runs on. */
    readonly on: NodeSpec;
    readonly after: readonly pulumi.Resource[];
}

/**
 * Makes `<cluster>-<step>`: a step that the cluster has once. Its script is `<step>.sh`. `was` is the component that held it, and the name
 * that it had there, in stacks made before 0.2, where it is as old as that.
 */
export function clusterStep(
    context: StepContext,
    step: ClusterStepName,
    { on, after }: Place,
    data: (spec: ClusterSpec, on: NodeSpec) => Bundle,
    was?: FormerName,
    more: Partial<NodeStep> = {},
    opts: Pick<pulumi.CustomResourceOptions, "additionalSecretOutputs"> = {},
): remote.Command {
    const { spec, hooks, cluster } = context;
    return nodeCommand(
        context,
        step,
        on,
        { stdin: dataOf(context, on, data), ...more },
        {
            ...opts,
            parent: cluster,
            dependsOn: [...after],
            hooks: hooks.command,
            aliases: was && [formerName(cluster, was)],
        },
        `${spec.cluster}-${step}`,
    );
}

/** The component that held a resource in stacks made before 0.2, by type and name, and the resource's own name. */
export interface FormerName {
    readonly component: readonly [type: string, name: string];
    /** Absent where it is the same today. */
    readonly name?: string;
}

/** Keeps the engine from making the resource again in such a stack. */
export function formerName(cluster: pulumi.Resource, { component, name }: FormerName): pulumi.Alias {
    const parent = pulumi.createUrn(component[1], component[0], cluster);
    return name === undefined ? { parent } : { name, parent };
}

/** The component that held a node's steps stage and k3s in such a stack. */
export const k3sComponent = (node: NodeSpec): string =>
    node.role === "server" ? "k3s-ha:k3s:Server" : "k3s-ha:k3s:Agent";
