/** One host: the scripts on it, and the steps that wait for no other host. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { NodeSpec } from "../model/cluster";
import { sendKit } from "../remote/node-command";
import { NodeComponent } from "../remote/stack-traces";
import type { StepContext } from "./context";
import { haproxy } from "./haproxy";
import { manifests } from "./manifests";
import { etcdData, prepare } from "./prepare";
import { stage } from "./stage";

/** All steps of a node belong to it. */
export class Host extends NodeComponent {
    /** Host checked, scripts and secrets in place. */
    public readonly prepare: remote.Command;
    /** haproxy listens. */
    public readonly haproxy: remote.Command;
    /** The k3s binary and images are on the host. */
    public readonly stage: remote.Command;
    /** On a server, where there are some. */
    public readonly manifests: remote.Command | undefined;
    /** `none`, or the id of the cluster whose etcd data the host held when it was prepared. */
    public readonly etcdData: pulumi.Output<string>;

    /** `after` is what must be allowed before the host is touched. */
    public constructor(
        context: StepContext,
        public readonly node: NodeSpec,
        after: readonly pulumi.Resource[],
    ) {
        const { cluster, hooks, prefix } = context;
        // LocalProxy: in stacks made before 0.2.
        super("k3s-ha:index:Host", prefix + node.name, {
            parent: cluster,
            aliases: [{ type: "k3s-ha:proxy:LocalProxy" }],
        });
        const kit = sendKit(context, node, { parent: this, dependsOn: [...after], hooks: hooks.command });
        this.prepare = prepare(context, node, kit, this);
        this.haproxy = haproxy(context, node, this.prepare, this);
        this.stage = stage(context, node, this.prepare, this);
        this.manifests = manifests(context, node, this.prepare, this);
        this.etcdData = pulumi
            .all([this.prepare.stdout, this.prepare.urn])
            .apply(([out, urn]) => etcdData(node, out, urn));
        this.registerOutputs({ etcdData: this.etcdData });
    }
}
