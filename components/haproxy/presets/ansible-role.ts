/** Preset `ansible-role`. */
import { hostPort } from "../render";
import type { HaproxyConfig } from "../schema";
import { backendName, placeholders, sortedServers, type PresetParams } from "./params";

/**
 * The role's configuration with its values to the letter: roundrobin, inter 1000, rise 2, fall 2, no verification,
 * /metrics open to everybody, the stats page with buttons from localhost and the password of user admin. Taken from
 * `p` are only names, servers, the stats address and port, the frontend's port and the expected code.
 * global and defaults are the role's own defaults, without its ciphers of 2014 (RC4) and nbproc (gone in 2.5), and with
 * the chroot and the admin level of the socket from the distribution's file, which draining a server needs.
 */
export function ansibleRole(p: PresetParams): HaproxyConfig {
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
                server: sortedServers(p).map((apiServer) => ({
                    name: apiServer.name,
                    listen: hostPort(apiServer.address, apiServer.port),
                    param: ["check", "check-ssl", "verify none"],
                })),
            },
        ],
    };
}
