/** k3s on one agent. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { nodeCommand, remade } from "../remote/node-command";
import { NodeComponent } from "../remote/traces";
import { k3sData, type K3sNodeArgs } from "./k3s";
import { stageBinary } from "./stage";

/**
 * Writes what Server writes, with k3s-agent.service. Joins through its own proxy and stays behind it; done when its Node is
 * Ready and initialized by the cloud controller.
 */
export class Agent extends NodeComponent {
    /** The binary lies on the host. */
    public readonly staged: remote.Command;
    /** The Node is Ready. */
    public readonly running: remote.Command;

    public constructor(name: string, args: K3sNodeArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:k3s:Agent", name, opts);
        const { spec, node, access, secrets, proxy, hooks } = args;
        this.staged = stageBinary(name, args, this);
        this.running = nodeCommand(
            `${name}-k3s`,
            node,
            access,
            {
                script: "agent.sh",
                create: pulumi.interpolate`apply --ca-hash=${args.caHash}`,
                note: secrets.revision(secrets.agentToken),
                stdin: k3sData(spec, node),
                remove: "remove",
            },
            { parent: this, dependsOn: [proxy.running, this.staged, ...args.after], hooks, ...remade(proxy.prepared) },
        );
        this.registerOutputs({});
    }
}
