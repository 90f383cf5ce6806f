/** The validated cluster description: plain, read-only, all defaults filled in. Everything after it works on these values. */
import type { HaproxyConfig, Timeouts } from "../haproxy";
import type { Readiness } from "./readiness";

export type Role = "server" | "agent";

/** k3s's own settings, by the names of its config.yaml. */
export type K3sConfig = Record<string, string | number | boolean | (string | number)[]>;

export interface BastionSpec {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    /** Public host key; undefined only where the user turned the check off. */
    readonly hostKey?: string;
}

export interface SshSpec {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    /** Public host key; undefined only where the user turned the check off. */
    readonly hostKey?: string;
    readonly bastion?: BastionSpec;
    /** Failed dials before a host counts as unreachable. */
    readonly dialErrorLimit: number;
}

export interface NodeSpec {
    readonly name: string;
    readonly role: Role;
    /** VPN address: what the other nodes, k3s and the proxies use. */
    readonly address: string;
    readonly externalAddress?: string;
    readonly ssh: SshSpec;
    readonly labels: Readonly<Record<string, string>>;
    readonly taints: readonly string[];
    /** The user's k3s settings for this node, cluster-wide ones of its role included. */
    readonly config: K3sConfig;
    /** Raised by the user after the host was reinstalled: every step runs again. */
    readonly rebuilt: number;
    /** The host is gone for good: the cluster forgets it, and nothing is asked of it any more. */
    readonly lost: boolean;
    /** Of an agent: its kubelet stays behind the local proxy; else k3s's agent connects to masters itself after its join. */
    readonly throughProxy: boolean;
}

/** The user's wishes for the check; what is absent has the default of components/haproxy, which depends on the readiness. */
export interface CheckSpec {
    readonly interval?: string;
    readonly fastInterval?: string;
    readonly downInterval?: string;
    readonly rise?: number;
    readonly fall?: number;
    readonly timeout?: string;
    /** Verify the masters' certificates once the cluster's CA is known. */
    readonly verify: boolean;
}

export interface ProxySpec {
    readonly preset: "recommended" | "seed";
    readonly port: number;
    readonly ipv6: boolean;
    readonly stats: {
        readonly port: number;
        /** An address, or "node" for each node's own VPN address. */
        readonly address: string;
        readonly allowedNetworks: readonly string[];
        readonly metricsPassword: boolean;
        readonly admin: boolean;
    };
    readonly check: CheckSpec;
    readonly balance?: string;
    readonly timeouts?: Timeouts;
    readonly maxconn?: number;
    readonly slowstart?: string;
    readonly observe: boolean;
    readonly haproxy?: HaproxyConfig;
}

/** How changes that restart k3s go through the cluster; masters always go one at a time. */
export interface RolloutSpec {
    /** Agents that are changed at the same time. */
    readonly agents: number;
    /** Seconds that the pods of a node may take to leave it before its k3s is restarted; absent: they stay. */
    readonly drainSeconds?: number;
    /** Seconds that they may take before a node is removed. */
    readonly leaveSeconds: number;
}

/** Changes that are refused unless the stack file allows them. */
export const ALLOWABLE = ["lessTolerance", "downgrade", "skipMinor", "adopt", "podNetwork"] as const;
export type Allowance = (typeof ALLOWABLE)[number];

/** etcd snapshots; what is absent is k3s's own default. */
export interface SnapshotSpec {
    readonly schedule?: string;
    readonly retention?: number;
    readonly compress?: boolean;
    /** One before the first master of an upgrade is restarted. */
    readonly beforeUpgrade: boolean;
    /** Name of one to be taken now; another name takes another one. */
    readonly now?: string;
    /** What the cluster is founded from: a file on the founding master, or a name in the bucket. */
    readonly restore?: string;
    readonly s3?: {
        readonly bucket: string;
        readonly endpoint?: string;
        readonly region?: string;
        readonly folder?: string;
        /** PEM of the CAs that the endpoint's certificate must be of; absent: the host's own. */
        readonly endpointCa?: string;
        /** Where the bucket's name stands in URLs; auto: before the host name at the big clouds, in the path elsewhere. */
        readonly lookup?: "auto" | "path" | "dns";
        /** Plain HTTP. */
        readonly insecure?: boolean;
        /** Snapshots of one name kept in the bucket, those of all masters together. */
        readonly retention?: number;
    };
}

export interface ClusterSpec {
    readonly cluster: string;
    /** Settings of k3s are encrypted in the stack file: its steps' data are secret as a whole. */
    readonly confidential: boolean;
    readonly version: string;
    readonly readiness: Readiness;
    /** In the order of their names, so that the order in the stack file changes nothing. */
    readonly nodes: readonly NodeSpec[];
    /**
     * The master that founds the cluster on its first day and speaks for it later: the first listed one that is neither lost nor
     * rebuilt. Which one it is makes no difference for what it is.
     */
    readonly founder: string;
    readonly datastore: "etcd" | "sqlite";
    readonly rollout: RolloutSpec;
    readonly allow: readonly Allowance[];
    readonly snapshots: SnapshotSpec;
    /** Raised by the user to have a generated secret, or k3s's certificates, made anew. */
    readonly rotate: Readonly<
        Record<"token" | "agentToken" | "statsPassword" | "metricsPassword" | "certificates", number>
    >;
    readonly vpn: { readonly interface?: string; readonly unit?: string; readonly networks: readonly string[] };
    readonly proxy: ProxySpec;
    /** Issuers of tokens in Kubernetes' own words (AuthenticationConfiguration), for readiness `scoped`. */
    readonly jwt: readonly Readonly<Record<string, unknown>>[];
    readonly kubelet: Readonly<Record<string, unknown>>;
    readonly registries: Readonly<Record<string, unknown>>;
    readonly download: {
        readonly baseUrl: string;
        readonly sha256: Readonly<Partial<Record<"amd64" | "arm64" | "arm", string>>>;
        /** A file on every host to take the binary from instead of a download. */
        readonly file?: string;
    };
    readonly kubeconfig: { readonly context: string; readonly server: string };
    readonly publicInfoViewer: "provider" | "ssh";
    readonly host: {
        readonly packages: readonly string[];
        readonly sysctl: Readonly<Record<string, string>>;
        readonly files: readonly { readonly path: string; readonly mode: string; readonly content: string }[];
    };
    /** Seconds that one step on a host may wait. */
    readonly timeouts: { readonly server: number; readonly agent: number; readonly download: number };
    /** SHA-256 of the cluster's CA, given by the user; otherwise the one that was read when the cluster was founded. */
    readonly caHash?: string;
}

/** The masters that are to be there: those that the proxies know. */
export function servers(spec: ClusterSpec): NodeSpec[] {
    return spec.nodes.filter((n) => n.role === "server" && !n.lost);
}
