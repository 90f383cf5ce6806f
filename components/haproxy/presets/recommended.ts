/** Preset `recommended`. */
import { hostPort, since } from "../render";
import type { HaproxyConfig } from "../schema";
import { CHECK_TIMES } from "../settings";
import {
    SERVING_PATH,
    backendName,
    caFilePath,
    caVerify,
    placeholders,
    sortedServers,
    type CheckParams,
    type ProxyParams,
} from "./params";

/**
 * k3s answers 503 for its apiserver until that serves, which says 500 when it is not ready. In an election of etcd the servers that
 * say 500 go on serving what they have in memory; one that starts at that time must not be taken for one of them.
 * Source: k3s, pkg/server/handlers/handlers.go ("apiserver not ready"); seen with k3s 1.36.2 in the drill of 2026-11-28.
 */
const NO_APISERVER = "expect ! status 503";

/**
 * The check with what depends on the expected codes. Two failures in a row are a dead or silent server: detected after at most
 * interval + T + (fall - 1) x (fastInterval + T), with T = 1 s (timeout connect): 1 + 1 + 1.25 = 3.25 s.
 *
 * A server that answers, but not as expected, is no failure. /readyz 200 depends on etcd: while etcd elects a leader (5 to 10 s in
 * k3s) all servers say 500 at the same time, and marking them down would cut every watch and every request that waits for the new
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

/** The recommended configuration: the role's shape, with what measurements showed to be needed. */
export function recommended(p: ProxyParams): HaproxyConfig {
    const backend = backendName(p);
    const probe = `${backend}-probe`;
    const unchecked = `${backend}-unchecked`;
    const apiServers = sortedServers(p);
    const check = checkOf(p);
    const { verify } = check;
    const { timeouts, maxconn, balance } = p;
    const codes = [...p.expect].sort((a, b) => a - b).join(",");
    const loopback = p.stats.address.includes(":") ? "127.0.0.0/8 ::1" : "127.0.0.0/8";
    const networks = [loopback, ...p.stats.allowedNetworks].join(" ");
    const servers = apiServers.map(({ name, address, port }) => ({ name, listen: hostPort(address, port) }));
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
                tcp_request_content: apiServers.flatMap(({ name }) =>
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
                // The first of these that a coin chooses, else the first of them: lines that stay as they are when another server goes.
                // One that is marked down is passed over, a drained one is not (use-server).
                raw_options: [" { rand(2) eq 0 }", ""].flatMap((drawn) =>
                    apiServers.map(
                        ({ name }) => `use-server ${name} if by_probe { srv_is_up(${probe}/${name}) }${drawn}`,
                    ),
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
