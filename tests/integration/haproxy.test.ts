import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
    chmodSync,
    copyFileSync,
    existsSync,
    readdirSync,
    readFileSync,
    rmSync,
    statSync,
    watch,
    writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
    explain,
    haproxyConfigSchema,
    merge,
    proxySettings,
    recommended,
    renderHaproxy,
    ansibleRole,
    type HaproxyConfig,
    type ProxyParams,
} from "../../components/haproxy";
import {
    binaries,
    certificate,
    FakeMaster,
    FOREIGN,
    load,
    MASTERS,
    Network,
    Node,
    NODE,
    until,
    workFolder,
    type Binary,
    type ApplyOptions,
} from "./haproxy/harness";

const ALL_UP = { "master-1": "UP", "master-2": "UP", "master-3": "UP" };
const STATS = `http://${NODE}:1936`;
const ADMIN = "admin:correct horse # 'battery'";
const SCRAPER = "prometheus:scraper-password";

const DEFAULTS = proxySettings.parse({});

function params(node: Node, extra: Partial<ProxyParams> = {}): ProxyParams {
    return {
        ...DEFAULTS,
        cluster: "test",
        apiServers: MASTERS,
        frontend: { port: 16443, ipv6: true },
        stats: { address: NODE, port: 1936, allowedNetworks: ["10.90.0.0/24"], metricsPassword: true, admin: false },
        expect: [200],
        check: { ...DEFAULTS.check, verify: { caFile: node.ca } },
        ...extra,
    };
}

/** Exit code and messages of `haproxy -c`. */
function check(binary: Binary, file: string, ...flags: string[]): Promise<{ code: number; text: string }> {
    return new Promise((resolve) =>
        execFile(binary.path, ["-c", ...flags, "-f", file], (error, out, err) =>
            resolve({ code: error ? Number(error.code) : 0, text: out + err }),
        ),
    );
}

const warnings = (text: string) => text.split("\n").filter((line) => line.includes("WARNING"));

