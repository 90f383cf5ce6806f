/** What the presets are made from. */
import type { ProxySettings } from "../settings";
import type { Filled } from "../../values";

/** A server as the proxy sees it. `address` should be an IP address: a name that does not resolve stops haproxy. */
export interface ApiServer {
    readonly name: string;
    readonly address: string;
    readonly port: number;
}

/** How the servers are asked whether they are up: the user's settings, and what is no setting. */
export interface CheckParams extends Omit<ProxySettings["check"], "verify"> {
    /** Default /readyz. */
    readonly path?: string;
    /** Host header and TLS name; must be a name in the servers' certificate. Default kubernetes. */
    readonly host?: string;
    /** CA file on the host that the servers' certificates are verified with (`caFile`), or no verification. */
    readonly verify?: { readonly caFile: string } | "none";
}

/** The settings of the stats page, with those that follow from others. */
export type StatsSettings = Filled<ProxySettings["stats"], "address" | "allowedNetworks" | "admin">;

/** What both presets need to know. */
export interface PresetParams {
    readonly cluster: string;
    /** Name of the backend. Default `<cluster>-kube-api`. */
    readonly backend?: string;
    /** At least one. Written sorted by name. */
    readonly apiServers: readonly ApiServer[];
    /** Port on 127.0.0.1; on [::1] too. */
    readonly frontend: Pick<ProxySettings, "port" | "ipv6">;
    readonly stats: Readonly<StatsSettings> & {
        /** Bind before the address exists: for hosts whose VPN comes up after haproxy. Default false; the program sets it. */
        readonly transparent?: boolean;
    };
    /** HTTP codes of a ready server: [401], [200], or [200, 401] while the mode changes. */
    readonly expect: readonly number[];
}

/** The user's settings that only `recommended` has; all have their defaults. */
export type Tuning = Omit<ProxySettings, "preset" | "port" | "ipv6" | "stats" | "check" | "haproxy">;

/** What the preset `recommended` needs to know. */
export interface ProxyParams extends PresetParams, Readonly<Tuning> {
    readonly check: CheckParams;
}

/** Where the servers' CA certificate lies on a host. */
export function caFilePath(cluster: string): string {
    return `/etc/haproxy/${cluster}-server-ca.crt`;
}

/**
 * The certificate check of a server line. haproxy-render.sh replaces exactly this text by `verify none` as long as `caFile` is
 * missing on the host (haproxy would not start), that is before the first server has made the CA.
 */
export function caVerify(caFile: string, host = "kubernetes"): string {
    return `verify required ca-file ${caFile} check-sni ${host} verifyhost ${host}`;
}

/**
 * A file that a server serves while it is to get new connections. Taken away before a planned stop: a 404 here drains the server
 * (status NOLB), so that nothing is assigned to it when its port closes. A failed check would cut what is just being opened.
 */
export const SERVING_PATH = "/static/k3s-ha/serving";

/** Places that haproxy-render.sh fills in from its folder of secrets, so that no rendered text holds one. */
export const placeholders = {
    /** The stats password as it is (only haproxy's `stats auth`, as in preset ansible-role, needs that). */
    statsPassword: "@@stats-password@@",
    /** Its SHA-512 crypt hash. */
    statsPasswordHash: "@@stats-password-hash@@",
    /** Hash of the scraper's password. */
    metricsPasswordHash: "@@metrics-password-hash@@",
    /** File in which a new worker is told which servers are new and so begin as down. */
    stateFile: "@@state-file@@",
} as const;

/** By name. @throws RangeError when there is none */
export function sortedServers(p: PresetParams): ApiServer[] {
    if (p.apiServers.length === 0) throw new RangeError("the proxy needs at least one server");
    return [...p.apiServers].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Name of the backend that the check decides about. */
export function backendName(p: Pick<PresetParams, "cluster" | "backend">): string {
    return p.backend ?? `${p.cluster}-kube-api`;
}
