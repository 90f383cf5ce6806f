/**
 * The settings of the proxy (`k3s-ha:proxy`): form, default and description of each, in this place only. What the presets take
 * (ProxyParams) is typed by it, and docs/settings.md, Pulumi.yaml and the schema for editors come out of it (npm run settings).
 * `otherwise` is the default, in words, of what follows from other settings.
 */
import { z } from "zod";
import { address, bool, count, duration, matching, networks, port } from "../values/forms";
import { haproxyConfigSchema } from "./schema";

/** What of a check depends on the answer that is expected, 200 or 401: between two checks while the state changes, and for the answer. */
export const CHECK_TIMES = {
    ready: { fastInterval: "250ms", timeout: "5s" },
    unauthorized: { fastInterval: "500ms", timeout: "3s" },
} as const;
const byMode = (key: "fastInterval" | "timeout"): string =>
    `${CHECK_TIMES.ready[key]}; ${CHECK_TIMES.unauthorized[key]} in mode \`unauthorized\``;

const stats = z.strictObject({
    port: port.default(1936).describe("port of the stats page, `/metrics` and `/healthz`"),
    address: z
        .union([address, z.literal("node")], {
            error: 'must be an address, or "node" for each node\'s own VPN address',
        })
        .optional()
        .meta({
            description: "address of the stats page; `node` is each node's VPN address",
            otherwise: "`node`; `0.0.0.0` with preset `ansible-role`",
        }),
    allowedNetworks: networks.optional().meta({
        description: "networks that may read stats and metrics, besides the host itself",
        otherwise: "`vpn.networks`",
    }),
    metricsPassword: bool.default(false).describe("`/metrics` requires a password too (user `prometheus`)"),
    admin: bool.optional().meta({
        // Any page in a browser there can press them (CSRF).
        description: "buttons on the stats page, from the host itself; every run warns",
        otherwise: "false; true with preset `ansible-role`",
    }),
});

const check = z.strictObject({
    // On a VPN it must exceed four round trips plus jitter.
    interval: duration.default("1s").describe("between two checks of a server that is up, and between two probes"),
    fastInterval: duration.optional().meta({
        description: "between two checks while the state changes",
        otherwise: byMode("fastInterval"),
    }),
    downInterval: duration.default("2s").describe("between two checks of a server that is down"),
    rise: count.default(2).describe("successful checks until a server is up"),
    // No connection, no TLS, no answer, 503. Another answer than the expected one drains.
    fall: count.default(2).describe("failed checks until a server is down"),
    timeout: duration.optional().meta({
        description: "how long a check waits for its answer",
        otherwise: byMode("timeout"),
    }),
    verify: bool.default(true).describe("the servers' certificates are verified"),
});

const timeouts = z.strictObject({
    // How long a new connection waits for a silent server before it is given to another one. It also bounds the connect (up to haproxy 2.2
    // whatever check.interval is) and the TLS handshake of a check: raise both together.
    connect: duration.default("1s").describe("haproxy's `timeout connect`"),
    // Before both sides are connected only; then `tunnel` holds.
    client: duration.default("1m").describe("haproxy's `timeout client`"),
    server: duration.default("1m").describe("haproxy's `timeout server`"),
    // The kubelet's own idle limit.
    tunnel: duration.default("4h").describe("silence on an open connection: watches, `exec`, `logs -f`"),
    queue: duration.default("10s").describe("haproxy's `timeout queue`"),
    clientFin: duration.default("30s").describe("haproxy's `timeout client-fin`"),
    serverFin: duration.default("30s").describe("haproxy's `timeout server-fin`"),
    hardStopAfter: duration.default("10m").describe("how long connections may outlive a reload"),
});

export const proxySettings = z.strictObject({
    preset: z
        .enum(["recommended", "ansible-role", "seed"], { error: "must be recommended or ansible-role" })
        .default("recommended")
        // Its name before 0.2.
        .transform((preset) => (preset === "seed" ? "ansible-role" : preset))
        .describe("`recommended`, or `ansible-role`: the lines of the [Ansible role](from-ansible.md)"),
    port: port.default(16443).describe("port of the API on 127.0.0.1"),
    // `localhost` may resolve to it first.
    ipv6: bool.default(true).describe("the API on `[::1]` as well"),
    stats: stats.prefault({}).describe("the stats page, `/metrics` and `/healthz`"),
    check: check.prefault({}).describe("the health check of the servers"),
    // Of ten servers drawn the one with the fewest connections, in effect leastconn: a silent server keeps its connections, so new ones go
    // elsewhere. leastconn itself lets a refused connection wait 1 s before it is given to another server (haproxy before 3.0,
    // back_handle_st_cer), and cuts it when the dead server is marked down meanwhile.
    balance: matching(
        /^(leastconn|roundrobin|source|first|random(\([1-9][0-9]?\))?)$/,
        "leastconn, roundrobin, random, random(1) to random(99), source or first",
    )
        .default("random(10)")
        .describe("haproxy's `balance`"),
    // The process takes twice as many, each with two descriptors, and the kernel's own limit is 1048576 (fs.nr_open).
    maxconn: count
        .max(250_000, "must be at most 250000")
        .default(2000)
        .describe("connections that the API frontend of a node takes: [limits](operations.md#limits-of-a-proxy)"),
    slowstart: duration.optional().describe("haproxy's `slowstart`: a server that is back gets new connections slowly"),
    // One hiccup of the local network can mark down all of them.
    observe: bool.default(false).describe("two failed connections mark a server down without waiting for checks"),
    timeouts: timeouts.prefault({}).describe("limits of connections"),
    haproxy: haproxyConfigSchema
        .optional()
        .describe("own sections in the words of the Ansible role; one with an existing name replaces that section"),
});

/** The proxy's settings with their defaults; what is optional follows from other settings. */
export type ProxySettings = z.output<typeof proxySettings>;
