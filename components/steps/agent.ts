/** Step agent: k3s on one agent. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { nodeCommand, remade } from "../remote/node-command";
import { formerName, k3sComponent, type StepContext } from "./context";
import type { Host } from "./host";
import { k3sData } from "./k3s";

/**
 * Writes what step server writes, with k3s-agent.service. k3s joins through its own proxy and stays behind it; done when its Node is
 * Ready and initialized by the cloud controller.
 */
export function agent(
    context: StepContext,
    host: Host,
    args: { readonly caHash: pulumi.Input<string>; readonly after: readonly pulumi.Resource[] },
): remote.Command {
    const { secrets, hooks, cluster } = context;
    const { node } = host;
    return nodeCommand(
        context,
        "agent",
        node,
        {
            create: pulumi.interpolate`apply --ca-hash=${args.caHash}`,
            note: secrets.revision(secrets.agentToken),
            stdin: k3sData(context, node),
            remove: "remove",
        },
        {
            parent: host,
            dependsOn: [host.haproxy, host.stage, ...args.after],
            hooks: hooks.agent,
            aliases: [formerName(cluster, { component: [k3sComponent(node), node.name], name: `${node.name}-k3s` })],
            ...remade(host.prepare),
        },
    );
}
