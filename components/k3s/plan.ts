/** What the steps stage and k3s are given on a node: settings and files, as values. */
import { backendName, caFile } from "../proxy/plan";
import type { Bundle } from "../remote/bundle";
import type { ClusterSpec, NodeSpec } from "../spec/spec";
import { joinUrl, k3sFiles, k3sUnit } from "./config";

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

/** config.yaml and unit of a node; k3s is restarted when one of them, or the binary, differs from what is there. */
export function k3sBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const masters = spec.nodes.filter((n) => n.role === "server");
    return {
        settings: {
            node: node.name,
            address: node.address,
            rebuilt: node.rebuilt || undefined,
            version: spec.version,
            "join-url": joinUrl(spec),
            // Who could hold a cluster already: asked by the founding guard.
            other:
                node.name === spec.founder
                    ? masters.filter((m) => m.name !== node.name).map((m) => `${m.name} ${m.address}`)
                    : undefined,
            backend: backendName(spec),
            "proxy-ca": spec.proxy.check.verify && spec.proxy.preset !== "seed" ? caFile(spec) : undefined,
            "wait-seconds": node.role === "server" ? spec.timeouts.server : spec.timeouts.agent,
        },
        files: [...k3sFiles(spec, node), k3sUnit(spec, node)],
    };
}
