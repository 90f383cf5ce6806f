/** What a cluster is made from: as it is known now, and as it will be when other resources have given its addresses. */
import * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "./model/cluster";

/** Where steps take the description from. */
export interface Plan {
    /** Names, roles, settings: it decides which resources exist. Its addresses may be stand-ins, so only `tell` may look at them. */
    readonly spec: ClusterSpec;
    /** What follows from addresses, too: at once where they are known, as with a stack file. */
    readonly tell: <T>(make: (spec: ClusterSpec) => T) => pulumi.Input<T>;
    /** The description as it will be; never resolves in a preview in which an address is unknown. */
    readonly whole: () => Promise<ClusterSpec>;
    /** What the names of the nodes' resources begin with; empty where a program has one cluster. */
    readonly prefix: string;
}

/** Of a description that is known as a whole. */
export function knownPlan(spec: ClusterSpec, prefix = ""): Plan {
    return { spec, tell: (make) => make(spec), whole: () => Promise.resolve(spec), prefix };
}

/** Of one whose addresses come later; `spec` has stand-ins in their places. */
export function laterPlan(spec: ClusterSpec, resolved: pulumi.Output<ClusterSpec>, prefix: string): Plan {
    // What is made may hold inputs of its own, such as a private key.
    const tell = <T>(make: (spec: ClusterSpec) => T): pulumi.Input<T> =>
        resolved.apply((told) => pulumi.output(make(told))) as pulumi.Output<T>;
    const whole = (): Promise<ClusterSpec> => new Promise((resolve) => void resolved.apply(resolve));
    return { spec, tell, whole, prefix };
}

/** What is made of a node, as it will be. */
export function tellOf<T>(
    { tell }: Pick<Plan, "tell">,
    { name }: NodeSpec,
    make: (spec: ClusterSpec, node: NodeSpec) => T,
): pulumi.Input<T> {
    return tell((spec) => make(spec, spec.nodes.find((node) => node.name === name) as NodeSpec));
}
