/** The way into the cluster: its CA and kubeconfig, read from the founding master. */
import { types, type remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterStepArgs } from "./cluster-step";
import { renderBundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";
import { certificateEnd, endWarning, parseAccess, stackKubeconfig } from "../model/kubeconfig";

/** Reads only. Runs again when the version changes, since a restart may have renewed the certificates. */
export class ClusterAccess extends pulumi.ComponentResource {
    /** SHA-256 of the cluster's CA, as k3s's tokens carry it; public. */
    public readonly caHash: pulumi.Output<string>;
    /** Secret: it is the administrator's. */
    public readonly kubeconfig: pulumi.Output<string>;
    /** When its certificate ends, in ISO 8601; empty where that cannot be read. */
    public readonly notAfter: pulumi.Output<string>;
    public readonly read: remote.Command;

    public constructor(name: string, args: ClusterStepArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:access:ClusterAccess", name, {}, opts);
        const { spec, node } = args;
        this.read = nodeCommand(
            `${name}-kubeconfig`,
            node,
            args.access,
            {
                script: "kubeconfig.sh",
                create: "",
                stdin: renderBundle({
                    settings: {
                        node: node.name,
                        version: spec.version,
                        rebuilt: node.rebuilt || undefined,
                        renew: spec.rotate.certificates || undefined,
                    },
                    files: [],
                }),
                logging: types.enums.remote.Logging.None,
            },
            { parent: this, dependsOn: [...args.after], additionalSecretOutputs: ["stdout"], hooks: args.hooks },
        );
        const parts = pulumi.secret(this.read.stdout).apply(parseAccess);
        this.caHash = pulumi.unsecret(parts.apply((p) => p.caHash));
        this.kubeconfig = parts.apply((p) => stackKubeconfig(p.k3sYaml, spec));
        this.notAfter = pulumi.unsecret(
            parts.apply(async ({ k3sYaml }) => {
                const end = certificateEnd(k3sYaml);
                const warning = endWarning(end, new Date());
                if (warning !== undefined) await pulumi.log.warn(warning, this);
                return end?.toISOString() ?? "";
            }),
        );
        this.registerOutputs({});
    }
}
