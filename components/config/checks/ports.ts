/**
 * Ports that meet on a node: the proxy's, k3s's and what runs in it, those that its settings and flags move, SSH, and the binds of the user's
 * own haproxy sections. Most of what k3s has may be given another address by a flag (metrics for Prometheus), so its ports are taken on
 * every address.
 */
import { listenPlaces, type HaproxyConfig, type Place } from "../../haproxy";
import { backendName, haproxyModel, proxyParams } from "../../model/proxy";
import { configPath, shown, type Report } from "../problems";
import type { Problem } from "../../haproxy/problem";
import { listOf, overlap, parseNetwork } from "../../model/networks";
import type { NodeSettings, StackSettings } from "../../settings";
import type { ClusterSpec, K3sConfig, NodeSpec } from "../../model/cluster";
import { canonicalAddress, urlHost } from "../../values";

/** TCP ports of k3s and of what runs in it, on every node or on some (k3s-contract; Kubernetes and etcd defaults). */
const K3S_PORTS: Readonly<Record<number, string>> = {
    2379: "etcd (clients)",
    2380: "etcd (peers)",
    2381: "etcd (metrics)",
    2382: "etcd (HTTP)",
    6443: "the API of a server",
    6444: "k3s (the API behind it, or an agent's balancer)",
    10010: "containerd",
    10248: "the kubelet (health)",
    10249: "kube-proxy (metrics)",
    10250: "the kubelet",
    10256: "kube-proxy (health)",
    10257: "the controller manager",
    10258: "the cloud controller",
    10259: "the scheduler",
};
const REGISTRY_PORT = 5001;

/** UDP ports of flannel, by backend. */
const FLANNEL_PORTS: Readonly<Record<string, readonly number[]>> = {
    vxlan: [8472],
    "wireguard-native": [51820, 51821],
};

/** What a port is taken by, or undefined. */
type Taken = (port: number) => string | undefined;

/** Who has a port on a node before any program of the user's; from settings as written. */
export function takenPorts(settings: StackSettings): { readonly tcp: Taken; readonly udp: Taken } {
    const { config } = settings.server;
    const [low, high] = nodePortRange(config["service-node-port-range"]);
    const disabled = listOf(config["disable"]);
    const web =
        !disabled.includes("traefik") && !disabled.includes("servicelb") && config["disable-helm-controller"] !== true;
    const moved = movedPorts(settings);
    const backend = flannelOf(settings);
    const nodePort = (port: number): string | undefined =>
        port >= low && port <= high
            ? `lies in the range of NodePort services (${low}-${high}), which kube-proxy's rules take before any program`
            : undefined;
    return {
        tcp: (port) => {
            if (Object.hasOwn(K3S_PORTS, port))
                return `is used by k3s: ${K3S_PORTS[port]}; taken are ${Object.keys(K3S_PORTS).join(", ")}`;
            if (config["embedded-registry"] === true && port === REGISTRY_PORT)
                return "is used by k3s: the embedded registry (server.config.embedded-registry)";
            const other = moved.find((m) => m.port === port);
            if (other !== undefined) return `is also ${configPath(other.path)}`;
            if (web && (port === 80 || port === 443))
                return "is taken on every node by ServiceLB for Traefik, whose rules come before any program: what listens there gets nothing, in silence. Without them: k3s-ha:server.config.disable: [traefik, servicelb]";
            return nodePort(port);
        },
        udp: (port) =>
            FLANNEL_PORTS[backend]?.includes(port) === true
                ? `is used by flannel (${backend}) between all nodes`
                : nodePort(port),
    };
}

const flannelOf = ({ server }: StackSettings): string => String(server.config?.["flannel-backend"] ?? "vxlan");

/** A port of k3s's that a setting or a flag of the user's gives another number, and the one that it has without. */
interface Moved {
    readonly path: readonly PropertyKey[];
    readonly value: unknown;
    readonly port: number;
    readonly standard: number;
}

/** Settings of the kubelet's file, and flags of components, that name a port; 0 turns it off. */
const KUBELET_PORTS: Readonly<Record<string, number>> = { port: 10250, healthzPort: 10248, readOnlyPort: 0 };
const FLAG_PORTS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    "kubelet-arg": { port: 10250, "healthz-port": 10248, "read-only-port": 0 },
    "kube-proxy-arg": { "metrics-bind-address": 10249, "healthz-bind-address": 10256, "healthz-port": 10256 },
    "kube-scheduler-arg": { "secure-port": 10259 },
    "kube-controller-manager-arg": { "secure-port": 10257 },
    "kube-cloud-controller-manager-arg": { "secure-port": 10258 },
    "etcd-arg": { "listen-metrics-urls": 2381 },
};

