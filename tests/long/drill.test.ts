/**
 * `make drill`: every master in turn, and then the one that leads etcd, is stopped as planned, killed, frozen and cut off, while clients on all nodes open new
 * connections. Beside the proxies of this program two others are measured under the same faults: a haproxy with the seed's values to
 * the letter, and k3s's own agent balancer (the lab's stand-in models that; with LAB_K3S it is the real one).
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { renderHaproxy, ansibleRole } from "../../components/haproxy";
import {
    Client,
    HOSTS,
    MASTERS,
    NET,
    eventually,
    kubeconfig,
    kubectl,
    lab,
    leads,
    mainCluster,
    mainStack,
    nodeOf,
    on,
    pidOf,
    whole,
    type ClientOptions,
    type Seen,
} from "../cluster/support";

/** Runs a command on a host and says when it was done, by the host's clock, which is this machine's; the way there takes longer. */
const done = (host: string, line: string): number => Number(on(host, `${line}; date +%s%3N`).stdout);

/** `begin` returns when the fault was there, in milliseconds since the epoch. */
const FAULTS = {
    "planned stop": {
        begin: (m: string) => done(m, "systemctl stop --no-block k3s"),
        end: (m: string) => on(m, "systemctl start --no-block k3s"),
    },
    // Until the process is gone, which takes a moment, the kernel accepts connections for it: those are in flight.
    kill: {
        begin: (m: string) =>
            done(
                m,
                "p=$(systemctl show -p MainPID --value k3s); systemctl kill -s KILL k3s; while [ -e /proc/$p ]; do :; done",
            ),
        end: () => undefined,
    },
    freeze: {
        begin: (m: string) => done(m, "systemctl kill --kill-who=main -s STOP k3s"),
        end: (m: string) => on(m, "systemctl kill --kill-who=main -s CONT k3s"),
    },
    cut: {
        begin: (m: string) => {
            lab(["fault", m, "cut"]);
            return Date.now();
        },
        end: (m: string) => lab(["fault", m, "heal"]),
    },
} as const;
type Fault = keyof typeof FAULTS;

/** Seconds before the fault, and under it. */
const BEFORE = 3;
const UNDER = 17;
/** New connections a second of the measured clients: about 1000 in all; the other nodes ask less, two cores carry everything. */
const RATE = 50;
const OTHERS = 10;
/** Seconds that a client waits for an answer. */
const PATIENCE = 5;
/** Answered from an apiserver's own memory, so that this measures the way to a master and not etcd's elections. */
const PATH = "/api/v1/namespaces/default?resourceVersion=0";

const SEED_PORT = 26443;
const SEED_PIDFILE = "/run/seed-haproxy.pid";

/** The seed's proxy beside ours on a host: other ports, another socket, and the role's error files left out. */
function startSeed(host: string): void {
    const text = renderHaproxy(
        ansibleRole({
            cluster: "seed",
            apiServers: MASTERS.map((name, i) => ({ name, address: `${NET}.1${i + 1}`, port: 6443 })),
            frontend: { port: SEED_PORT, ipv6: false },
            stats: { address: "127.0.0.1", port: 21936, allowedNetworks: [], metricsPassword: false, admin: false },
            expect: [200],
        }),
    )
        .replace(/\/run\/haproxy\/admin\.sock/g, "/run/seed-haproxy.sock")
        .replace(/^.*errorfile.*\n/gm, "")
        .replace("@@stats-password@@", "baseline");
    on(host, `cat >/root/seed.cfg && haproxy -f /root/seed.cfg -p ${SEED_PIDFILE}`, { input: text });
}
const stopSeed = (host: string): void =>
    void on(host, `kill "$(cat ${SEED_PIDFILE})"; rm -f ${SEED_PIDFILE} /root/seed.cfg /run/seed-haproxy.sock`);

/** What one client lost to one fault. */
interface Loss {
    readonly requests: number;
    /** Failed, of those that began after the fault. */
    readonly failed: number;
    /** Failed, of those that were on their way when it came. */
    readonly inFlight: number;
    readonly longestGap: number;
    /** The longest time that the watch did not know of something that was so, in milliseconds. */
    readonly watchHang: number;
}

