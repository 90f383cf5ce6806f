/** Nodes: names, addresses, labels, how many servers. */
import { configPath, shown, type Report } from "../problems";
import type { Problem } from "../../haproxy/problem";
import { isKubeletLabel } from "../kubelet-labels";
import type { NodeSettings } from "../../settings";
import { canonicalAddress, isIPv6Address } from "../../values";
import { repeated } from "./repeated";

/** The few relations that can be told when other parts are malformed. */
export function relationsOfParts(raw: unknown): Problem[] {
    const nodes = (raw as { nodes?: unknown } | null)?.nodes;
    if (!Array.isArray(nodes)) return [];
    const problems: Problem[] = [];
    const plain = nodes.map((n: unknown) => {
        const { name, address } = (n ?? {}) as { name?: unknown; address?: unknown };
        return {
            name: typeof name === "string" ? name : undefined,
            address: typeof address === "string" ? address : undefined,
        };
    });
    duplicates(plain, (path, value, message) =>
        problems.push({ path: configPath(path), value: shown(value), message }),
    );
    return problems;
}

function duplicates(nodes: readonly { name?: string; address?: string }[], report: Report): void {
    const told =
        (field: "name" | "address") => (node: { name?: string; address?: string }, i: number, before: number) =>
            report(
                ["nodes", i, field],
                node[field],
                `is also the ${field} of nodes[${before}]; every node needs its own`,
            );
    repeated(nodes, ({ name }) => name, told("name"));
    repeated(nodes, ({ address }) => (address === undefined ? undefined : canonicalAddress(address)), told("address"));
}

export function checkNodes(nodes: readonly NodeSettings[], report: Report, warnings: string[]): void {
    duplicates(nodes, report);
    const servers = nodes.filter((n) => n.role === "server" && n.lost !== true).length;
    if (servers === 0)
        report(
            ["nodes"],
            undefined,
            "has no node with role server (that is not lost); at least one is needed, three for high availability",
        );
    if (servers > 0 && servers % 2 === 0) {
        warnings.push(
            `k3s-ha:nodes has ${servers} servers: etcd needs a majority, so ${servers} tolerate the loss of ${Math.floor((servers - 1) / 2)}, ` +
                `as ${servers - 1} would, with one more that can fail. Use ${servers - 1} or ${servers + 1}.`,
        );
    }
    nodes.forEach((node, i) => {
        if (isLoopback(node.address))
            report(
                ["nodes", i, "address"],
                node.address,
                "is a loopback or unspecified address; the other nodes must reach it over the VPN",
            );
        if (isMulticast(node.address)) report(["nodes", i, "address"], node.address, "is no address of one host");
        for (const key of Object.keys(node.labels ?? {}))
            if (!isKubeletLabel(key))
                report(
                    ["nodes", i, "labels", key],
                    node.labels?.[key],
                    "is a label that a kubelet may not give its own Node, and it would not start: in kubernetes.io and k8s.io only node.kubernetes.io/… and a few others are open to it. Use a name of your own, or kubectl label",
                );
        if (node.throughProxy !== undefined && node.role === "server")
            report(["nodes", i, "throughProxy"], node.throughProxy, "is for agents; a server asks its own API");
        if (node.externalAddress !== undefined && isIPv6Address(node.externalAddress) !== isIPv6Address(node.address)) {
            report(
                ["nodes", i, "externalAddress"],
                node.externalAddress,
                `is of another family than the node's address ${node.address}`,
            );
        }
    });
}

/** An address of many hosts, or of all. */
export function isMulticast(address: string): boolean {
    return /^(22[4-9]|2[34]\d|25[0-5])\./.test(address) || canonicalAddress(address).startsWith("[ff");
}

/** An address of the host itself, or of none. */
export function isLoopback(address: string): boolean {
    return /^127\.|^0\./.test(address) || ["[::1]", "[::]"].includes(canonicalAddress(address));
}
