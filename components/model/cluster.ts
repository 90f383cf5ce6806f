/** The validated cluster description: plain, read-only, all defaults filled in. Everything after it works on these values. */
import type { ProxySettings, StatsSettings } from "../haproxy";
import type { K3sConfig, NodeSettings, OpenSettings } from "../settings";
import type { Filled } from "../values";

export type { K3sConfig };
export type Role = NodeSettings["role"];
/** Changes that are refused unless the stack file allows them. */
export type Allowance = OpenSettings["allow"][number];

export interface BastionSpec {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    /** Public host key; undefined only where the user turned the check off. */
    readonly hostKey?: string;
}

/** SSH to a node, from its own settings and those of all. */
export interface SshSpec extends Readonly<
    Omit<OpenSettings["ssh"], "bastion" | "knownHosts" | "privateKeyFile" | "insecureIgnoreHostKey">
> {
    readonly host: string;
    /** Public host key; undefined only where the user turned the check off. */
    readonly hostKey?: string;
    readonly bastion?: BastionSpec;
}

/** A node; what it does not set is that of its role. */
export interface NodeSpec extends Readonly<Omit<Filled<NodeSettings, "throughProxy">, "ssh">> {
    readonly ssh: SshSpec;
}

/** The proxy; the times of the check that are absent depend on the readiness (components/haproxy). */
export interface ProxySpec extends Readonly<Omit<ProxySettings, "stats">> {
    readonly stats: Readonly<StatsSettings>;
}

/** How changes that restart k3s go through the cluster; servers always go one at a time. */
export interface RolloutSpec extends Readonly<OpenSettings["rollout"]> {
    /** Seconds that the pods of a node may take to leave it before its k3s is restarted; absent: they stay. */
    readonly drainSeconds?: number;
    /** Seconds that they may take before a node is removed. */
    readonly leaveSeconds: number;
}

/** What stands in the spec in another form than in the settings. */
type Formed = "nodes" | "ssh" | "vpn" | "proxy" | "server" | "agent" | "kubeconfig" | "host" | "timeouts" | "rollout";

/** The settings, and what follows from them. */
export interface ClusterSpec extends Readonly<Omit<OpenSettings, Formed>> {
    /** Settings of k3s are encrypted in the stack file: its steps' data are secret as a whole. */
    readonly confidential: boolean;
    /** The same of `manifests`, for the step of that name. */
    readonly confidentialManifests: boolean;
    /** In the order of their names, so that the order in the stack file changes nothing. */
    readonly nodes: readonly NodeSpec[];
    /**
     * The first server founds the cluster, and runs its steps later: the first listed one that is neither lost nor
     * rebuilt. Which one it is makes no difference for what it is.
     */
    readonly firstServer: string;
    /** k3s's own settings of a role are in its nodes. */
    readonly server: Readonly<Omit<OpenSettings["server"], "config">>;
    readonly agent: Readonly<Omit<OpenSettings["agent"], "config">>;
    readonly rollout: RolloutSpec;
    readonly vpn: Readonly<Filled<OpenSettings["vpn"], "networks">>;
    readonly proxy: ProxySpec;
    readonly kubeconfig: Readonly<Filled<OpenSettings["kubeconfig"], "context" | "server">>;
    readonly host: Readonly<Omit<OpenSettings["host"], "sysctl">> & {
        readonly sysctl: Readonly<Record<string, string>>;
    };
    /** Seconds that one step on a host may wait. */
    readonly timeouts: Readonly<Record<keyof OpenSettings["timeouts"], number>>;
}

/** The nodes that are not lost. */
export function liveNodes(spec: ClusterSpec): NodeSpec[] {
    return spec.nodes.filter((n) => !n.lost);
}

/** The servers that are to be there: those that the proxies know. */
export function servers(spec: ClusterSpec): NodeSpec[] {
    return liveNodes(spec).filter((n) => n.role === "server");
}

/** Names of the manifests whose objects are to go. */
export function absentManifests(spec: ClusterSpec): string[] {
    return spec.manifests.filter(({ state }) => state === "absent").map(({ name }) => name);
}
