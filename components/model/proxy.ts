/** The proxy of a node: its configuration, and the names by which others know parts of it. Pure. */
import {
    backendName as haproxyBackend,
    caFilePath,
    explain,
    listenPlaces,
    merge,
    recommended,
    renderHaproxy,
    ansibleRole,
    type HaproxyConfig,
    type ProxyParams,
} from "../haproxy";
import { servers, type ClusterSpec, type NodeSpec } from "./cluster";
import { readyCodes } from "./readiness";
import { canonicalAddress, urlHost } from "../values";

/** The backend's name in haproxy, its metrics and its socket. */
export function backendName(spec: ClusterSpec): string {
    return haproxyBackend(spec);
}

/** Where the proxies find the cluster's CA, once it is known. */
export function caFile(spec: ClusterSpec): string {
    return caFilePath(spec.cluster);
}

/** The address of a node's stats page and metrics. */
export function statsAddress(spec: ClusterSpec, node: NodeSpec): string {
    return spec.proxy.stats.address === "node" ? node.address : spec.proxy.stats.address;
}

/** The preset's parameters on a node: equal everywhere but for the address of the stats page. */
export function proxyParams(spec: ClusterSpec, node: NodeSpec): ProxyParams {
    const { proxy } = spec;
    const { verify, ...check } = proxy.check;
    return {
        ...proxy,
        cluster: spec.cluster,
        backend: backendName(spec),
        apiServers: servers(spec).map((n) => ({ name: n.name, address: n.address, port: 6443 })),
        frontend: { port: proxy.port, ipv6: proxy.ipv6 },
        stats: {
            ...proxy.stats,
            address: statsAddress(spec, node),
            // At boot haproxy, and the API with it, does not wait for the VPN.
            transparent: !["0.0.0.0", "::"].includes(statsAddress(spec, node)),
        },
        expect: readyCodes(spec.readiness),
        check: { ...check, verify: verify ? { caFile: caFile(spec) } : "none" },
    };
}

/** A node's haproxy configuration as data: the preset, with the user's own sections over it. */
export function haproxyModel(spec: ClusterSpec, node: NodeSpec): HaproxyConfig {
    const params = proxyParams(spec, node);
    const base = spec.proxy.preset === "ansible-role" ? ansibleRole(params) : recommended(params);
    return spec.proxy.haproxy ? merge(base, spec.proxy.haproxy) : base;
}

/** A list that rules of haproxy.cfg read (`-f PATH`). */
export interface AclFile {
    readonly path: string;
    readonly owner: string;
    readonly group: string;
    /** Four octal digits. */
    readonly mode: string;
    readonly content: string;
}

/** The lists of the user's own sections; the presets have none. */
export function aclFiles(spec: ClusterSpec): AclFile[] {
    return (spec.proxy.haproxy?.acl_files ?? []).map(({ dest, owner, group, mode, content }) => ({
        path: dest,
        owner: owner ?? "root",
        group: group ?? "root",
        mode: (mode ?? "0644").padStart(4, "0"),
        content: content.map((line) => `${line}\n`).join(""),
    }));
}

/** What the proxies call a server: an own backend of the API may have names of its own (config/checks/api-backend.ts). */
export function serverName(spec: ClusterSpec, node: NodeSpec): string {
    const backend = spec.proxy.haproxy?.backend?.find(({ name }) => name === backendName(spec));
    const here = (listen: string): boolean =>
        listenPlaces(listen).some(({ address }) => canonicalAddress(address) === canonicalAddress(node.address));
    return backend?.server?.find(({ listen }) => here(listen))?.name ?? node.name;
}

/** haproxy.cfg of a node as it is meant to be; secrets are placeholders that the host fills in. Those of preset ansible-role stay to the letter. */
export function haproxyConfig(spec: ClusterSpec, node: NodeSpec): string {
    const text = renderHaproxy(haproxyModel(spec, node));
    return spec.proxy.preset === "ansible-role" ? text : explain(text);
}

/** host:port as Prometheus and people write it. */
export function statsEndpoint(spec: ClusterSpec, node: NodeSpec): string {
    const address = statsAddress(spec, node);
    const reachable = ["0.0.0.0", "::"].includes(address) ? node.address : address;
    return `${urlHost(reachable)}:${spec.proxy.stats.port}`;
}
