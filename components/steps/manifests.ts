/** Step manifests, as values and as a resource: files whose objects k3s applies. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { absentManifests, type ClusterSpec, type NodeSpec } from "../model/cluster";
import { MANIFESTS } from "../model/paths";
import type { Bundle } from "../remote/bundle";
import { nodeCommand, remade } from "../remote/node-command";
import { dataOf, type StepContext } from "./context";

/** The files of one server; those of the step that are no longer in it go, and so do absent ones, also those that this step did not write. */
export function manifestsBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const files = spec.manifests.filter(({ state }) => state === "present");
    return {
        settings: { node: node.name, rebuilt: node.rebuilt || undefined, absent: absentManifests(spec) },
        files: files.map(({ name, content = "" }) => ({ path: `${MANIFESTS}/${name}`, mode: "0600", content })),
    };
}

/**
 * Writes the files of one server, where `manifests` has some. k3s there reads them every 15 s, and all of them at its start: other
 * files on another server would change the objects back, so every server has them before any k3s starts. Its removal takes the files
 * and leaves the objects.
 */
export function manifests(
    context: StepContext,
    node: NodeSpec,
    prepare: remote.Command,
    parent: pulumi.Resource,
): remote.Command | undefined {
    const { spec, hooks } = context;
    if (node.role !== "server" || spec.manifests.length === 0) return undefined;
    const text = dataOf(context, node, manifestsBundle);
    return nodeCommand(
        context,
        "manifests",
        node,
        { create: "apply", stdin: spec.confidentialManifests ? pulumi.secret(text) : text, remove: "remove" },
        { parent, dependsOn: [prepare], hooks: hooks.command, ...remade(prepare) },
    );
}
