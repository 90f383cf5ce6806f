import type { HaproxyConfig } from "./model";
import { hostPort, since } from "./render";
import { CHECK_TIMES, type ProxySettings } from "./settings";
import type { Filled } from "../values";

/** A master as the proxy sees it. `address` should be an IP address: a name that does not resolve stops haproxy. */
export interface Master {
    readonly name: string;
    readonly address: string;
    readonly port: number;
}

/** How the masters are asked whether they are up: the user's settings, and what is no setting. */
export interface CheckParams extends Omit<ProxySettings["check"], "verify"> {
    /** Default /readyz. */
    readonly path?: string;
    /** Host header and TLS name; must be a name in the masters' certificate. Default kubernetes. */
    readonly host?: string;
    /** CA file on the host that the masters' certificates are verified with (`caFile`), or no verification. */
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
    readonly masters: readonly Master[];
    /** Port on 127.0.0.1; on [::1] too. */
    readonly frontend: Pick<ProxySettings, "port" | "ipv6">;
    readonly stats: Readonly<StatsSettings> & {
        /** Bind before the address exists: for hosts whose VPN comes up after haproxy. Default false; the program sets it. */
        readonly transparent?: boolean;
    };
    /** HTTP codes of a ready master: [401], [200], or [200, 401] while the mode changes. */
    readonly expect: readonly number[];
}

/** The user's settings that only `recommended` has; all have their defaults. */
export type Tuning = Omit<ProxySettings, "preset" | "port" | "ipv6" | "stats" | "check" | "haproxy">;

/** What the preset `recommended` needs to know. */
export interface ProxyParams extends PresetParams, Readonly<Tuning> {
    readonly check: CheckParams;
}

/** Where the masters' CA certificate lies on a host. */
export function caFilePath(cluster: string): string {
    return `/etc/haproxy/${cluster}-server-ca.crt`;
}

/**
 * The certificate check of a server line. apply.sh replaces exactly this text by `verify none` as long as `caFile` is
 * missing on the host (haproxy would not start), that is before the first master has made the CA.
 */
export function caVerify(caFile: string, host = "kubernetes"): string {
    return `verify required ca-file ${caFile} check-sni ${host} verifyhost ${host}`;
}

/**
 * A file that a master serves while it is to get new connections. Taken away before a planned stop: a 404 here drains the master
 * (status NOLB), so that nothing is assigned to it when its port closes. A failed check would cut what is just being opened.
 */
export const SERVING_PATH = "/static/k3s-ha/serving";

/**
 * k3s answers 503 for its apiserver until that serves, which says 500 when it is not ready. In an election of etcd the masters that
 * say 500 go on serving what they have in memory; one that starts at that time must not be taken for one of them.
 * Source: k3s, pkg/server/handlers/handlers.go ("apiserver not ready"); seen with k3s 1.36.2 in the drill of 2026-11-28.
 */
const NO_APISERVER = "expect ! status 503";

/** Places that apply.sh fills in from its folder of secrets, so that no rendered text holds one. */
export const placeholders = {
    /** The stats password as it is (only haproxy's `stats auth`, as in the seed, needs that). */
    statsPassword: "@@stats-password@@",
    /** Its SHA-512 crypt hash. */
    statsPasswordHash: "@@stats-password-hash@@",
    /** Hash of the scraper's password. */
    metricsPasswordHash: "@@metrics-password-hash@@",
    /** File in which a new worker is told which masters are new and so begin as down. */
    stateFile: "@@state-file@@",
} as const;

/**
 * The check with what depends on the expected codes. Two failures in a row are a dead or silent master: detected after at most
 * interval + T + (fall - 1) x (fastInterval + T), with T = 1 s (timeout connect): 1 + 1 + 1.25 = 3.25 s.
 *
 * A master that answers, but not as expected, is no failure. /readyz 200 depends on etcd: while etcd elects a leader (5 to 10 s in
 * k3s) all masters say 500 at the same time, and marking them down would cut every watch and every request that waits for the new
 * leader. Such an answer drains instead (`error-status L7OKC`, from haproxy 2.4 on): nothing new goes there, what is open stays.
 * 503 is a failure: no apiserver has answered.
 */
function checkOf({ check, expect, cluster }: ProxyParams): Required<CheckParams> {
    const times = CHECK_TIMES[expect.includes(401) ? "unauthorized" : "ready"];
    return {
        ...check,
        fastInterval: check.fastInterval ?? times.fastInterval,
        timeout: check.timeout ?? times.timeout,
        path: check.path ?? "/readyz",
        host: check.host ?? "kubernetes",
        verify: check.verify ?? { caFile: caFilePath(cluster) },
    };
}

