/** Step anonymous-check: what anonymous clients get, asked of every server. */
import type { remote } from "@pulumi/command";
import { servers, type ClusterSpec, type NodeSpec } from "../model/cluster";
import { anonymousSurface } from "../model/readiness";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type Place, type StepContext } from "./context";

/** Which servers are asked, and what they must answer. */
export function anonymousCheckBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: {
            node: node.name,
            version: spec.version,
            readiness: spec.readiness,
            server: servers(spec).map((n) => `${n.name} ${n.address}`),
            expect: anonymousSurface(spec.readiness).map(([path, code]) => `${path} ${code}`),
        },
        files: [],
    };
}

/** Reads only; fails the `up` when a server answers something else. Runs again when servers, version or mode change. */
export function anonymousCheck(context: StepContext, place: Place): remote.Command {
    const { spec } = context;
    const was = {
        component: ["k3s-ha:access:AnonymousSurface", `${spec.cluster}-anonymous-surface`],
        name: `${spec.cluster}-anonymous-surface-proof`,
    } as const;
    return clusterStep(context, "anonymous-check", place, anonymousCheckBundle, was);
}
