/**
 * Ports that meet on a node: the proxy's, k3s's and what runs in it, SSH, and the binds of the user's own haproxy sections. Most of what
 * k3s has may be given another address by a flag (metrics for Prometheus), so its ports are taken on every address.
 */
import { listenPlaces, type HaproxyConfig, type Place } from "../../haproxy";
import { haproxyModel } from "../../model/proxy";
import { configPath, shown, type Report } from "../problems";
import type { Problem } from "../../haproxy/model";
import { listOf, overlap, parseNetwork } from "../../model/networks";
import type { StackSettings } from "../../settings";
import type { ClusterSpec, NodeSpec } from "../../model/cluster";

/** TCP ports of k3s and of what runs in it, on every node or on some (k3s-contract; Kubernetes and etcd defaults). */
const K3S_PORTS: Readonly<Record<number, string>> = {
    2379: "etcd (clients)",
    2380: "etcd (peers)",
    2381: "etcd (metrics)",
    2382: "etcd (HTTP)",
    6443: "the API of a master",
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
    const balancers = [settings.agent.config, ...settings.nodes.map((n) => n.config)].map((c) => c["lb-server-port"]);
    const backend = String(config["flannel-backend"] ?? "vxlan");
    const nodePort = (port: number): string | undefined =>
        port >= low && port <= high
            ? `lies in the range of NodePort services (${low}-${high}), which kube-proxy's rules take before any program`
            : undefined;
    const kubelet = ["port", "healthzPort", "readOnlyPort"].find((key) => typeof settings.kubelet[key] === "number");
    return {
        tcp: (port) => {
            if (Object.hasOwn(K3S_PORTS, port))
                return `is used by k3s: ${K3S_PORTS[port]}; taken are ${Object.keys(K3S_PORTS).join(", ")}`;
            if (config["embedded-registry"] === true && port === REGISTRY_PORT)
                return "is used by k3s: the embedded registry (server.config.embedded-registry)";
            if (balancers.includes(port)) return "is also the lb-server-port of an agent";
            if (kubelet !== undefined && settings.kubelet[kubelet] === port)
                return `is also kubelet.${kubelet} (k3s-ha:kubelet)`;
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

/** From `30000-32767`; a malformed one counts as k3s's own and is told in checkPorts. */
function nodePortRange(value: unknown): readonly [low: number, high: number] {
    const m = /^(\d{1,5})-(\d{1,5})$/.exec(String(value ?? ""));
    return m ? [Number(m[1]), Number(m[2])] : [30000, 32767];
}

/** The proxy's own ports. */
export function checkPorts(settings: StackSettings, report: Report): void {
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
        if (sshPort === statsPort) report(["proxy", "stats", "port"], statsPort, `is also the SSH port of nodes[${i}]`);
        if (sshPort === proxyPort) report(["proxy", "port"], proxyPort, `is also the SSH port of nodes[${i}]`);
    });
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
        config[key]?.forEach(({ name, bind }) =>
            bind.forEach(({ listen }, i) => add(key, name, `bind[${i}].listen`, listen)),
        );
    config.logforwards?.forEach(({ name, bind, dgram_bind }) => {
        add("logforwards", name, "bind", bind);
        add("logforwards", name, "dgram_bind", dgram_bind, true);
    });
    if (config.global?.stats)
        config.global.stats.sockets?.forEach(({ listen }, i) =>
            add("global", "", `stats.sockets[${i}].listen`, listen),
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
    all.forEach((bind, n) => {
        if (!isOwn(bind)) return;
        for (const place of bind.places) {
            for (const port of ports(place)) {
                const by = place.udp ? taken.udp(port) : taken.tcp(port);
                if (by !== undefined) tell(bind, `${port} ${by}`);
                else if (!place.udp && sshPorts.has(port)) tell(bind, `${port} is also the SSH port of a node`);
            }
            for (const [m, other] of all.entries())
                if (m !== n && (m < n || !isOwn(other)) && other.places.some((p) => meets(p, place)))
                    tell(bind, `meets the bind ${other.text} of ${other.key} ${other.section}`);
        }
    });
    return problems;
}
