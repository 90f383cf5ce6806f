/** The k3s binary on one node. */
import type { remote } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { renderBundle, type Bundle } from "../remote/bundle";
import { nodeCommand, remade } from "../remote/node-command";
import type { K3sNodeArgs } from "./k3s";

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
