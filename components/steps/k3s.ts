/** What the steps stage and k3s are given on a node: settings and files, as values. */
import { createHash } from "node:crypto";
import { backendName, caFile, serverName } from "../model/proxy";
import type { Bundle } from "../remote/bundle";
import { filesReadAtStart } from "../config/checks/files";
import { flannelBackend, takenFromServers } from "../config/founding";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { joinUrl, k3sFiles, k3sUnit, nodeLabels } from "./k3s-files";

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

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** What the step cannot wait for, since somebody else brings it later; with whose job it is. */
function waits(spec: ClusterSpec, node: NodeSpec): Record<string, string | undefined> {
    const controller = spec.nodes.some((n) => n.role === "server" && n.config["disable-cloud-controller"] === true);
    return {
        "no-node-ready":
            flannelBackend(spec) === "none"
                ? "server.config.flannel-backend is none: your CNI makes the Nodes Ready"
                : undefined,
        "no-node-initialized":
            controller && node.role === "agent"
                ? "server.config.disable-cloud-controller is true: your cloud controller initializes the Nodes"
                : undefined,
    };
}

/** config.yaml and unit of a node; k3s is restarted when one of them, or the binary, differs from what is there. */
export function k3sBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const onServers =
        node.role === "server"
            ? {
                  datastore: spec.datastore === "sqlite" ? "sqlite" : undefined,
                  snapshot: spec.snapshots.beforeUpgrade && node.name === spec.founder ? "before-upgrade" : undefined,
                  rotates: node.name === spec.founder ? "yes" : undefined,
              }
            : {};
    return {
        settings: {
            node: node.name,
            address: node.address,
            rebuilt: node.rebuilt || undefined,
            version: spec.version,
            "join-url": joinUrl(spec),
            ...onServers,
            // Without their content, which may be long; what k3s runs with is told by their digest.
            reads: filesReadAtStart(spec, node).map(({ path, content }) => `${path} ${sha256(content)}`),
            ...waits(spec, node),
            "flannel-backend": flannelBackend(spec) === "vxlan" ? undefined : flannelBackend(spec),
            "from-servers": node.role === "agent" ? takenFromServers(spec) : undefined,
            // Counts on all nodes: masters one by one, then agents.
            renew: spec.rotate.certificates || undefined,
            "drain-seconds": spec.rollout.drainSeconds,
            backend: backendName(spec),
            "proxy-ca": spec.proxy.check.verify && spec.proxy.preset !== "seed" ? caFile(spec) : undefined,
            "wait-seconds": node.role === "server" ? spec.timeouts.server : spec.timeouts.agent,
        },
        files: [...k3sFiles(spec, node), k3sUnit(spec, node, serverName(spec, node))],
    };
}

/** Nodes that the cluster must forget, and keep out should they come back. */
export function fenceBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: {
            node: node.name,
            datastore: spec.datastore === "sqlite" ? "sqlite" : undefined,
            lost: spec.nodes.filter((n) => n.lost).map((n) => n.name),
        },
        files: [],
    };
}

/** The Nodes as they are to be: who is a member, with which labels and taints. */
export function nodesBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const live = spec.nodes.filter((n) => !n.lost);
    return {
        settings: {
            node: node.name,
            datastore: spec.datastore === "sqlite" ? "sqlite" : undefined,
            "leave-seconds": spec.rollout.leaveSeconds,
            // A host that was rebuilt has a new Node, without this step's marks.
            member: live.map((n) => `${n.name} ${n.role}${n.rebuilt > 0 ? ` ${n.rebuilt}` : ""}`),
            label: live.flatMap((n) => nodeLabels(n).map((label) => `${n.name} ${label}`)),
            taint: live.flatMap((n) => [...n.taints].sort().map((taint) => `${n.name} ${taint}`)),
        },
        files: [],
    };
}
