/** The proof of what anonymous clients get, asked of every master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterStepArgs } from "./cluster-step";
import { renderBundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";
import { servers } from "../model/cluster";
import { anonymousSurface } from "../model/readiness";

/** Reads only; fails the `up` when a master answers something else. Asked again when masters, version or mode change. */
export class AnonymousSurface extends pulumi.ComponentResource {
    public readonly proved: remote.Command;

    public constructor(name: string, args: ClusterStepArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:access:AnonymousSurface", name, {}, opts);
        const { spec, node } = args;
        this.proved = nodeCommand(
            `${name}-proof`,
            node,
            args.access,
            {
                script: "surface.sh",
                create: "",
                stdin: renderBundle({
                    settings: {
                        node: node.name,
                        version: spec.version,
                        readiness: spec.readiness,
                        master: servers(spec).map((n) => `${n.name} ${n.address}`),
                        expect: anonymousSurface(spec.readiness).map(([path, code]) => `${path} ${code}`),
                    },
                    files: [],
                }),
            },
            { parent: this, dependsOn: [...args.after], hooks: args.hooks },
        );
        this.registerOutputs({});
    }
}
