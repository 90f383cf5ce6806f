/** k3s on one master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { nodeCommand, remade } from "../remote/node-command";
import { NodeComponent } from "../remote/traces";
import { k3sData, type K3sNodeArgs } from "./k3s";
import { stageBinary } from "./stage";

/** Arguments of {@link Server}. */
export interface ServerArgs extends K3sNodeArgs {
    /** For the founding master: what the others said of their etcd data, `name@address=none,…`. */
    readonly others?: pulumi.Input<string>;
}

/**
 * Writes the binary below /var/lib/k3s-ha/bin, then /usr/local/bin/k3s, /etc/rancher/k3s and k3s.service. k3s is restarted when
 * the binary, one of its files or the unit differs from what is there; done when it is an etcd voter, ready, and its Node too.
 */
export class Server extends NodeComponent {
    /** The binary lies on the host. */
    public readonly staged: remote.Command;
    /** The master is a voter and ready. */
    public readonly running: remote.Command;

    public constructor(name: string, args: ServerArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:k3s:Server", name, opts);
        const { spec, node, access, secrets, proxy, hooks } = args;
        this.staged = stageBinary(name, args, this);
        const pinned = pulumi.output(args.caHash).apply((hash) => (hash ? ` --ca-hash=${hash}` : ""));
        const apply = pulumi.interpolate`apply${pinned}`;
        const restore = spec.snapshots.restore === undefined ? "" : ` --restore=${spec.snapshots.restore}`;
        this.running = nodeCommand(
            `${name}-k3s`,
            node,
            access,
            {
                script: "server.sh",
                create:
                    args.others === undefined
                        ? apply
                        : pulumi.interpolate`found --others=${args.others}${restore}${pinned}`,
                // Only the very first run may found a cluster: an update never does.
                update: args.others === undefined ? undefined : apply,
                note: secrets.revision(
                    secrets.token,
                    secrets.agentToken,
                    ...(secrets.s3 ? [secrets.s3.accessKey, secrets.s3.secretKey] : []),
                ),
                stdin: k3sData(spec, node),
                remove: "remove",
            },
            {
                parent: this,
                dependsOn: [proxy.running, this.staged, ...args.after],
                // What others said on the first day matters on that day only.
                ignoreChanges: args.others === undefined ? undefined : ["create"],
                hooks,
                ...remade(proxy.prepared),
            },
        );
        this.registerOutputs({});
    }
}
