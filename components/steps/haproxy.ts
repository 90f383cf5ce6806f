/** What step haproxy is given on a node, as values. */
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { backendName, caFile, haproxyConfig, statsAddress } from "../model/proxy";
import { readyCodes } from "../model/readiness";
import type { Bundle } from "../remote/bundle";

/** haproxy from the distribution's package, its configuration, and what must be true at the end. */
export function haproxyBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    return {
        settings: {
            node: node.name,
            rebuilt: node.rebuilt || undefined,
            listen: [`127.0.0.1 ${spec.proxy.port}`, `${statsAddress(spec, node)} ${spec.proxy.stats.port}`],
            backend: backendName(spec),
            expect: readyCodes(spec.readiness).join(","),
            "ca-file": spec.proxy.check.verify && spec.proxy.preset !== "seed" ? caFile(spec) : undefined,
            "vpn-unit": spec.vpn.unit,
        },
        files: [{ path: "/etc/haproxy/haproxy.cfg", mode: "0600", content: haproxyConfig(spec, node) }],
    };
}
