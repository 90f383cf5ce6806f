/** What the last `up` of this stack left in its outputs: the one place that asks the engine for it. */
import * as pulumi from "@pulumi/pulumi";
import type { LastRead } from "../model/kubeconfig";

/** The engine's own function behind pulumi.StackReference; by itself it leaves no resource in the state. */
const READ_OUTPUTS = "pulumi:pulumi:readStackOutputs";

/**
 * What of the kubeconfig the last `up` knew; nothing before the first one. `output` is the stack's output that holds both values, where
 * they are not two of their own.
 */
export async function lastRead(output?: string): Promise<LastRead> {
    const name = `${pulumi.getOrganization()}/${pulumi.getProject()}/${pulumi.getStack()}`;
    try {
        const { outputs } = (await pulumi.runtime.invoke(READ_OUTPUTS, { name })) as { outputs?: unknown };
        return readOf(
            output === undefined ? outputs : (outputs as Readonly<Record<string, unknown>> | undefined)?.[output],
        );
    } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        await pulumi.log.warn(
            `the outputs of the last up of ${name} cannot be read (${why}), so the kubeconfig is not read again when its certificate ends soon`,
        );
        return {};
    }
}

/** The two outputs, as index.ts names them. */
export function readOf(outputs: unknown): LastRead {
    const { kubeconfigNotAfter, kubeconfigReadAgain } = (outputs ?? {}) as Readonly<Record<string, unknown>>;
    const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
    return { notAfter: text(kubeconfigNotAfter), readAgain: text(kubeconfigReadAgain) };
}
