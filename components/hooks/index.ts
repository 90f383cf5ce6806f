/** What the program has to say while the engine works: refusals, turns, advice. The engine calls these; mocks have none. */
import * as pulumi from "@pulumi/pulumi";
import { failureAdvice } from "./ssh-advice";
import { Rollout } from "./rollout";
import { SpecError } from "../config/problems";
import type { ClusterSpec } from "../model/cluster";
import { consequences, factsOf, refusals, type ClusterFacts } from "../config/transition";

/** Bindings by what they are for. */
export interface ClusterHooks {
    /** Of every remote command. */
    readonly command: pulumi.ResourceHookBinding;
    /** Of an agent's step k3s. */
    readonly agent: pulumi.ResourceHookBinding;
    /** Of the resource whose input `input` is the cluster's description. */
    readonly description: pulumi.ResourceHookBinding;
}

/** The hooks of one cluster; once per program, since their names are unique. */
export function clusterHooks(spec: ClusterSpec): ClusterHooks {
    const advice = failureAdvice(spec);
    const rollout = new Rollout(`${spec.cluster}-agents`, spec.rollout.agents);
    const lost = lostGuard(spec);
    return {
        command: { beforeCreate: [lost], onError: [advice] },
        agent: {
            ...rollout.hooks,
            beforeCreate: [lost, ...(rollout.hooks.beforeCreate ?? [])],
            onError: [advice, ...(rollout.hooks.onError ?? [])],
        },
        description: { beforeUpdate: [transitionGuard(spec)] },
    };
}

/** What to do about a step of a lost node that was never done: nothing is asked of that host, so it cannot be done now. */
export function lostAdvice(spec: ClusterSpec, name: string, urn: string): string | undefined {
    const node = spec.nodes.find(
        (n) => n.lost && ["kit", "prepare", "haproxy", "stage", "k3s"].some((step) => name === `${n.name}-${step}`),
    );
    return (
        node &&
        `k3s-ha:nodes (${node.name}).lost: is true, and ${name} was never done, which would reach for the host now. Leave it out of this run: pulumi up --exclude '${urn}' --exclude-dependents; then take ${node.name} out of the stack file`
    );
}

/** Says so before the engine dials, in the preview already. */
function lostGuard(spec: ClusterSpec): pulumi.ResourceHook {
    return new pulumi.ResourceHook(
        `${spec.cluster}-lost`,
        (args) => {
            const advice = lostAdvice(spec, args.name, args.urn);
            if (advice !== undefined) throw new Error(advice);
        },
        { onDryRun: true },
    );
}

/** Refuses what may not become of a cluster, in the preview already. */
function transitionGuard(spec: ClusterSpec): pulumi.ResourceHook {
    return new pulumi.ResourceHook(
        `${spec.cluster}-transition`,
        (args) => {
            const before = args.oldInputs?.["input"] as ClusterFacts;
            const problems = refusals(before, factsOf(spec), spec.allow);
            if (problems.length > 0) throw new SpecError(problems);
            for (const text of consequences(before, factsOf(spec))) void pulumi.log.warn(text);
        },
        { onDryRun: true },
    );
}
