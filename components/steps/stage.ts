/** Step stage: the k3s binary and archives of images on one node. */
import type { remote } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import type { Bundle } from "../remote/bundle";
import { nodeCommand, remade } from "../remote/node-command";
import { dataOf, formerName, k3sComponent, type StepContext } from "./context";

/** The archives of images: k3s's own by `source`, further ones by their sums. */
function imageSettings({ images }: ClusterSpec): Bundle["settings"] {
    const { source, format, file, sha256, files } = images;
    if (source === "none" && files.length === 0) return {};
    return {
        images: source === "release" ? `release ${format}` : source === "file" ? `file ${file}` : undefined,
        "images-sha256-amd64": sha256.amd64,
        "images-sha256-arm64": sha256.arm64,
        "images-sha256-arm": sha256.arm,
        image: files.map((archive) => `${archive.sha256} ${archive.from}`),
    };
}

/** The k3s binary and images: which, from where, and what they must be. Restarts nothing. */
export function stageBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const { baseUrl, sha256, file } = spec.download;
    const downloads = file === undefined || Object.keys(sha256).length === 0 || spec.images.source === "release";
    return {
        settings: {
            node: node.name,
            rebuilt: node.rebuilt || undefined,
            version: spec.version,
            "base-url": downloads ? baseUrl : undefined,
            file,
            "sha256-amd64": sha256.amd64,
            "sha256-arm64": sha256.arm64,
            "sha256-arm": sha256.arm,
            ...imageSettings(spec),
            "download-seconds": spec.timeouts.download,
        },
        files: [],
    };
}

/** Brings the verified binary and images to a node, while haproxy is installed. */
export function stage(
    context: StepContext,
    node: NodeSpec,
    prepare: remote.Command,
    parent: pulumi.Resource,
): remote.Command {
    const { hooks, cluster } = context;
    const was = formerName(cluster, { component: [k3sComponent(node), node.name] });
    return nodeCommand(
        context,
        "stage",
        node,
        { create: "apply", stdin: dataOf(context, node, stageBundle), remove: "remove" },
        { parent, dependsOn: [prepare], hooks: hooks.command, aliases: [was], ...remade(prepare) },
    );
}