/** All of them, in the settings of roles, of nodes and of the kubelet. */
function movedPorts(settings: StackSettings): Moved[] {
    const found: Moved[] = [];
    const add = (path: readonly PropertyKey[], value: unknown, port: unknown, standard: number): void => {
        if (typeof port === "number" && port > 0 && port !== standard) found.push({ path, value, port, standard });
    };
    for (const [key, standard] of Object.entries(KUBELET_PORTS))
        add(["kubelet", key], settings.kubelet[key], settings.kubelet[key], standard);
    const look = (config: K3sConfig | undefined, path: readonly PropertyKey[]): void => {
        const balancer = config?.["lb-server-port"];
        add([...path, "lb-server-port"], balancer, balancer, 6444);
        for (const [key, flags] of Object.entries(FLAG_PORTS))
            [config?.[key] ?? []].flat().forEach((arg, i) => {
                const [, flag = "", value = ""] = /^-{0,2}([a-z-]+)=(.*)$/.exec(String(arg)) ?? [];
                if (!Object.hasOwn(flags, flag)) return;
                for (const [, port] of value.matchAll(/(?:^|:)(\d{1,5})(?=,|$)/g))
                    add([...path, key, i], arg, Number(port), flags[flag] ?? 0);
            });
    };
    look(settings.server.config, ["server", "config"]);
    look(settings.agent.config, ["agent", "config"]);
    settings.nodes.forEach((node, i) => look(node.config, ["nodes", i, "config"]));
    return found;
}

/** Those against k3s's other ports; against the proxy's and SSH's they are told where those are written. */
function checkMoved(settings: StackSettings, report: Report): void {
    const [low, high] = nodePortRange(settings.server.config?.["service-node-port-range"]);
    for (const { path, value, port, standard } of movedPorts(settings)) {
        if (Object.hasOwn(K3S_PORTS, port) && port !== standard)
            report(path, value, `takes port ${port}, which is used by k3s: ${K3S_PORTS[port]}`);
        else if (port >= low && port <= high)
            report(path, value, `takes port ${port}, which lies in the range of NodePort services (${low}-${high})`);
    }
}

/** Where a node's SSH port is written. */
const sshPath = (node: NodeSettings, i: number): PropertyKey[] =>
    node.ssh?.port === undefined ? ["ssh", "port"] : ["nodes", i, "ssh", "port"];

/**
 * SSH's port where a rule of k3s's would take it: nobody could log in any more. A host that is reached at another address than the node's may
 * have its port forwarded, so that it is another one there: then it is only said.
 */
function checkSsh(settings: StackSettings, tcp: Taken, report: Report, warnings: string[]): void {
    const told = new Set<string>();
    settings.nodes.forEach((node, i) => {
        const port = node.ssh?.port ?? settings.ssh.port ?? 22;
        const by = tcp(port);
        if (by === undefined) return;
        const path = sshPath(node, i);
        const host = node.ssh?.host;
        if (told.has(configPath(path))) return;
        told.add(configPath(path));
        if (host === undefined || canonicalAddress(host) === canonicalAddress(node.address))
            report(path, port, `${by}; Pulumi could not log in any more. Let sshd listen at another port`);
        else
            warnings.push(
                `${configPath(path)}: ${port} ${by}. If that is sshd's port on the host itself, and not one that is forwarded to it, Pulumi cannot log in any more once k3s runs: let sshd listen at another port.`,
            );
    });
}

/** flannel's own WireGuard and the VPN's, which most people give the same port. */
function warnAboutWireGuard(settings: StackSettings, warnings: string[]): void {
    if (flannelOf(settings) === "wireguard-native" && /^(wg-quick@|wg)/.test(settings.vpn.unit ?? ""))
        warnings.push(
            `k3s-ha:server.config.flannel-backend: wireguard-native takes UDP 51820 (of IPv6 51821) on every node, which is also the usual port of ${settings.vpn.unit} (k3s-ha:vpn.unit): give that another ListenPort, or take vxlan, since the VPN encrypts already.`,
        );
}