/** [number, when the API had taken it], of every beat. */
type Beat = readonly [beat: number, at: number];

/** The longest time from a beat that was taken until the watch knew of it or of a later one. */
export function hang(taken: readonly Beat[], learned: readonly Beat[], end: number): number {
    let longest = 0;
    for (const [beat, at] of taken) {
        const known = learned.find(([n]) => n >= beat)?.[1] ?? end;
        longest = Math.max(longest, known - at);
    }
    return longest;
}

function loss(seen: Seen, faultAt: number, taken: readonly Beat[], end: number): Loss {
    const before = (f: { at: number }): boolean => seen.began + f.at < faultAt;
    return {
        requests: seen.requests,
        failed: seen.failures.filter((f) => !before(f)).length,
        inFlight: seen.failures.filter(before).length,
        longestGap: seen.longestGap,
        watchHang: hang(
            taken.filter(([, at]) => at > seen.began + 1000),
            seen.beats,
            end,
        ),
    };
}

const KINDS = ["ours", "ours elsewhere", "seed", "k3s balancer"] as const;
/** The agent whose proxy takes about 1000 connections, and where the seed's runs beside it. */
const MEASURED = "agent-1";
const LEADER = "etcd's leader";
type Kind = (typeof KINDS)[number];
const worst: Record<Fault, Record<Kind, Loss | undefined>> = {} as never;

const worse = (a: Loss | undefined, b: Loss): Loss => ({
    requests: (a?.requests ?? 0) + b.requests,
    failed: Math.max(a?.failed ?? 0, b.failed),
    inFlight: Math.max(a?.inFlight ?? 0, b.inFlight),
    longestGap: Math.max(a?.longestGap ?? 0, b.longestGap),
    watchHang: Math.max(a?.watchHang ?? 0, b.watchHang),
});

const row = (l: Loss | undefined): string =>
    l === undefined
        ? "-"
        : `${l.failed} (+${l.inFlight}), ${(l.longestGap / 1000).toFixed(1)} s, ${(l.watchHang / 1000).toFixed(1)} s`;

