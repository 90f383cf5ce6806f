/** A web proxy for k3s, in a file that its unit reads. */
import { contains, parseNetwork } from "../../model/networks";
import type { ClusterSpec } from "../../model/cluster";

/** Files that the unit reads (k3sUnit in steps/k3s-files.ts). */
const ENVIRONMENT = /^\/etc\/(?:default|sysconfig)\/k3s(?:-agent)?$/;

/** Value of a variable in such a file; the last line counts. */
function variable(content: string, name: string): string | undefined {
    const lines = [...content.matchAll(new RegExp(`^(?:export )?(?:${name}|${name.toLowerCase()})=(.*)$`, "gm"))];
    return lines
        .at(-1)?.[1]
        ?.trim()
        .replace(/^(["'])(.*)\1$/, "$2");
}

/** Addresses of nodes that a list in NO_PROXY does not cover. */
function notCovered(spec: ClusterSpec, list: string): string[] {
    if (list.trim() === "*") return [];
    const networks = list.split(",").flatMap((item) => parseNetwork(item.trim()) ?? []);
    return spec.nodes
        .map((n) => n.address)
        .filter((address) => {
            const own = parseNetwork(address);
            return own !== undefined && !networks.some((network) => contains(network, own));
        });
}

/**
 * k3s adds the networks of pods and services to NO_PROXY by itself, and not those of the nodes (1.36.3, pkg/server/server.go,
 * setNoProxyEnv). Then its tunnels, and what the API asks of kubelets, go to the web proxy.
 */
export function warnAboutHttpProxy(spec: ClusterSpec, warnings: string[]): void {
    for (const role of ["server", "agent"] as const) {
        const lines = Object.entries(spec[role].environment).map(([name, value]) => `${name}=${value}`);
        look(spec, `k3s-ha:${role}.environment`, lines.join("\n"), warnings);
    }
    for (const { path, content } of spec.host.files)
        if (ENVIRONMENT.test(path)) look(spec, `${path} (k3s-ha:host.files)`, content, warnings);
}

function look(spec: ClusterSpec, where: string, content: string, warnings: string[]): void {
    if (!variable(content, "HTTPS_PROXY") && !variable(content, "HTTP_PROXY")) return;
    const missing = notCovered(spec, variable(content, "NO_PROXY") ?? "");
    if (missing.length > 0)
        warnings.push(
            `${where} gives k3s a web proxy, and its NO_PROXY lacks nodes (${missing.slice(0, 3).join(", ")}${missing.length > 3 ? ", …" : ""}): k3s would ask the proxy for them. Add NO_PROXY=127.0.0.0/8,${spec.vpn.networks.join(",")}; for images alone, CONTAINERD_HTTPS_PROXY is enough`,
        );
}
