/** What the program has to say while the engine works: refusals, turns, advice. The engine calls these; mocks have none. */
import type * as pulumi from "@pulumi/pulumi";
import type { Plan } from "../plan";
import { lostGuard, transitionGuard } from "./guards";
import { Rollout } from "./rollout";
import { failureAdvice } from "./ssh-advice";

/** Bindings by what they are for. */
export interface ClusterHooks {
    /** Of every remote command. */
    readonly command: pulumi.ResourceHookBinding;
    /** Of step agent. */
    readonly agent: pulumi.ResourceHookBinding;
    /** Of the resource whose input `input` is the cluster's description. */
    readonly description: pulumi.ResourceHookBinding;
}

/** For Pulumi's mocks, which have none. */
export const NO_HOOKS: ClusterHooks = { command: {}, agent: {}, description: {} };

/** The hooks of one cluster; once per program, since their names are unique. */
export function clusterHooks(plan: Plan): ClusterHooks {
    const { spec } = plan;
    const advice = failureAdvice(plan);
    const rollout = new Rollout(`${spec.cluster}-agents`, spec.rollout.agents);
    const lost = lostGuard(plan);
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
