/** k3s on one master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { renderBundle } from "../remote/bundle";
import { nodeCommand, remade, type SshAccess } from "../remote/node-command";
import type { LocalProxy } from "./local-proxy";
import type { ClusterSecrets } from "../secrets";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { k3sBundle, stageBundle } from "./k3s";

/** Arguments of {@link Server} and Agent. */
export interface K3sNodeArgs {
    readonly spec: ClusterSpec;
    readonly node: NodeSpec;
    readonly access: SshAccess;
    readonly secrets: ClusterSecrets;
    /** The node's own proxy, which it joins through. */
    readonly proxy: LocalProxy;
    /** SHA-256 of the cluster's CA; absent only for the master that founds the cluster. */
    readonly caHash?: pulumi.Input<string>;
    /** Steps of other nodes that come first. */
    readonly after: readonly pulumi.Resource[];
    readonly hooks?: pulumi.ResourceHookBinding;
}

/** Arguments of {@link Server}. */
export interface ServerArgs extends K3sNodeArgs {
    /** For the founding master: what the others said of their etcd data, `name@address=none,…`. */
    readonly others?: pulumi.Input<string>;
}

/** Arguments of the steps that are the cluster's and run on one master. */
export interface ClusterStepArgs {
    readonly spec: ClusterSpec;
    /** The master that the step runs on. */
    readonly node: NodeSpec;
    readonly access: SshAccess;
    readonly after: readonly pulumi.Resource[];
    readonly hooks?: pulumi.ResourceHookBinding;
}

/**
 * Writes the binary below /var/lib/k3s-ha/bin, then /usr/local/bin/k3s, /etc/rancher/k3s and k3s.service. k3s is restarted when
 * the binary, one of its files or the unit differs from what is there; done when it is an etcd voter, ready, and its Node too.
 */
export class Server extends pulumi.ComponentResource {
    /** The binary lies on the host. */
    public readonly staged: remote.Command;
    /** The master is a voter and ready. */
    public readonly running: remote.Command;

    public constructor(name: string, args: ServerArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:k3s:Server", name, {}, opts);
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

/** Data of step k3s: secret as a whole where one of its settings is encrypted in the stack file. */
export function k3sData(spec: ClusterSpec, node: NodeSpec): pulumi.Input<string> {
    const text = renderBundle(k3sBundle(spec, node));
    return spec.confidential ? pulumi.secret(text) : text;
}

/** Brings the verified binary to a node, beside the proxy's installation. */
export function stageBinary(name: string, args: K3sNodeArgs, parent: pulumi.Resource): remote.Command {
    return nodeCommand(
        `${name}-stage`,
        args.node,
        args.access,
        {
            script: "stage.sh",
            create: "apply",
            stdin: renderBundle(stageBundle(args.spec, args.node)),
            remove: "remove",
        },
        { parent, dependsOn: [args.proxy.prepared], hooks: args.hooks, ...remade(args.proxy.prepared) },
    );
}