/** From `30000-32767`; a malformed one counts as k3s's own and is told in checkPorts. */
function nodePortRange(value: unknown): readonly [low: number, high: number] {
    const m = /^(\d{1,5})-(\d{1,5})$/.exec(String(value ?? ""));
    return m ? [Number(m[1]), Number(m[2])] : [30000, 32767];
}

/** The proxy's own ports. */
export function checkPorts(settings: StackSettings, report: Report, warnings: string[]): void {
    const { port: proxyPort, stats } = settings.proxy;
    const statsPort = stats.port;
    const range = settings.server.config["service-node-port-range"];
    const [low, high] = nodePortRange(range);
    if (range !== undefined && (!/^\d{1,5}-\d{1,5}$/.test(String(range)) || low > high || high > 65535 || low < 1))
        report(["server", "config", "service-node-port-range"], range, "must be two ports such as 30000-32767");
    const { tcp } = takenPorts(settings);
    const clash = (path: readonly PropertyKey[], port: number): void => {
        const by = tcp(port);
        if (by !== undefined) report(path, port, by);
    };
    clash(["proxy", "port"], proxyPort);
    clash(["proxy", "stats", "port"], statsPort);
    if (proxyPort === statsPort)
        report(["proxy", "stats", "port"], statsPort, "is also the port of the API frontend (proxy.port)");
    settings.nodes.forEach((node, i) => {
        const sshPort = node.ssh?.port ?? settings.ssh.port;
        const also = `is also the SSH port of nodes[${i}] (${configPath(sshPath(node, i))})`;
        if (sshPort === statsPort) report(["proxy", "stats", "port"], statsPort, also);
        if (sshPort === proxyPort) report(["proxy", "port"], proxyPort, also);
    });
    checkMoved(settings, report);
    checkSsh(settings, tcp, report, warnings);
    warnAboutWireGuard(settings, warnings);
}

/** One bind of the haproxy on a node. */
interface Bind {
    /** Of its section, and of itself in that: `frontend`, `web`, `bind[0].listen`. */
    readonly key: string;
    readonly section: string;
    readonly at: string;
    readonly text: string;
    readonly places: readonly Place[];
}

/** Every place where a configuration listens for TCP or UDP. */
function bindsOf(config: HaproxyConfig): Bind[] {
    const found: Bind[] = [];
    const add = (key: string, section: string, at: string, text: string | undefined, udp = false): void => {
        if (text === undefined) return;
        // A bind line of a log-forward has its parameters behind it.
        const places = listenPlaces(text.split(/\s+/)[0] ?? "").map((p) => ({ ...p, udp: udp || p.udp }));
        if (places.length > 0) found.push({ key, section, at, text, places });
    };
    for (const key of ["listen", "frontend"] as const)
        config[key]?.forEach(({ name, bind, raw_options }) => {
            bind.forEach(({ listen }, i) => add(key, name, `bind[${i}].listen`, listen));
            raw_options?.forEach((line, i) => add(key, name, `raw_options[${i}]`, /^\s*bind\s+(\S+)/.exec(line)?.[1]));
        });
    config.logforwards?.forEach(({ name, bind, dgram_bind }) => {
        add("logforwards", name, "bind", bind);
        add("logforwards", name, "dgram_bind", dgram_bind, true);
    });
    if (config.global?.stats)
        config.global.stats.sockets?.forEach(({ listen }, i) =>
            add("global", "", `stats.sockets[${i}].listen`, listen),
        );
    config.global?.raw_options?.forEach((line, i) =>
        add("global", "", `raw_options[${i}]`, /^\s*stats\s+socket\s+(\S+)/.exec(line)?.[1]),
    );
    // Each node listens at its own of them.
    config.global?.peers?.forEach(({ peers }, i) =>
        peers.forEach(({ listen }, j) => add("global", "", `peers[${i}].peers[${j}].listen`, listen)),
    );
    return found;
}

/** Whether two addresses can be one: a wildcard is every address. */
function sameAddress(a: string, b: string): boolean {
    if ([a, b].some((text) => text === "*" || text === "::")) return true;
    const [x, y] = [parseNetwork(a), parseNetwork(b)];
    return x !== undefined && y !== undefined ? overlap(x, y) : a === b;
}

const meets = (a: Place, b: Place): boolean =>
    a.udp === b.udp && a.from <= b.to && b.from <= a.to && sameAddress(a.address, b.address);

