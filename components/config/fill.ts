/** From checked settings to a {@link ClusterSpec}: defaults, what nodes take from their role and from known_hosts. Pure. */
import type { Report } from "./problems";
import { K3S_KEYS } from "./k3s-keys";
import { knownHostKey } from "./known-hosts";
import type { NodeSettings, StackSettings } from "./schema";
import type { BastionSpec, ClusterSpec, K3sConfig, NodeSpec, Role, SshSpec } from "../model/cluster";
import { durationMs, nodeNetworks, urlHost, entry } from "../model/values";

/** What the caller has read for the settings: nothing here does I/O. */
export interface Surroundings {
    /** The text of the file that `ssh.knownHosts` names; undefined when it is not set. */
    readonly knownHosts?: string;
    /** Settings that are encrypted in the stack file. */
    readonly encrypted?: ReadonlySet<string>;
}

const DEFAULTS = {
    proxyPort: 16443,
    statsPort: 1936,
    dialErrorLimit: 30,
    rolloutAgents: 3,
    baseUrl: "https://github.com/k3s-io/k3s/releases/download",
} as const;

/** The proxy's own ports on every node. */
export function portsOf(proxy: StackSettings["proxy"]): { proxyPort: number; statsPort: number } {
    return { proxyPort: proxy.port ?? DEFAULTS.proxyPort, statsPort: proxy.stats?.port ?? DEFAULTS.statsPort };
}

function sshSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): SshSpec {
    const host = node.ssh?.host ?? node.address;
    const port = node.ssh?.port ?? settings.ssh.port ?? 22;
    const user = node.ssh?.user ?? settings.ssh.user ?? "root";
    const insecure = settings.ssh.insecureIgnoreHostKey === true;
    const keyOf = (own: string | undefined, h: string, p: number, path: readonly PropertyKey[]): string | undefined => {
        if (insecure) return undefined;
        const key = own ?? knownHostKey(around.knownHosts ?? "", h, p);
        if (key === undefined) {
            report(
                path,
                undefined,
                `is missing and ssh.knownHosts has no line for ${p === 22 ? h : `[${h}]:${p}`}: an unpinned host could be anybody. Compare and pin the output of ssh-keyscan -t ed25519 ${p === 22 ? "" : `-p ${p} `}${h}`,
            );
        }
        return key;
    };
    const b = node.ssh?.bastion ?? settings.ssh.bastion;
    const bastion: BastionSpec | undefined = b && {
        host: b.host,
        port: b.port ?? 22,
        user: b.user ?? user,
        hostKey: keyOf(
            b.hostKey,
            b.host,
            b.port ?? 22,
            node.ssh?.bastion ? ["nodes", i, "ssh", "bastion", "hostKey"] : ["ssh", "bastion", "hostKey"],
        ),
    };
    return {
        host,
        port,
        user,
        hostKey: keyOf(node.ssh?.hostKey, host, port, ["nodes", i, "ssh", "hostKey"]),
        bastion,
        dialErrorLimit: settings.ssh.dialErrorLimit ?? DEFAULTS.dialErrorLimit,
    };
}

export function nodeSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): NodeSpec {
    const shared = (node.role === "server" ? settings.server.config : settings.agent.config) ?? {};
    return {
        name: node.name,
        role: node.role,
        address: node.address,
        externalAddress: node.externalAddress,
        ssh: sshSpec(node, i, settings, around, report),
        labels: node.labels ?? {},
        taints: node.taints ?? [],
        config: joined(node.role, shared, node.config ?? {}),
        rebuilt: node.rebuilt ?? 0,
        lost: node.lost ?? false,
        throughProxy: node.throughProxy ?? settings.agent.throughProxy ?? true,
    };
}

/** A node's own settings over those of its role; what is a list to k3s is joined, however it is written: one of them would be lost. */
function joined(role: Role, shared: K3sConfig, own: K3sConfig): K3sConfig {
    const merged: K3sConfig = { ...shared, ...own };
    for (const [key, value] of Object.entries(own)) {
        const base = shared[key];
        if (base !== undefined && entry(K3S_KEYS[role], key) === "list")
            merged[key] = [base, value].flat() as K3sConfig[string];
    }
    return merged;
}

