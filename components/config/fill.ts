/** From checked settings to a {@link ClusterSpec}: defaults, what nodes take from their role and from known_hosts. Pure. */
import type { Report } from "./problems";
import { K3S_KEYS } from "./k3s-keys";
import { knownHostKey } from "./known-hosts";
import { SECRET_SETTINGS, type NodeSettings, type OpenSettings, type StackSettings } from "../settings";
import { HARDENED_SYSCTL } from "../model/hardening";
import type { BastionSpec, ClusterSpec, K3sConfig, NodeSpec, Role, SshSpec } from "../model/cluster";
import { durationMs, nodeNetworks, urlHost, entry } from "../values";

/** What the caller has read for the settings: nothing here does I/O. */
export interface Surroundings {
    /** The text of the file that `ssh.knownHosts` names; undefined when it is not set. */
    readonly knownHosts?: string;
    /** Settings that are encrypted in the stack file. */
    readonly encrypted?: ReadonlySet<string>;
}

function sshSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): SshSpec {
    const {
        bastion: shared,
        insecureIgnoreHostKey: insecure,
        knownHosts: _k,
        privateKeyFile: _p,
        ...all
    } = settings.ssh;
    const host = node.ssh?.host ?? node.address;
    const port = node.ssh?.port ?? all.port;
    const user = node.ssh?.user ?? all.user;
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
    const b = node.ssh?.bastion ?? shared;
    const bastion: BastionSpec | undefined = b && {
        host: b.host,
        port: b.port,
        user: b.user ?? user,
        hostKey: keyOf(
            b.hostKey,
            b.host,
            b.port,
            node.ssh?.bastion ? ["nodes", i, "ssh", "bastion", "hostKey"] : ["ssh", "bastion", "hostKey"],
        ),
    };
    return {
        ...all,
        host,
        port,
        user,
        hostKey: keyOf(node.ssh?.hostKey, host, port, ["nodes", i, "ssh", "hostKey"]),
        bastion,
    };
}

export function nodeSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): NodeSpec {
    const shared = node.role === "server" ? settings.server.config : settings.agent.config;
    return {
        ...node,
        ssh: sshSpec(node, i, settings, around, report),
        config: joined(node.role, shared, node.config),
        throughProxy: node.throughProxy ?? settings.agent.throughProxy,
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

function proxySpec(proxy: StackSettings["proxy"], networks: string[]): ClusterSpec["proxy"] {
    const { stats } = proxy;
    return {
        ...proxy,
        stats: {
            ...stats,
            address: stats.address ?? (proxy.preset === "ansible-role" ? "0.0.0.0" : "node"),
            allowedNetworks: stats.allowedNetworks ?? networks,
            admin: stats.admin ?? proxy.preset === "ansible-role",
        },
    };
}

/** `secrecy` is what of the spec holds something that is encrypted in the stack file. */
export function fill(
    settings: StackSettings,
    nodes: readonly NodeSpec[],
    secrecy: Pick<ClusterSpec, "confidential" | "confidentialManifests">,
): ClusterSpec {
    const { ssh: _ssh, ...open } = openOf(settings);
    const [{ config: _s, ...server }, { config: _a, ...agent }] = [open.server, open.agent];
    const live = nodes.filter((n) => n.role === "server" && !n.lost);
    const first = live.find((n) => n.rebuilt === 0) ?? (live[0] as NodeSpec);
    const networks = open.vpn.networks ?? nodeNetworks(nodes.map((n) => n.address));
    const seconds = (text: string): number => Math.ceil((durationMs(text) as number) / 1000);
    const { drain, drainTimeout } = open.rollout;
    return deepFreeze({
        ...open,
        nodes: [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1)),
        firstServer: first.name,
        vpn: { ...open.vpn, networks },
        proxy: proxySpec(open.proxy, networks),
        download: { ...open.download, baseUrl: open.download.baseUrl.replace(/\/+$/, "") },
        kubeconfig: {
            ...open.kubeconfig,
            context: open.kubeconfig.context ?? open.cluster,
            server: open.kubeconfig.server ?? `https://${urlHost(first.address)}:6443`,
        },
        host: {
            ...open.host,
            packages: [...open.host.packages].sort(),
            services: [...new Set(open.host.services.map(unitName))].sort(),
            modules: [...new Set(open.host.modules)].sort(),
            sysctl: {
                ...(open.hardening === undefined ? {} : HARDENED_SYSCTL),
                ...mapped(open.host.sysctl, String),
            },
        },
        timeouts: mapped(open.timeouts, seconds),
        server,
        agent,
        rollout: {
            ...open.rollout,
            drainSeconds: drain ? seconds(drainTimeout) : undefined,
            leaveSeconds: seconds(drainTimeout),
        },
        // The order in the stack file changes nothing.
        manifests: [...open.manifests].sort((a, b) => (a.name < b.name ? -1 : 1)),
        ...secrecy,
    });
}

/** A unit's full name, as systemd reads a name without an ending. */
export function unitName(name: string): string {
    return /\.(service|socket|timer|path)$/.test(name) ? name : `${name}.service`;
}

/** The settings that may be shown: secrets never get into a spec. */
function openOf(settings: StackSettings): OpenSettings {
    return Object.fromEntries(
        Object.entries(settings).filter(([key]) => !SECRET_SETTINGS.has(key)),
    ) as unknown as OpenSettings;
}

function mapped<K extends string, V, W>(values: Readonly<Record<K, V>>, to: (value: V) => W): Record<K, W> {
    return Object.fromEntries(Object.entries<V>(values).map(([key, value]) => [key, to(value)])) as Record<K, W>;
}

function deepFreeze<T>(value: T): T {
    if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
        Object.freeze(value);
        Object.values(value).forEach(deepFreeze);
    }
    return value;
}
