/** Step server: k3s on one server. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { nodeCommand, remade, type NodeStep } from "../remote/node-command";
import { formerName, k3sComponent, type StepContext } from "./context";
import type { Host } from "./host";
import { k3sData } from "./k3s";

/** What a server starts with. */
export interface ServerArgs {
    /** SHA-256 of the cluster's CA; absent only for the server that founds the cluster. */
    readonly caHash?: pulumi.Input<string>;
    /** For the first server: what the others said of their etcd data, `name@address=none,…`. */
    readonly others?: pulumi.Input<string>;
    /** Steps of other nodes that come first. */
    readonly after: readonly pulumi.Resource[];
}

/** Founds the cluster in its very first run only, or joins it. */
function commandLines({ spec }: StepContext, { caHash, others }: ServerArgs): Pick<NodeStep, "create" | "update"> {
    const pinned = pulumi.output(caHash).apply((hash) => (hash ? ` --ca-hash=${hash}` : ""));
    const apply = pulumi.interpolate`apply${pinned}`;
    if (others === undefined) return { create: apply };
    const restore = spec.snapshots.restore === undefined ? "" : ` --restore=${spec.snapshots.restore}`;
    return { create: pulumi.interpolate`found --others=${others}${restore}${pinned}`, update: apply };
}

/**
 * Writes /usr/local/bin/k3s, /etc/rancher/k3s and k3s.service. k3s is restarted when the binary, one of its files or the unit differs from
 * what is there; done when it is an etcd voter, ready, and its Node too.
 */
export function server(context: StepContext, host: Host, args: ServerArgs): remote.Command {
    const { secrets, hooks, cluster } = context;
    const { node } = host;
    const { token, agentToken, s3 } = secrets;
    return nodeCommand(
        context,
        "server",
        node,
        {
            ...commandLines(context, args),
            note: secrets.revision(token, agentToken, ...(s3 ? [s3.accessKey, s3.secretKey] : [])),
            stdin: k3sData(context, node),
            remove: "remove",
        },
        {
            parent: host,
            dependsOn: [host.haproxy, host.stage, ...args.after],
            // What others said on the first day matters on that day only.
            ignoreChanges: args.others === undefined ? undefined : ["create"],
            hooks: hooks.command,
            aliases: [formerName(cluster, { component: [k3sComponent(node), node.name], name: `${node.name}-k3s` })],
            ...remade(host.prepare),
        },
    );
}