function proxySpec(proxy: StackSettings["proxy"], networks: readonly string[]): ClusterSpec["proxy"] {
    return {
        preset: proxy.preset ?? "recommended",
        port: portsOf(proxy).proxyPort,
        ipv6: proxy.ipv6 ?? true,
        stats: {
            port: portsOf(proxy).statsPort,
            address: proxy.stats?.address ?? (proxy.preset === "seed" ? "0.0.0.0" : "node"),
            allowedNetworks: proxy.stats?.allowedNetworks ?? networks,
            metricsPassword: proxy.stats?.metricsPassword ?? false,
            admin: proxy.stats?.admin ?? proxy.preset === "seed",
        },
        check: { ...proxy.check, verify: proxy.check?.verify ?? true },
        balance: proxy.balance,
        timeouts: proxy.timeouts,
        maxconn: proxy.maxconn,
        slowstart: proxy.slowstart,
        observe: proxy.observe ?? false,
        haproxy: proxy.haproxy,
    };
}

export function fill(settings: StackSettings, nodes: readonly NodeSpec[], confidential: boolean): ClusterSpec {
    const { proxy, vpn } = settings;
    const live = nodes.filter((n) => n.role === "server" && !n.lost);
    const founder = live.find((n) => n.rebuilt === 0) ?? (live[0] as NodeSpec);
    const networks = vpn.networks ?? nodeNetworks(nodes.map((n) => n.address));
    const seconds = (text: string | undefined, standard: number): number =>
        text === undefined ? standard : Math.ceil((durationMs(text) as number) / 1000);
    return deepFreeze({
        cluster: settings.cluster,
        version: settings.version,
        readiness: settings.readiness,
        nodes: [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1)),
        founder: founder.name,
        vpn: { interface: vpn.interface, unit: vpn.unit, networks },
        proxy: proxySpec(proxy, networks),
        jwt: settings.authentication.jwt ?? [],
        kubelet: settings.kubelet,
        registries: settings.registries,
        download: {
            baseUrl: (settings.download.baseUrl ?? DEFAULTS.baseUrl).replace(/\/+$/, ""),
            sha256: settings.download.sha256 ?? {},
            file: settings.download.file,
        },
        kubeconfig: {
            context: settings.kubeconfig.context ?? settings.cluster,
            server: settings.kubeconfig.server ?? `https://${urlHost(founder.address)}:6443`,
        },
        publicInfoViewer: settings.publicInfoViewer.via ?? "provider",
        host: {
            packages: [...(settings.host.packages ?? [])].sort(),
            sysctl: Object.fromEntries(Object.entries(settings.host.sysctl ?? {}).map(([k, v]) => [k, String(v)])),
            files: (settings.host.files ?? []).map((f) => ({
                path: f.path,
                mode: f.mode ?? "0644",
                content: f.content,
            })),
        },
        timeouts: {
            server: seconds(settings.timeouts.server, 300),
            agent: seconds(settings.timeouts.agent, 300),
            download: seconds(settings.timeouts.download, 600),
        },
        datastore: settings.server.datastore ?? "etcd",
        rollout: {
            agents: settings.rollout.agents ?? DEFAULTS.rolloutAgents,
            drainSeconds: settings.rollout.drain === true ? seconds(settings.rollout.drainTimeout, 300) : undefined,
            leaveSeconds: seconds(settings.rollout.drainTimeout, 300),
        },
        allow: settings.allow,
        snapshots: { ...settings.snapshots, beforeUpgrade: settings.snapshots.beforeUpgrade ?? true },
        confidential,
        rotate: { token: 0, agentToken: 0, statsPassword: 0, metricsPassword: 0, certificates: 0, ...settings.rotate },
        caHash: settings.caHash,
    });
}

function deepFreeze<T>(value: T): T {
    if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
        Object.freeze(value);
        Object.values(value).forEach(deepFreeze);
    }
    return value;
}
