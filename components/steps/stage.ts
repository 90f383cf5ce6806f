/** Step stage: the k3s binary on one node. */
import type { remote } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { renderBundle, type Bundle } from "../remote/bundle";
import { nodeCommand, remade } from "../remote/node-command";
import { formerName, k3sComponent, type StepContext } from "./context";

/** The k3s binary: which, from where, and what it must be. Restarts nothing. */
export function stageBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const { baseUrl, sha256, file } = spec.download;
    return {
        settings: {
            node: node.name,
            rebuilt: node.rebuilt || undefined,
            version: spec.version,
            "base-url": file === undefined || Object.keys(sha256).length === 0 ? baseUrl : undefined,
            file,
            "sha256-amd64": sha256.amd64,
            "sha256-arm64": sha256.arm64,
            "sha256-arm": sha256.arm,
            "download-seconds": spec.timeouts.download,
        },
        files: [],
    };
}

/** Brings the verified binary to a node, while haproxy is installed. */
export function stage(
    { spec, access, hooks, cluster }: StepContext,
    node: NodeSpec,
    prepare: remote.Command,
    parent: pulumi.Resource,
): remote.Command {
    const was = formerName(cluster, { component: [k3sComponent(node), node.name] });
    return nodeCommand(
        node.name,
        "stage",
        node,
        access,
        { create: "apply", stdin: renderBundle(stageBundle(spec, node)), remove: "remove" },
        { parent, dependsOn: [prepare], hooks: hooks.command, aliases: [was], ...remade(prepare) },
    );
}