for (const [index, binary] of binaries().entries()) {
    describe(`haproxy ${binary.version}`, function () {
        this.timeout(120_000);
        let folder: string;
        let network: Network;
        let node: Node;
        let masters: FakeMaster[];
        /** What becomes of a master that answers with another code than the expected one. */
        const drains = Number(binary.version.split(".")[0]) > 2 || Number(binary.version.split(".")[1]) >= 4;
        const NOT_READY = drains ? "NOLB" : "DOWN";

        const applied = async (config: HaproxyConfig | string, result: string, options?: ApplyOptions) => {
            const run = await node.apply(config, options);
            assert.deepEqual([run.code, run.out], [0, `haproxy: ${result}`], run.err);
            return run;
        };
        const states = (wanted: Record<string, string>, seconds = 15) =>
            until(`states ${JSON.stringify(wanted)}`, seconds, () => {
                const now = node.states();
                return Object.entries(wanted).every(([name, state]) => now[name] === state);
            });
        const answers = (ready: number, delay = 0) =>
            Promise.all(masters.map((master) => master.answer(ready, { delay })));

        before(async () => {
            folder = workFolder();
            network = await Network.make();
            certificate(folder, "ca");
            certificate(folder, "server", "kubernetes", "ca");
            certificate(folder, "other-ca");
            masters = await Promise.all(MASTERS.map((_, i) => FakeMaster.start(network, i, folder)));
            node = new Node(network, join(folder, "node"), binary);
            copyFileSync(join(folder, "ca.crt"), node.ca);
        });

        after(async () => {
            await Promise.all((masters ?? []).map((master) => master.kill()));
            await node?.stop();
            network?.close();
            if (folder) rmSync(folder, { recursive: true, force: true });
        });

        beforeEach(() => {
            copyFileSync(join(folder, "ca.crt"), node.ca);
        });

        describe("applying", () => {
            it("starts with all servers up, and without a warning", async () => {
                await applied(recommended(params(node)), "started; 3 of 3 servers up");
                const { code, text } = await check(binary, node.cfg, "-dW");
                assert.deepEqual([code, warnings(text)], [0, []], text);
                assert.equal(statSync(node.cfg).mode & 0o777, 0o600);
                // Chance decides: 60 requests leave a master out once in 10^10 times.
                const seen = new Set<string>();
                for (let n = 0; n < 60 && seen.size < 3; n++) seen.add(network.get("https://127.0.0.1:16443/api").body);
                assert.deepEqual([...seen].sort(), ["master-1", "master-2", "master-3"]);
            });

            it("makes the new file beside the old one, so that a rename puts it in its place", async () => {
                const seen = new Set<string | null>();
                const watcher = watch(dirname(node.cfg), (_, name) => void seen.add(name));
                await applied(
                    recommended(params(node, { timeouts: { ...DEFAULTS.timeouts, queue: "11s" } })),
                    "reloaded; 3 of 3 servers up",
                );
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                watcher.close();
                assert.ok(seen.has(".k3s-ha.new"), [...seen].join(" "));
            });

            it("does nothing the second time", async () => {
                const worker = node.worker();
                await applied(recommended(params(node)), "unchanged; 3 of 3 servers up");
                assert.equal(node.worker(), worker);
            });

            it("has no warning with every setting changed either", async () => {
                const other = recommended(
                    params(node, {
                        expect: [200, 401],
                        slowstart: "30s",
                        observe: true,
                        stats: { ...params(node).stats, metricsPassword: false, admin: true, transparent: true },
                        balance: "roundrobin",
                    }),
                );
                await applied(other, "reloaded; 3 of 3 servers up");
                const { code, text } = await check(binary, node.cfg, "-dW");
                assert.deepEqual([code, warnings(text)], [0, []], text);
            });

            it("reloads under load: no connection lost, no stream broken, the same master process", async () => {
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                const pid = readFileSync(join(node.folder, "run/pid"), "utf8");
                const end = await load(network, 40, 6);
                for (const maxconn of [1001, 1002, 1003])
                    await applied(recommended(params(node, { maxconn })), "reloaded; 3 of 3 servers up");
                const report = await end();
                assert.equal(report.broken, 0, JSON.stringify(report));
                // haproxy 2.2 is known to lose one now and then.
                assert.ok(report.failed <= (binary.version.startsWith("2.2.") ? 1 : 0), JSON.stringify(report));
                assert.ok(report.made > 40, JSON.stringify(report));
                assert.equal(readFileSync(join(node.folder, "run/pid"), "utf8"), pid);
            });

            it("keeps the old configuration running when the new one is bad, and says what is wrong", async () => {
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                const [text, worker] = [node.effective(), node.worker()];
                const bad = merge(recommended(params(node)), { defaults: { raw_options: ["retris 3"] } });
                const run = await node.apply(bad);
                assert.equal(run.code, 1);
                assert.equal(run.out, "");
                assert.match(run.err, /node agent-1, step haproxy \(haproxy -c\)/);
                assert.match(run.err, /unknown keyword 'retris' in 'defaults' section/);
                assert.match(run.err, /next: correct k3s-ha:proxy/);
                assert.deepEqual([node.effective(), node.worker()], [text, worker]);
                assert.equal(network.get("https://127.0.0.1:16443/api").code, 200);
                assert.deepEqual(leftovers(node), []);
                await applied(recommended(params(node)), "unchanged; 3 of 3 servers up");
            });

            it("looks for addresses and ports before it reloads", async () => {
                const [text, worker] = [node.effective(), node.worker()];
                const elsewhere = recommended(params(node, { stats: { ...params(node).stats, address: "10.66.0.1" } }));
                const wrong = await node.apply(elsewhere);
                assert.equal(wrong.code, 1);
                assert.match(wrong.err, /10\.66\.0\.1, to which haproxy is to bind port 1936, is not an address/);

                const [file, args] = network.enter("socat", "-d", "-d", "TCP4-LISTEN:7777,bind=127.0.0.1,fork", "PIPE");
                const squatter = spawn(file, args, { stdio: ["ignore", "ignore", "pipe"] });
                await once(squatter.stderr, "data");
                const run = await node.apply(recommended(params(node, { frontend: { port: 7777, ipv6: false } })));
                squatter.kill();
                assert.equal(run.code, 1);
                assert.match(run.err, /port 7777 on 127\.0\.0\.1 is taken by "socat" \(pid \d+\)/);
                assert.deepEqual([node.effective(), node.worker()], [text, worker]);
            });

            it("puts the old file back when the reload does not come about", async () => {
                const text = node.effective();
                const config = recommended(params(node, { maxconn: 77 }));
                const run = await node.apply(config, { env: { RELOAD: "true", WAIT: "1" } });
                assert.equal(run.code, 1);
                assert.match(run.err, /no new worker within 1 s .*the old configuration is back/);
                assert.equal(node.effective(), text);
                const silent = await node.apply(config, { env: { LISTEN: "127.0.0.1 9", WAIT: "1" } });
                assert.equal(silent.code, 1);
                assert.match(silent.err, /nothing accepts connections at 127\.0\.0\.1 port 9/);
                assert.equal(node.effective(), text);
                assert.deepEqual(leftovers(node), []);
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
            });

            it("starts again what has been stopped, with or without a change", async () => {
                await node.stop();
                await applied(recommended(params(node)), "started; 3 of 3 servers up");
                await node.stop();
                await applied(recommended(params(node, { maxconn: 55 })), "started; 3 of 3 servers up");
            });

            it("leaves out what an older haproxy or another build cannot do", async () => {
                const old = join(folder, "old-haproxy");
                writeFileSync(
                    old,
                    `#!/bin/sh\ncase $1 in -v) echo 'HA-Proxy version 2.3.9 2021' ;; -vv) echo nothing ;; *) exec ${binary.path} "$@" ;; esac\n`,
                );
                chmodSync(old, 0o755);
                const run = await node.apply(recommended(params(node)), { bin: old });
                assert.equal(run.code, 0, run.err);
                assert.ok(!node.effective().includes("tcpka-"));
                assert.ok(!node.effective().includes("prometheus-exporter"));
                assert.match(run.err, /no Prometheus exporter/);
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                const newer = !binary.version.startsWith("2.2.");
                assert.equal(node.effective().includes("clitcpka-idle 30s\n"), newer);
                assert.ok(!node.effective().includes("# haproxy >="));
            });

            it("keeps secrets out of arguments, messages and other users' sight", async () => {
                const template = renderHaproxy(node.here(recommended(params(node))));
                const run = await node.apply(template.replace("user admin password", "user admin pasword"));
                assert.equal(run.code, 1);
                assert.ok(!run.err.includes("$6$"), run.err);
                node.secret("stats-password", "two\nlines");
                const two = await node.apply(recommended(params(node)));
                node.secret("stats-password", "correct horse # 'battery'");
                assert.equal(two.code, 1);
                assert.match(two.err, /secret stats-password is not one line/);
                rmSync(join(node.folder, "secrets/metrics-password"));
                const none = await node.apply(recommended(params(node)));
                node.secret("metrics-password", "scraper-password");
                assert.match(none.err, /secret metrics-password is missing/);
                const odd = template.replace("@@stats-password-hash@@", "@@wat@@");
                assert.match((await node.apply(odd)).err, /nothing is known for @@wat@@/);
                await applied(recommended(params(node)), "unchanged; 3 of 3 servers up");
            });

            it("writes changed remarks without a reload, and takes a changed line beside them for what it is", async () => {
                const template = renderHaproxy(node.here(recommended(params(node))));
                await node.apply(template);
                const worker = node.worker();
                await applied(explain(template), "unchanged; 3 of 3 servers up");
                assert.match(node.effective(), /^ {2}# by_probe: /m);
                await applied(explain(template), "unchanged; 3 of 3 servers up");
                assert.equal(node.worker(), worker, "the worker is the same");
                await applied(explain(template).replace("retries 3", "retries 4"), "reloaded; 3 of 3 servers up");
                await applied(template, "reloaded; 3 of 3 servers up");
            });

            it("writes ACL files, uses them, and removes those that are no longer wanted", async () => {
                const dest = join(node.folder, "etc/denied.acl");
                const base = recommended(params(node));
                const stats = base.listen?.[0];
                assert.ok(stats);
                const extra: Partial<HaproxyConfig> = {
                    listen: [
                        {
                            ...stats,
                            acl: [...(stats.acl ?? []), { string: `denied src -f ${dest}` }],
                            http_request: [
                                { action: "deny", param: "deny_status 429", cond: "if denied" },
                                ...(stats.http_request ?? []),
                            ],
                        },
                    ],
                };
                const text = renderHaproxy(node.here(merge(base, extra)));
                const list = (content: string): ApplyOptions => ({
                    env: { ACL_FILES: node.aclFiles({ path: dest, mode: "0640", content }) },
                });
                await applied(text, "reloaded; 3 of 3 servers up", list(`${NODE}/32\n`));
                assert.equal(readFileSync(dest, "utf8"), `${NODE}/32\n`);
                assert.equal(statSync(dest).mode & 0o777, 0o640);
                assert.equal(network.get(`${STATS}/`, { from: NODE }).code, 429);
                await applied(text, "reloaded; 3 of 3 servers up", list("192.0.2.1\n"));
                assert.equal(network.get(`${STATS}/`, { from: NODE }).code, 401);
                await applied(text, "unchanged; 3 of 3 servers up", list("192.0.2.1\n"));
                const bad = await node.apply(text, list("not an address\n"));
                assert.equal(bad.code, 1);
                assert.equal(readFileSync(dest, "utf8"), "192.0.2.1\n");
                await applied(base, "reloaded; 3 of 3 servers up");
                assert.equal(existsSync(dest), false);
            });
        });

        describe("checking masters", () => {
            before(async () => {
                await node.apply(recommended(params(node)));
            });
            afterEach(async () => {
                // A test that failed half-way may have left one dead.
                for (const [i, master] of masters.entries())
                    if (master.dead) masters[i] = await FakeMaster.start(network, i, folder);
                await answers(200);
            });

            it("takes only the expected code for ready", async () => {
                await masters[1]?.answer(401);
                await states({ ...ALL_UP, "master-2": NOT_READY });
                assert.match((await node.apply(recommended(params(node)))).out, /unchanged; 2 of 3 servers up/);
                await applied(recommended(params(node, { expect: [200, 401] })), "reloaded; 3 of 3 servers up");
                await applied(recommended(params(node, { expect: [401] })), "reloaded; 1 of 3 servers up");
                await masters[1]?.answer(500);
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": NOT_READY });
                await answers(200);
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
            });

            it("a new worker sends nothing to a master that is down already, whose k3s has no apiserver yet", async () => {
                await masters[2]?.answer(503);
                await states({ ...ALL_UP, "master-3": "DOWN" }, 8);
                const text = renderHaproxy(node.here(recommended(params(node))));
                const end = await load(network, 50, 6);
                for (const retries of [4, 5, 6]) {
                    await applied(text.replace("retries 3", `retries ${retries}`), "reloaded; 2 of 3 servers up");
                    const [head = "", ...lines] = node.ask("show stat").split("\n");
                    const row = lines
                        .map((line) => line.split(","))
                        .find((r) => `${r[0]}/${r[1]}` === "test-kube-api/master-3");
                    assert.equal(
                        row?.[head.replace("# ", "").split(",").indexOf("stot")],
                        "0",
                        "connections to master-3",
                    );
                }
                const report = await end();
                assert.deepEqual([report.failed, report.broken], [0, 0], JSON.stringify(report));
                await answers(200);
                await states(ALL_UP, 8);
                await applied(text, "reloaded; 3 of 3 servers up");
            });

            it("sends nothing to a master whose k3s is up and its apiserver is not, also while the others are not ready", async () => {
                await masters[2]?.kill();
                await states({ ...ALL_UP, "master-3": "DOWN" }, 8);
                await Promise.all(masters.slice(0, 2).map((master) => master.answer(500)));
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": "DOWN" });
                masters[2] = await FakeMaster.start(network, 2, folder);
                await masters[2].answer(503);
                // Longer than two checks of a master that is down take.
                await new Promise((resolve) => setTimeout(resolve, 4500));
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": "DOWN" }, 1);
                if (drains) {
                    const seen = Array.from({ length: 40 }, () => network.get("https://127.0.0.1:16443/api").body);
                    assert.deepEqual([...new Set(seen)].sort(), ["master-1", "master-2"]);
                }
                await answers(200);
                await states(ALL_UP);
            });

            it("drains a master whose file is gone: its streams stay, nothing new goes there, and its end loses no connection", async () => {
                const end = await load(network, 100, 6);
                await masters[2]?.serves(false);
                await states({ ...ALL_UP, "master-3": "NOLB" });
                await masters[2]?.kill();
                await states({ ...ALL_UP, "master-3": "DOWN" }, 8);
                const report = await end();
                assert.equal(report.failed, 0, JSON.stringify(report));
                masters[2] = await FakeMaster.start(network, 2, folder);
                await states(ALL_UP);
            });

            it("a master that is new in the file gets nothing before it is up, and its being down cuts nothing", async () => {
                const all = params(node);
                const without = { ...all, apiServers: all.apiServers.slice(0, 2) };
                await applied(recommended(without), "reloaded; 2 of 2 servers up");
                await masters[2]?.kill();
                const end = await load(network, 200, 6);
                for (let i = 0; i < 3; i++) {
                    await applied(recommended(all), "reloaded; 2 of 3 servers up");
                    await applied(recommended(without), "reloaded; 2 of 2 servers up");
                }
                await applied(recommended(all), "reloaded; 2 of 3 servers up");
                const report = await end();
                assert.deepEqual([report.failed, report.broken], [0, 0], JSON.stringify(report));
                masters[2] = await FakeMaster.start(network, 2, folder);
                await states(ALL_UP);
            });

            it("sends connections to masters that still answer when none is ready, and says so on /healthz", async () => {
                assert.equal(network.get(`${STATS}/healthz`, { from: FOREIGN }).code, 200);
                await answers(500);
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": NOT_READY });
                assert.equal(network.get(`${STATS}/healthz`).code, 503);
                masters[0]?.freeze();
                await states({ "master-1": "DOWN", "master-2": NOT_READY, "master-3": NOT_READY }, 8);
                if (drains)
                    for (let i = 0; i < 20; i++) assert.equal(network.get("https://127.0.0.1:16443/api").code, 200);
                masters[0]?.thaw();
                await answers(200);
                await states(ALL_UP);
                assert.equal(network.get(`${STATS}/healthz`).code, 200);
            });

            it("leaves quiet connections alone: client and server timeouts end when both sides are connected", async () => {
                const short = recommended(
                    params(node, { timeouts: { ...DEFAULTS.timeouts, client: "1s", server: "1s" } }),
                );
                await applied(short, "reloaded; 3 of 3 servers up");
                assert.equal(network.get("https://127.0.0.1:16443/slow").code, 200);
                const cut = merge(short, { defaults: { timeout: [{ type: "tunnel", timeout: "1s" }] } });
                await applied(cut, "reloaded; 3 of 3 servers up");
                assert.throws(() => network.get("https://127.0.0.1:16443/slow"));
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
            });

            it("verifies certificates as soon as the CA is there", async () => {
                rmSync(node.ca);
                const run = await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                assert.match(run.err, /not verified yet: .*test-server-ca\.crt is not there/);
                assert.match(node.effective(), / check check-ssl verify none\n/);

                copyFileSync(join(folder, "ca.crt"), node.ca);
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
                assert.match(
                    node.effective(),
                    /verify required ca-file \S+ check-sni kubernetes verifyhost kubernetes\n/,
                );

                // Another CA is another configuration, though no line of the template differs.
                copyFileSync(join(folder, "other-ca.crt"), node.ca);
                await applied(recommended(params(node)), "reloaded; 0 of 3 servers up");
                copyFileSync(join(folder, "ca.crt"), node.ca);
                await applied(
                    recommended(
                        params(node, {
                            check: { ...DEFAULTS.check, verify: { caFile: node.ca }, host: "kubernetes.other" },
                        }),
                    ),
                    "reloaded; 0 of 3 servers up",
                );
                await applied(recommended(params(node)), "reloaded; 3 of 3 servers up");
            });
        });

        describe("stats and metrics", () => {
            before(async () => {
                await node.apply(recommended(params(node)));
            });

            it("ask for passwords: scraper for /metrics only, admin for both", () => {
                const table: [string, string | undefined, number][] = [
                    ["/", undefined, 401],
                    ["/", "admin:wrong", 401],
                    ["/", SCRAPER, 401],
                    ["/", ADMIN, 200],
                    ["/metrics", undefined, 401],
                    ["/metrics", "prometheus:wrong", 401],
                    ["/metrics", SCRAPER, 200],
                    ["/metrics", ADMIN, 200],
                ];
                for (const [path, user, code] of table)
                    assert.equal(network.get(STATS + path, { from: NODE, user }).code, code, `${path} as ${user}`);
                const { body } = network.get(`${STATS}/metrics`, { user: SCRAPER });
                assert.match(body, /^haproxy_backend_active_servers\{proxy="test-kube-api"\} 3$/m);
                const page = network.get(`${STATS}/`, { user: ADMIN }).body;
                assert.match(page, /kubernetes_master_kube_api/);
                assert.ok(!page.includes(binary.version), "the page names the version");
                assert.ok(!page.includes('name="action"'), "the page has buttons");
            });

            it("are refused to other networks, password or not", () => {
                for (const path of ["/", "/metrics"])
                    assert.equal(network.get(STATS + path, { from: FOREIGN, user: ADMIN }).code, 403);
            });

            it("leave /metrics open to the allowed networks only, without its password", async () => {
                const stats = { ...params(node).stats, metricsPassword: false };
                await applied(recommended(params(node, { stats })), "reloaded; 3 of 3 servers up");
                assert.equal(network.get(`${STATS}/metrics`, { from: NODE }).code, 200);
                assert.equal(network.get(`${STATS}/metrics`, { from: FOREIGN }).code, 403);
                assert.equal(network.get(`${STATS}/`, { from: NODE }).code, 401);
                assert.equal(network.get(`${STATS}/`, { from: NODE, user: ADMIN }).code, 200);
            });
        });

        describe("the seed's configuration", () => {
            it("runs, with one warning, and is as open as the seed says", async () => {
                await answers(401);
                const config = ansibleRole(
                    params(node, { expect: [401], stats: { ...params(node).stats, address: "0.0.0.0" } }),
                );
                const run = await applied(config, "reloaded; 3 of 3 servers up");
                const found = warnings((await check(binary, node.cfg)).text);
                assert.equal(found.length, 1, found.join("\n"));
                assert.match(found[0] ?? "", /'option httplog' not usable with frontend 'kubernetes_master_kube_api'/);
                assert.match(run.err, /option httplog/);
                assert.equal(network.get(`${STATS}/metrics`, { from: FOREIGN }).code, 200);
                assert.equal(network.get(`${STATS}/`, { from: FOREIGN }).code, 401);
                assert.equal(network.get(`${STATS}/`, { from: FOREIGN, user: ADMIN }).code, 200);
                assert.equal(network.get("https://127.0.0.1:16443/api").code, 200);
                await answers(200);
                await states({ "master-1": "DOWN", "master-2": "DOWN", "master-3": "DOWN" });
            });
        });

        if (index > 0) return;

        describe("a master lost under load", () => {
            before(async () => {
                await answers(200);
                await node.apply(recommended(params(node)));
                await states(ALL_UP);
            });

            it("loses at most what was in flight when it is killed, and takes it back", async () => {
                const end = await load(network, 50, 6);
                await masters[0]?.kill();
                await states({ "master-1": "DOWN" }, 8);
                const report = await end();
                assert.ok(report.made >= 25 && report.failed <= 2, JSON.stringify(report));
                assert.ok(report.silence < 5000, JSON.stringify(report));
                masters[0] = await FakeMaster.start(network, 0, folder);
                await states(ALL_UP);
            });

            it("cuts the streams of a frozen one before 5 s are over", async () => {
                const end = await load(network, 50, 6);
                masters[1]?.freeze();
                await states({ "master-2": "DOWN" }, 8);
                const report = await end();
                masters[1]?.thaw();
                assert.equal(report.broken, 2, JSON.stringify(report));
                assert.ok(report.silence < 5000, JSON.stringify(report));
                assert.ok(report.failed <= 4, JSON.stringify(report));
                await states(ALL_UP);
            });

            for (const third of ["ready", "drained"]) {
                it(`passes over a silent master as soon as it has missed one probe, while the third one is ${third}`, async function () {
                    if (!drains && third === "drained") return this.skip();
                    if (third === "drained") await masters[2]?.answer(500);
                    await states({ ...ALL_UP, "master-3": third === "drained" ? NOT_READY : "UP" });
                    const end = await load(network, 50, 0);
                    await masters[0]?.checked();
                    network.silence("10.90.0.11", true);
                    const probed = () => node.states("test-kube-api-probe")["master-1"];
                    await until("a probe is missed", 3, () => probed() === "DOWN");
                    const before = node.column("stot")["master-1"];
                    assert.notEqual(node.states()["master-1"], "DOWN");
                    await states({ "master-1": "DOWN" }, 8);
                    const after = node.column("stot")["master-1"];
                    network.silence("10.90.0.11", false);
                    await answers(200);
                    await states(ALL_UP);
                    const report = await end();
                    assert.equal(after, before, "new connections went to it");
                    assert.ok(report.failed <= 2, JSON.stringify(report));
                });
            }

            it("cuts what is open to a silent master also when none was ready as it was opened", async () => {
                await answers(500);
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": NOT_READY });
                const end = await load(network, 1, 12);
                await answers(200);
                await states(ALL_UP);
                masters[0]?.freeze();
                await states({ "master-1": "DOWN" }, 8);
                await new Promise((resolve) => setTimeout(resolve, 3000));
                const report = await end();
                masters[0]?.thaw();
                await states(ALL_UP);
                assert.ok(report.broken > 0 && report.silence < 5000, JSON.stringify(report));
            });

            for (const fault of ["freezes", "is cut off"]) {
                it(`loses at most two when the master that leads etcd ${fault}: the others say 500 before it is known as lost`, async function () {
                    if (!drains) return this.skip();
                    const [leader, ...others] = masters;
                    const end = await load(network, 50, 6);
                    await leader?.checked();
                    if (fault === "freezes") leader?.freeze();
                    else network.silence("10.90.0.11", true);
                    // An apiserver waits 2 s for etcd (kube-apiserver, --etcd-readycheck-timeout).
                    await Promise.all(others.map((master) => master.answer(500, { hold: 2000 })));
                    await states({ "master-1": "DOWN", "master-2": "NOLB", "master-3": "NOLB" }, 8);
                    await new Promise((resolve) => setTimeout(resolve, 2000));
                    await Promise.all(others.map((master) => master.answer(200)));
                    if (fault === "freezes") leader?.thaw();
                    else network.silence("10.90.0.11", false);
                    await states(ALL_UP);
                    const report = await end();
                    assert.ok(report.made > 200 && report.failed <= 2, JSON.stringify(report));
                    assert.ok(report.silence < 5000, JSON.stringify(report));
                });
            }

            it("rides out an election of etcd: 500 from all of them for ten seconds cuts no stream", async function () {
                // Before 2.4 an answer cannot drain; docs/limits.md has it.
                if (!drains) return this.skip();
                const end = await load(network, 20, 6);
                await answers(500, 2000);
                await new Promise((resolve) => setTimeout(resolve, 5000));
                // What was found is told at once for two seconds (Kubernetes, storage factory's health check).
                await answers(500);
                await states({ "master-1": NOT_READY, "master-2": NOT_READY, "master-3": NOT_READY });
                await new Promise((resolve) => setTimeout(resolve, 4000));
                await answers(200);
                await states(ALL_UP);
                const report = await end();
                assert.deepEqual([report.failed, report.broken], [0, 0], JSON.stringify(report));
            });
        });

        it("accepts what the model can express", async () => {
            const config = haproxyConfigSchema.parse({
                global: {
                    nbthread: 1,
                    tune: [{ key: "bufsize", value: 16384 }],
                    peers: [{ name: "p", peers: [{ name: "a", listen: "10.0.0.1:1024" }] }],
                },
                defaults: {
                    log: "global",
                    mode: "http",
                    timeout: ["connect", "client", "server"].map((type) => ({ type, timeout: "5s" })),
                },
                rings: [
                    {
                        name: "logs",
                        description: "it's a ring",
                        format: "rfc5424",
                        maxlen: 1200,
                        size: 32768,
                        timeout: { connect: "5s", server: "10s" },
                        server: [{ name: "s", listen: "127.0.0.1:6514" }],
                    },
                ],
                logforwards: [
                    {
                        name: "syslog",
                        dgram_bind: "127.0.0.1:1514",
                        log: [{ address: "ring@logs", param: ["local0"] }],
                    },
                ],
                userlists: [
                    { name: "u", users: [{ name: "a", insecure_password: "two words # it's", groups: ["g"] }] },
                ],
                resolvers: [
                    {
                        name: "dns",
                        nameservers: [{ name: "n", listen: "10.0.0.53:53" }],
                        hold: { valid: "10s" },
                        timeout: { retry: "1s" },
                        resolve_retries: 2,
                        accepted_payload_size: 4096,
                        parse_resolv_conf: true,
                    },
                ],
                mailers: [{ name: "post", servers: [{ name: "m", host: "127.0.0.1" }] }],
                cache: [{ name: "c", total_max_size: 4, max_object_size: 1000, max_age: 60 }],
                listen: [
                    {
                        name: "l",
                        description: "it's a #1 'list'",
                        bind: [{ listen: "127.0.0.1:8080" }],
                        balance: "roundrobin",
                        stick: [{ table: "type ip size 1k", stick_on: "src" }],
                        acl: [{ string: "office src 10.0.0.0/8" }],
                        capture: [{ type: "request header", name: "Host", length: 30 }],
                        monitor_uri: "/up",
                        tcp_request_inspect_delay: [{ timeout: "5s" }],
                        tcp_request_connection: [{ action: "accept", cond: "if office" }],
                        tcp_request_session: [{ action: "accept" }],
                        tcp_request_content: [{ action: "accept" }],
                        http_request: [
                            { action: "cache-use", param: "c" },
                            { action: "deny", cond: "unless office" },
                        ],
                        http_response: [
                            { action: "cache-store", param: "c" },
                            { action: "del-header", param: "Server" },
                        ],
                        redirect: [{ string: "scheme https", cond: "if !{ ssl_fc }" }],
                        compression: [{ name: "algo", value: "gzip" }],
                        option: ["httpchk"],
                        http_check: "expect status 200",
                        default_server_params: ["inter 1s", "rise 2"],
                        server: [{ name: "s1", listen: "10.0.0.1:80", param: ["check", "weight 10"] }],
                        server_template: {
                            name: "t",
                            num: "1-3",
                            fqdn: "web.example",
                            port: 80,
                            param: ["resolvers dns", "init-addr none"],
                        },
                        retry_on: ["conn-failure", "empty-response"],
                        retries: 2,
                    },
                ],
                frontend: [
                    {
                        name: "f",
                        bind: [{ listen: "127.0.0.1:8081" }],
                        use_backend: "b if { path /b }",
                        default_backend: "b",
                    },
                ],
                backend: [
                    {
                        name: "b",
                        balance: "leastconn",
                        cookie: "SRV insert",
                        email_alert: [
                            { code: "mailers", value: "post" },
                            { code: "from", value: "a@b.c" },
                            { code: "to", value: "a@b.c" },
                        ],
                        server_dynamic: [{ group: "server", listen_port: 6443 }],
                    },
                ],
            });
            const file = join(folder, "model.cfg");
            writeFileSync(file, renderHaproxy(config, { groups: { server: MASTERS } }));
            const { code, text } = await check(binary, file);
            assert.equal(code, 0, text);
        });
    });
}

/** Files in haproxy's folder that are no part of its configuration. */
function leftovers(node: Node): string[] {
    const known = ["haproxy.cfg", "test-server-ca.crt", ".k3s-ha.lock"];
    return readdirSync(join(node.folder, "etc")).filter((name) => !known.includes(name));
}

describe("haproxy-apply.sh remove", () => {
    it("takes its traces beside haproxy.cfg away", () => {
        const folder = workFolder();
        const [cfg, acl, former, appliedSum] = ["haproxy.cfg", "x.acl", "y.acl", "applied"].map((name) =>
            join(folder, name),
        ) as [string, string, string, string];
        // Before 0.2 ACL files were comments of the configuration.
        writeFileSync(cfg, `global\n# file ${former} root root 0644\n# | 10.0.0.1\n# end of file\n`);
        for (const file of [acl, former, appliedSum, join(folder, ".k3s-ha.lock"), join(folder, "other")])
            writeFileSync(file, "x");
        writeFileSync(`${appliedSum}.acl`, `${acl}\n`);
        execFileSync("sh", [join(__dirname, "../../components/scripts/haproxy-apply.sh"), "remove"], {
            env: { ...process.env, HAPROXY_CFG: cfg, APPLIED: appliedSum },
        });
        assert.deepEqual(readdirSync(folder).sort(), ["haproxy.cfg", "other"]);
        rmSync(folder, { recursive: true });
    });
});
