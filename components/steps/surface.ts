/** The proof of what anonymous clients get, asked of every master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterStepArgs } from "./server";
import { renderBundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";
import { servers, type Readiness } from "../model/cluster";
import { PUBLIC_PATHS } from "../model/readiness";

/** Path and HTTP code that a client without credentials must get in a readiness mode. */
export function anonymousSurface(readiness: Readiness): (readonly [path: string, code: number])[] {
    const open = readiness === "unauthorized" ? 401 : 200;
    const closed = readiness === "anonymous" ? 403 : 401;
    return [
        ...PUBLIC_PATHS.map((path) => [path, open] as const),
        ...["/version", "/api", "/metrics", "/api/v1/namespaces/kube-system/secrets"].map(
            (path) => [path, closed] as const,
        ),
    ];
}

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
