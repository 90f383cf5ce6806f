/** What the program has to say while the engine works: refusals, turns, advice. The engine calls these; mocks have none. */
import * as pulumi from "@pulumi/pulumi";
import { failureAdvice } from "./remote/failure-advice";
import { Rollout } from "./rollout";
import { SpecError } from "./spec/errors";
import type { ClusterSpec } from "./spec/spec";
import { factsOf, refusals, type ClusterFacts } from "./spec/transition";

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
    return {
        command: { onError: [advice] },
        agent: { ...rollout.hooks, onError: [advice, ...(rollout.hooks.onError ?? [])] },
        description: { beforeUpdate: [transitionGuard(spec)] },
    };
}

/** Refuses what may not become of a cluster, in the preview already. */
function transitionGuard(spec: ClusterSpec): pulumi.ResourceHook {
    return new pulumi.ResourceHook(
        `${spec.cluster}-transition`,
        (args) => {
            const problems = refusals(args.oldInputs?.["input"] as ClusterFacts, factsOf(spec), spec.allow);
            if (problems.length > 0) throw new SpecError(problems);
        },
        { onDryRun: true },
    );
}