function sortedMasters(p: PresetParams): Master[] {
    if (p.masters.length === 0) throw new RangeError("the proxy needs at least one master");
    return [...p.masters].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Name of the backend that the check decides about. */
export function backendName(p: Pick<PresetParams, "cluster" | "backend">): string {
    return p.backend ?? `${p.cluster}-kube-api`;
}

/** The recommended configuration: the seed's shape, with what measurements showed to be needed. */
export function recommended(p: ProxyParams): HaproxyConfig {
    const backend = backendName(p);
    const probe = `${backend}-probe`;
    const unchecked = `${backend}-unchecked`;
    const masters = sortedMasters(p);
    const check = checkOf(p);
    const { verify } = check;
    const { timeouts, maxconn, balance } = p;
    const codes = [...p.expect].sort((a, b) => a - b).join(",");
    const loopback = p.stats.address.includes(":") ? "127.0.0.0/8 ::1" : "127.0.0.0/8";
    const networks = [loopback, ...p.stats.allowedNetworks].join(" ");
    const servers = masters.map(({ name, address, port }) => ({ name, listen: hostPort(address, port) }));
    const asksServing = [
        "connect default",
        `send meth GET uri ${SERVING_PATH} ver HTTP/1.1 hdr Host ${check.host}`,
        "expect status 200-299",
    ];
    const listeners = [hostPort("127.0.0.1", p.frontend.port)];
    if (p.frontend.ipv6) listeners.push(hostPort("::1", p.frontend.port));

    return {
        global: {
            log: [{ address: "/dev/log", facility: "local0", level: "info" }],
            chroot: "/var/lib/haproxy",
            stats: {
                sockets: [
                    { listen: "/run/haproxy/admin.sock", param: ["mode 660", "level admin", "expose-fd listeners"] },
                ],
                timeout: "30s",
            },
            user: "haproxy",
            group: "haproxy",
            maxconn: 2 * maxconn,
            ssl_default_server_options: "ssl-min-ver TLSv1.2",
            raw_options: [`hard-stop-after ${timeouts.hardStopAfter}`, `server-state-file ${placeholders.stateFile}`],
        },
        defaults: {
            log: "global",
            mode: "tcp",
            option: ["tcplog", "dontlognull", "redispatch 1", "clitcpka", "srvtcpka"],
            retries: 3,
            timeout: [
                { type: "connect", timeout: timeouts.connect },
                { type: "check", timeout: check.timeout },
                { type: "queue", timeout: timeouts.queue },
                { type: "client", timeout: timeouts.client },
                { type: "server", timeout: timeouts.server },
                { type: "tunnel", timeout: timeouts.tunnel },
                { type: "client-fin", timeout: timeouts.clientFin },
                { type: "server-fin", timeout: timeouts.serverFin },
            ],
            raw_options: [
                "load-server-state-from-file global",
                ...["clitcpka", "srvtcpka"].flatMap((side) =>
                    ["idle 30s", "intvl 10s", "cnt 3"].map((value) => since("2.4", `${side}-${value}`)),
                ),
            ],
        },
        userlists: [
            {
                name: "monitoring",
                groups: [
                    { name: "admins", users: ["admin"] },
                    ...(p.stats.metricsPassword ? [{ name: "scrapers", users: ["prometheus"] }] : []),
                ],
                users: [
                    { name: "admin", password: placeholders.statsPasswordHash },
                    ...(p.stats.metricsPassword
                        ? [{ name: "prometheus", password: placeholders.metricsPasswordHash }]
                        : []),
                ],
            },
        ],
        listen: [
            {
                name: "stats",
                bind: [
                    {
                        listen: hostPort(p.stats.address, p.stats.port),
                        ...(p.stats.transparent ? { param: ["transparent"] } : {}),
                    },
                ],
                mode: "http",
                option: ["httplog", "dontlog-normal", "disable-h2-upgrade"],
                timeout: [
                    { type: "http-request", timeout: "5s" },
                    { type: "client", timeout: "30s" },
                    { type: "server", timeout: "30s" },
                ],
                acl: [
                    { string: `trusted_net src ${networks}` },
                    { string: "is_metrics path /metrics" },
                    { string: "user_admin http_auth_group(monitoring) admins" },
                    ...(p.stats.metricsPassword
                        ? [{ string: "user_scraper http_auth_group(monitoring) scrapers" }]
                        : []),
                ],
                stats: {
                    enable: true,
                    uri: "/",
                    refresh: "5s",
                    ...(p.stats.admin ? { admin: "if LOCALHOST user_admin" } : {}),
                    options: ["hide-version", "show-node"],
                },
                monitor_uri: "/healthz",
                monitor_fail: [`if { nbsrv(${backend}) lt 1 }`],
                // The order decides who is let in: source first, then password, then the service.
                http_request: [
                    { action: "deny", param: "deny_status 403", cond: "unless trusted_net" },
                    ...(p.stats.metricsPassword
                        ? [{ action: "auth", param: "realm haproxy", cond: "if is_metrics !user_scraper !user_admin" }]
                        : []),
                    { action: "auth", param: "realm haproxy", cond: "if !is_metrics !user_admin" },
                    { action: "use-service", param: "prometheus-exporter", cond: "if is_metrics" },
                ],
            },
        ],
        frontend: [
            {
                name: "kubernetes_master_kube_api",
                bind: listeners.map((listen) => ({ listen })),
                maxconn,
                // Of those that are not marked down: has one answered when it was last probed, has one not?
                tcp_request_content: masters.flatMap(({ name }) =>
                    (["answering", "silent"] as const).map((what) => ({
                        action: `set-var(txn.${what})`,
                        param: "bool(true)",
                        cond: `if { srv_is_up(${backend}/${name}) } ${what === "silent" ? "!" : ""}{ srv_is_up(${probe}/${name}) }`,
                    })),
                ),
                use_backend: [`${unchecked} if { nbsrv(${backend}) eq 0 } !{ var(txn.answering) -m bool }`],
                default_backend: backend,
            },
        ],
        backend: [
            {
                name: backend,
                balance,
                // Where one is silent or none is ready, new connections go to those that answer the probe, a drained one among them: its 500
                // may say no more than that the silent one led etcd. Else the balance decides.
                acl: [{ string: "by_probe var(txn.silent) -m bool" }, { string: `by_probe nbsrv(${backend}) eq 0` }],
                option: ["log-health-checks", "httpchk"],
                http_check: [
                    "disable-on-404",
                    "connect default",
                    `send meth GET uri ${check.path} ver HTTP/1.1 hdr Host ${check.host}`,
                    NO_APISERVER,
                    since("2.4", `expect status ${codes} error-status L7OKC`),
                    `expect status ${codes}`,
                    ...asksServing,
                ],
                default_server_params: [
                    `inter ${check.interval}`,
                    `fastinter ${check.fastInterval}`,
                    `downinter ${check.downInterval}`,
                    `rise ${check.rise}`,
                    `fall ${check.fall}`,
                    ...(p.slowstart === undefined ? [] : [`slowstart ${p.slowstart}`]),
                    ...(p.observe ? ["observe layer4 error-limit 2 on-error mark-down"] : []),
                    "on-marked-down shutdown-sessions",
                    "check check-ssl",
                    verify === "none" ? "verify none" : caVerify(verify.caFile, check.host),
                ],
                server: servers,
                // The first of these that a coin chooses, else the first of them: lines that stay as they are when another master goes.
                // One that is marked down is passed over, a drained one is not (use-server).
                raw_options: [" { rand(2) eq 0 }", ""].flatMap((drawn) =>
                    masters.map(({ name }) => `use-server ${name} if by_probe { srv_is_up(${probe}/${name}) }${drawn}`),
                ),
            },
            {
                // One that misses a single probe is passed over by new connections, a second before it is marked down above, which cuts what
                // is open to it. The probe needs neither apiserver nor etcd. Nothing is trusted by it, so it verifies nothing.
                name: probe,
                balance,
                no_log: true,
                option: ["httpchk"],
                http_check: asksServing,
                default_server_params: [`inter ${check.interval}`, "rise 1", "fall 1", "check check-ssl verify none"],
                server: servers,
            },
            // Where none is ready and none answers: any.
            { name: unchecked, balance, server: servers },
        ],
    };
}

/**
 * The seed's configuration with its values to the letter: roundrobin, inter 1000, rise 2, fall 2, no verification,
 * /metrics open to everybody, the stats page with buttons from localhost and the password of user admin. Taken from
 * `p` are only names, masters, the stats address and port, the frontend's port and the expected code.
 * global and defaults are the role's own defaults, without its ciphers of 2014 (RC4) and nbproc (gone in 2.5), and with
 * the chroot and the admin level of the socket from the distribution's file, which draining a master needs.
 */
export function seed(p: PresetParams): HaproxyConfig {
    const backend = backendName(p);
    return {
        global: {
            log: [
                { address: "/dev/log", facility: "local0" },
                { address: "/dev/log", facility: "local1", level: "notice" },
            ],
            chroot: "/var/lib/haproxy",
            stats: {
                sockets: [
                    { listen: "/run/haproxy/admin.sock", param: ["mode 660", "level admin", "expose-fd listeners"] },
                ],
                timeout: "30s",
            },
            user: "haproxy",
            group: "haproxy",
            daemon: true,
            ca_base: "/etc/ssl/certs",
            crt_base: "/etc/ssl/private",
        },
        defaults: {
            log: "global",
            mode: "http",
            option: ["httplog", "dontlognull"],
            timeout: [
                { type: "connect", timeout: "5000" },
                { type: "client", timeout: "50000" },
                { type: "server", timeout: "50000" },
            ],
            errorfile: [400, 403, 408, 500, 502, 503, 504].map((code) => ({
                code,
                file: `/etc/haproxy/errors/${code}.http`,
            })),
        },
        listen: [
            {
                name: "stats",
                description: "Global statistics",
                bind: [{ listen: hostPort(p.stats.address, p.stats.port) }],
                mode: "http",
                http_request: [{ action: "use-service", param: "prometheus-exporter", cond: "if { path /metrics }" }],
                stats: {
                    enable: true,
                    uri: "/",
                    options: ["hide-version", "show-node"],
                    admin: "if LOCALHOST",
                    refresh: "5s",
                    auth: [{ user: "admin", passwd: placeholders.statsPassword }],
                },
            },
        ],
        frontend: [
            {
                name: "kubernetes_master_kube_api",
                description: "frontend with k8s api masters",
                bind: [{ listen: hostPort("127.0.0.1", p.frontend.port) }],
                mode: "tcp",
                default_backend: backend,
            },
        ],
        backend: [
            {
                name: backend,
                description: "backend with all kubernetes masters",
                mode: "tcp",
                balance: "roundrobin",
                option: ["httpchk GET /readyz"],
                http_check: [`expect status ${[...p.expect].sort((a, b) => a - b).join(",")}`],
                default_server_params: ["inter 1000", "rise 2", "fall 2"],
                server: sortedMasters(p).map((master) => ({
                    name: master.name,
                    listen: hostPort(master.address, master.port),
                    param: ["check", "check-ssl", "verify none"],
                })),
            },
        ],
    };
}

function byKey<T>(key: (item: T) => string, base: readonly T[] | undefined, extra: readonly T[] | undefined): T[] {
    const merged = new Map((base ?? []).map((item) => [key(item), item]));
    for (const item of extra ?? []) merged.set(key(item), item);
    return [...merged.values()];
}

function orFalse<T>(key: (item: T) => string, base: readonly T[] | false | undefined, extra: readonly T[] | false) {
    return extra === false ? (false as const) : byKey(key, base || [], extra);
}

/**
 * `base` with `extra` on top. Lists of sections: a section of the same name is replaced in its place, others are added
 * at the end. global and defaults: key by key; in them the lists timeout, errorfile, tune and peers are merged by their
 * type, code, key and name, every other list is replaced.
 */
export function merge(base: HaproxyConfig, extra: Partial<HaproxyConfig>): HaproxyConfig {
    const merged: HaproxyConfig = { ...base };
    if (extra.global) {
        const { tune, peers } = extra.global;
        merged.global = { ...base.global, ...extra.global };
        if (tune) merged.global.tune = byKey((item) => item.key, base.global?.tune, tune);
        if (peers) merged.global.peers = byKey((item) => item.name, base.global?.peers, peers);
    }
    if (extra.defaults) {
        const { timeout, errorfile } = extra.defaults;
        merged.defaults = { ...base.defaults, ...extra.defaults };
        if (timeout !== undefined)
            merged.defaults.timeout = orFalse((item) => item.type, base.defaults?.timeout, timeout);
        if (errorfile !== undefined)
            merged.defaults.errorfile = orFalse((item) => `${item.code}`, base.defaults?.errorfile, errorfile);
    }
    const named = (item: { name: string }) => item.name;
    if (extra.listen) merged.listen = byKey(named, base.listen, extra.listen);
    if (extra.frontend) merged.frontend = byKey(named, base.frontend, extra.frontend);
    if (extra.backend) merged.backend = byKey(named, base.backend, extra.backend);
    if (extra.userlists) merged.userlists = byKey(named, base.userlists, extra.userlists);
    if (extra.resolvers) merged.resolvers = byKey(named, base.resolvers, extra.resolvers);
    if (extra.mailers) merged.mailers = byKey(named, base.mailers, extra.mailers);
    if (extra.cache) merged.cache = byKey(named, base.cache, extra.cache);
    if (extra.rings) merged.rings = byKey(named, base.rings, extra.rings);
    if (extra.logforwards) merged.logforwards = byKey(named, base.logforwards, extra.logforwards);
    if (extra.acl_files) merged.acl_files = byKey((file) => file.dest, base.acl_files, extra.acl_files);
    return merged;
}
