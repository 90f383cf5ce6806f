/** The proof of what anonymous clients get, asked of every master. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { clusterStep, type ClusterStepArgs } from "./cluster-step";
import { servers } from "../model/cluster";
import { anonymousSurface } from "../model/readiness";

/** Reads only; fails the `up` when a master answers something else. Asked again when masters, version or mode change. */
export class AnonymousSurface extends pulumi.ComponentResource {
    public readonly proved: remote.Command;

    public constructor(name: string, args: ClusterStepArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:access:AnonymousSurface", name, {}, opts);
        const { spec, node } = args;
        const settings = {
            node: node.name,
            version: spec.version,
            readiness: spec.readiness,
            master: servers(spec).map((n) => `${n.name} ${n.address}`),
            expect: anonymousSurface(spec.readiness).map(([path, code]) => `${path} ${code}`),
        };
        this.proved = clusterStep(`${name}-proof`, "surface.sh", "", { settings, files: [] }, args, this);
        this.registerOutputs({});
    }
}
