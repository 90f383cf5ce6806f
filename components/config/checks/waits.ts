/**
 * What every step on k3s waits for: a Node of the node's name, with its part of the pods' network. Settings that keep it from coming would
 * let the first `up` wait in vain; where somebody else brings it (an own CNI, a cloud controller), the step does not wait (steps/k3s.ts).
 */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import type { K3sConfig } from "../../model/cluster";

/** Flags of the kubelet that keep its Node away, with the reason. */
const KUBELET_FLAGS: readonly (readonly [flag: RegExp, reason: string])[] = [
    [/^-{0,2}register-node=false$/, "keeps the kubelet from making its Node, which each step waits for; leave it out"],
    [/^-{0,2}hostname-override(=|$)/, "gives the Node another name than the stack file's; use nodes[].name"],
];

export function checkWaits(settings: StackSettings, report: Report): void {
    if (settings.kubelet["registerNode"] === false) report(["kubelet", "registerNode"], false, KUBELET_FLAGS[0]![1]);
    const look = (config: K3sConfig | undefined, path: readonly PropertyKey[]): void => {
        [config?.["kubelet-arg"] ?? []].flat().forEach((arg, i) => {
            const reason = KUBELET_FLAGS.find(([flag]) => flag.test(String(arg)))?.[1];
            if (reason !== undefined) report([...path, "kubelet-arg", i], arg, reason);
        });
        if (settings.server.config?.["flannel-backend"] === "none") return;
        [config?.["kube-controller-manager-arg"] ?? []].flat().forEach((arg, i) => {
            if (/^-{0,2}allocate-node-cidrs=false$/.test(String(arg)))
                report(
                    [...path, "kube-controller-manager-arg", i],
                    arg,
                    "leaves the Nodes without a part of the pods' network, which flannel waits for; leave it out, or bring a CNI of your own (server.config.flannel-backend: none)",
                );
        });
    };
    look(settings.server.config, ["server", "config"]);
    look(settings.agent.config, ["agent", "config"]);
    settings.nodes.forEach((node, i) => look(node.config, ["nodes", i, "config"]));
    checkControllerManager(settings, report);
}

/** Without one no Node is given a part of the pods' network, nor is anything else done; the first server comes up alone. */
function checkControllerManager({ nodes, server }: StackSettings, report: Report): void {
    const key = "disable-controller-manager";
    const all = server.config?.[key];
    const live = nodes.flatMap((node, i) => (node.role === "server" && node.lost !== true ? [{ node, i }] : []));
    const first = live.find(({ node }) => (node.rebuilt ?? 0) === 0) ?? live[0];
    const own = first?.node.config?.[key];
    const why = "the first server comes up alone, and without a controller manager its Node is never Ready";
    if (own === true)
        report(
            ["nodes", first!.i, "config", key],
            own,
            `cannot be set here: ${why}; list a server that has one before it`,
        );
    else if (own === undefined && all === true)
        report(
            ["server", "config", key],
            all,
            `cannot be set for all servers: ${why}; set it at some nodes, not at the first (nodes[].config)`,
        );
}