/** The ports of a place, as far as they can be counted. */
const ports = ({ from, to }: Place): number[] =>
    Array.from({ length: Math.min(to - from + 1, 65536) }, (_, i) => from + i);

/** What must still be there when sections of the user's have taken the preset's place: the API for the node itself, and the stats page. */
function placeProblems(spec: ClusterSpec, model: HaproxyConfig, all: readonly Bind[]): Problem[] {
    const problems: Problem[] = [];
    const api: Place = { address: "127.0.0.1", from: spec.proxy.port, to: spec.proxy.port, udp: false };
    const at = all.filter((bind) => bind.places.some((place) => meets(place, api)));
    if (at.length === 0)
        problems.push({
            path: configPath(["proxy", "haproxy"]),
            message: `leaves nothing that listens at 127.0.0.1:${spec.proxy.port}, where k3s and kubelet of each node find the API; give a frontend that bind, with default_backend ${backendName(spec)}`,
        });
    for (const { key, section } of at) {
        const frontend = key === "frontend" ? model.frontend?.find(({ name }) => name === section) : undefined;
        if (frontend?.default_backend === backendName(spec)) continue;
        const own = spec.proxy.haproxy?.frontend?.findIndex(({ name }) => name === section) ?? -1;
        problems.push({
            path:
                own < 0
                    ? configPath(["proxy", "haproxy", key])
                    : configPath(["proxy", "haproxy", key, own, "default_backend"]),
            message: `must be ${backendName(spec)} for what listens at 127.0.0.1:${spec.proxy.port} (${key} ${section}): nodes join by it, and the steps count and drain the servers there`,
        });
    }
    const { address, port } = proxyParams(spec, spec.nodes[0] as NodeSpec).stats;
    const stats: Place = { address, from: port, to: port, udp: false };
    if (!all.some((bind) => bind.places.some((place) => meets(place, stats))))
        problems.push({
            path: configPath(["proxy", "haproxy"]),
            message: `leaves nothing that listens at ${urlHost(address)}:${port}, where metrics and the stats page are looked for; bind it, or set k3s-ha:proxy.stats to where yours is`,
        });
    return problems;
}

/** The user's own binds, against all that listens on a node of either role, the preset's sections included. */
export function bindProblems(spec: ClusterSpec, settings: StackSettings): Problem[] {
    const own = spec.proxy.haproxy;
    if (own === undefined) return [];
    const taken = takenPorts(settings);
    const model = haproxyModel(spec, spec.nodes[0] as NodeSpec);
    const all = bindsOf(model);
    const mine = bindsOf(own);
    const isOwn = (bind: Bind): boolean =>
        mine.some((b) => b.key === bind.key && b.section === bind.section && b.at === bind.at && b.text === bind.text);
    const pathOf = ({ key, section, at }: Bind): string => {
        const list = (own as Record<string, unknown>)[key];
        const index = Array.isArray(list) ? (list as { name: string }[]).findIndex((s) => s.name === section) : -1;
        return `${configPath(["proxy", "haproxy", key])}${index < 0 ? "" : `[${index}]`}.${at}`;
    };
    const problems: Problem[] = [];
    const tell = (bind: Bind, message: string): void => {
        if (!problems.some((p) => p.path === pathOf(bind) && p.message === message))
            problems.push({ path: pathOf(bind), value: shown(bind.text), message });
    };
    const sshPorts = new Set(spec.nodes.map((n) => n.ssh.port));
    problems.push(...placeProblems(spec, model, all));
    all.forEach((bind, n) => {
        if (!isOwn(bind)) return;
        for (const place of bind.places) {
            // Of a range the first port for each reason: NodePorts alone are thousands.
            const told = new Set<string>();
            for (const port of ports(place)) {
                const by = place.udp ? taken.udp(port) : taken.tcp(port);
                const ssh = !place.udp && sshPorts.has(port) ? "is also the SSH port of a node" : undefined;
                const why = by ?? ssh;
                if (why === undefined || told.has(why)) continue;
                told.add(why);
                tell(bind, `${port} ${why}`);
            }
            for (const [m, other] of all.entries())
                if (m !== n && (m < n || !isOwn(other)) && other.places.some((p) => meets(p, place)))
                    tell(bind, `meets the bind ${other.text} of ${other.key} ${other.section}`);
        }
    });
    return problems;
}
