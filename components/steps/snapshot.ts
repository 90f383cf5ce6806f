/** The snapshot that the stack file asks for. */
import * as pulumi from "@pulumi/pulumi";
import { clusterStep, type ClusterStepArgs } from "./cluster-step";

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
