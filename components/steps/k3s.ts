/** What the steps server and agent are given, as values. */
import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { flannelBackend, takenFromServers } from "../model/change-rules";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { backendName, caFile, serverName } from "../model/proxy";
import type { Bundle } from "../remote/bundle";
import { dataOf, type StepContext } from "./context";
import { filesReadAtStart, joinUrl, k3sFiles, k3sUnit } from "./k3s-files";

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
                  datastore: spec.server.datastore === "sqlite" ? "sqlite" : undefined,
                  snapshot:
                      spec.snapshots.beforeUpgrade && node.name === spec.firstServer ? "before-upgrade" : undefined,
                  rotates: node.name === spec.firstServer ? "yes" : undefined,
                  // The first server makes the new key, the others read it when they restart.
                  encryption:
                      spec.rotate.secretsEncryption > 0
                          ? `${spec.rotate.secretsEncryption} ${spec.firstServer}`
                          : undefined,
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
            // Counts on all nodes: servers one by one, then agents.
            renew: spec.rotate.certificates || undefined,
            "drain-seconds": spec.rollout.drainSeconds,
            backend: backendName(spec),
            "proxy-ca": spec.proxy.check.verify && spec.proxy.preset !== "ansible-role" ? caFile(spec) : undefined,
            "wait-seconds": node.role === "server" ? spec.timeouts.server : spec.timeouts.agent,
        },
        files: [...k3sFiles(spec, node), k3sUnit(spec, node, serverName(spec, node))],
    };
}

/** Data of the step: secret as a whole where one of its settings is encrypted in the stack file. */
export function k3sData(context: StepContext, node: NodeSpec): pulumi.Input<string> {
    const text = dataOf(context, node, k3sBundle);
    return context.spec.confidential ? pulumi.secret(text) : text;
}