describe("drill: every master in turn is stopped, killed, frozen and cut off", function () {
    this.timeout(1_800_000);

    before(async () => {
        await mainCluster();
        // The node on which k3s's own balancer is measured.
        mainStack().upWith((config) => void (nodeOf(config, "agent-2").throughProxy = false));
        startSeed("agent-1");
        kubectl(["create", "configmap", "beat", "--from-literal=beat=0"]);
        await whole();
    });

    after(() => {
        stopSeed("agent-1");
        mainStack().upWith((config) => void delete nodeOf(config, "agent-2").throughProxy);
        kubectl(["delete", "configmap", "beat"]);
        const own = process.env["LAB_K3S"] ? "k3s's own" : "as the stand-in models it";
        console.log(
            `\n      failed within ${PATIENCE} s, of about ${RATE * (BEFORE + UNDER)} new connections in the worst of ${MASTERS.length + 1} rounds (+ in flight at the fault), longest gap, longest watch hang`,
        );
        console.log(`      ${"".padEnd(14)}${KINDS.map((k) => k.padEnd(26)).join("")}`);
        for (const [fault, columns] of Object.entries(worst))
            console.log(`      ${fault.padEnd(14)}${KINDS.map((k) => row(columns[k]).padEnd(26)).join("")}`);
        console.log(
            `      ours: on agent-1; elsewhere: the worst of the other nodes, of about ${OTHERS * (BEFORE + UNDER)} each; seed: haproxy with its values, on agent-1; k3s balancer: on agent-2, ${own}`,
        );
        console.log(
            `      load of the machine: ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ")}`,
        );
    });

    for (const fault of Object.keys(FAULTS) as Fault[]) {
        // The one that leads etcd is missed by the other two, which say so while the proxies do not yet know that it is lost.
        for (const target of [...MASTERS, LEADER]) {
            it(`${fault} of ${target}`, async () => {
                const master = target === LEADER ? MASTERS.find(leads) : target;
                assert.ok(master, "no master leads etcd");
                console.log(`      ${master}, which ${leads(master) ? "leads" : "does not lead"} etcd`);
                const common = { path: PATH, patience: PATIENCE };
                const plan: [Kind, string, ClientOptions][] = HOSTS.filter(
                    (host) => fault !== "cut" || host !== master,
                ).map((host) =>
                    host === MEASURED
                        ? ["ours", host, { ...common, rate: RATE }]
                        : ["ours elsewhere", host, { ...common, rate: OTHERS }],
                );
                plan.push(["seed", MEASURED, { ...common, rate: RATE, url: `https://127.0.0.1:${SEED_PORT}` }]);
                plan.push(["k3s balancer", "agent-2", { ...common, rate: RATE, url: "https://127.0.0.1:6444" }]);
                const heart = await new Client("agent-2", kubeconfig(), { rate: 5, path: PATH, beat: true }).running();
                const clients = await Promise.all(
                    plan.map(async ([kind, host, how]) => ({
                        kind,
                        host,
                        client: await new Client(host, kubeconfig(), how).running(),
                    })),
                );
                await new Promise((resolve) => setTimeout(resolve, BEFORE * 1000));
                const faultAt = FAULTS[fault].begin(master);
                let results;
                try {
                    await new Promise((resolve) => setTimeout(resolve, UNDER * 1000));
                    const end = Date.now();
                    const { taken } = await heart.stop();
                    results = await Promise.all(
                        clients.map(async ({ kind, host, client }) => ({
                            kind,
                            host,
                            ...(await client.stop().then((seen) => ({
                                loss: loss(seen, faultAt, taken, end),
                                failures: seen.failures.map(
                                    (f) =>
                                        `${seen.began + f.at - faultAt} ms after the fault, after ${f.ms} ms: ${f.error}`,
                                ),
                            }))),
                        })),
                    );
                } finally {
                    FAULTS[fault].end(master);
                }
                const columns = (worst[fault] ??= {} as Record<Kind, Loss | undefined>);
                for (const { kind, host, loss: l, failures } of results) {
                    console.log(
                        `      ${kind.padEnd(14)} ${host.padEnd(9)} ${String(l.requests).padStart(5)} asked, ${row(l)}`,
                    );
                    if (kind.startsWith("ours"))
                        for (const failure of failures.slice(0, 5)) console.log(`        ${failure}`);
                    columns[kind] = worse(columns[kind], l);
                }
                // A k3s that was frozen or cut off ends some seconds later, when it sees that it has lost its leases.
                await eventually("the cluster is whole and stays so", 240, async () => {
                    const pid = pidOf(master, "k3s");
                    await whole(60);
                    await new Promise((resolve) => setTimeout(resolve, 12_000));
                    assert.equal(pidOf(master, "k3s"), pid, `k3s on ${master} has started again`);
                });
                const allowed = fault === "planned stop" || fault === "kill" ? 0 : 2;
                for (const { kind, host, loss: l } of results.filter((r) => r.kind.startsWith("ours"))) {
                    // At a kill one of some thousands is being opened to the dead master in the very moment at which it is marked down.
                    const most =
                        kind === "ours"
                            ? allowed
                            : { "planned stop": 0, kill: 1, freeze: Infinity, cut: Infinity }[fault];
                    assert.ok(l.failed <= most, `${l.failed} of ${l.requests} failed through ${kind} on ${host}`);
                    assert.ok(l.watchHang <= 5000, `a watch through ${kind} on ${host} hung for ${l.watchHang} ms`);
                }
            });
        }
    }

    it("no baseline is ahead in any row", () => {
        for (const [fault, columns] of Object.entries(worst))
            for (const kind of ["seed", "k3s balancer"] as const)
                assert.ok(
                    (columns.ours?.failed ?? Infinity) <= (columns[kind]?.failed ?? 0),
                    `${fault}: ours lost ${columns.ours?.failed}, ${kind} ${columns[kind]?.failed}`,
                );
    });
});
