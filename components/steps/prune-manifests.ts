/** Step prune-manifests, as values and as a resource: objects of files that are to go. */
import type { remote } from "@pulumi/command";
import { absentManifests, type ClusterSpec, type NodeSpec } from "../model/cluster";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type Place, type StepContext } from "./context";

/** Names only: what of the cluster's objects is to go. */
export function pruneManifestsBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: { node: node.name, absent: absentManifests(spec), "wait-seconds": spec.timeouts.server },
        files: [],
    };
}

/** Deletes the objects of files whose state is absent, when no server has these files any more; made where there are some. */
export function pruneManifests(context: StepContext, place: Place): remote.Command | undefined {
    if (absentManifests(context.spec).length === 0) return undefined;
    return clusterStep(context, "prune-manifests", place, pruneManifestsBundle);
}
