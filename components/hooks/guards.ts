/** Refusals: they stop the engine before a step is done, in the preview already. */
import * as pulumi from "@pulumi/pulumi";
import { SpecError } from "../config/problems";
import { readDescription } from "../config/description";
import { consequences, refusals } from "../config/transition";
import type { ClusterSpec } from "../model/cluster";
import { stepsOf } from "../model/steps";
import type { Plan } from "../plan";

/** What to do about a step of a lost node that was never done: nothing is asked of that host, so it cannot be done now. */
function lostAdvice({ spec, prefix }: Plan, name: string, urn: string): string | undefined {
    const node = spec.nodes.find((n) => n.lost && stepsOf(n).some((step) => name === `${prefix}${n.name}-${step}`));
    return (
        node &&
        `k3s-ha:nodes (${node.name}).lost: is true, and ${name} was never done, which would reach for the host now. Leave it out of this run: pulumi up --exclude '${urn}' --exclude-dependents; then take ${node.name} out of the stack file`
    );
}

/** Says so before the engine dials, in the preview already. */
export function lostGuard(plan: Plan): pulumi.ResourceHook {
    return new pulumi.ResourceHook(
        `${plan.spec.cluster}-lost`,
        (args) => {
            const advice = lostAdvice(plan, args.name, args.urn);
            if (advice !== undefined) throw new Error(advice);
        },
        { onDryRun: true },
    );
}

/** Refuses what may not become of a cluster, in the preview already. */
export function transitionGuard(spec: ClusterSpec): pulumi.ResourceHook {
    return new pulumi.ResourceHook(
        `${spec.cluster}-transition`,
        (args) => {
            const after: unknown = args.newInputs?.["input"];
            // Unknown in a preview where another resource has still to give the addresses: the `up` asks again.
            if (after === null || typeof after !== "object") return;
            const before = readDescription(args.oldInputs?.["input"]);
            const now = readDescription(after);
            const problems = refusals(before, now, spec.allow);
            if (problems.length > 0) throw new SpecError(problems);
            for (const text of consequences(before, now, spec.manifests)) void pulumi.log.warn(text);
        },
        { onDryRun: true },
    );
}
