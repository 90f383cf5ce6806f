import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import {
    caFilePath,
    caVerify,
    checkReferences,
    haproxyConfigSchema,
    inlineSecrets,
    merge,
    proxySettings,
    recommended,
    renderHaproxy,
    ansibleRole,
    type HaproxyConfig,
    type PresetParams,
    type ProxyParams,
} from "../../../components/haproxy";
import { assertGolden, goldenPath } from "../helpers/golden";

const masters = [3, 1, 2].map((n) => ({ name: `master-${n}`, address: `10.90.0.1${n}`, port: 6443 }));
const { check, ...defaults } = proxySettings.parse({});
const params: ProxyParams = {
    ...defaults,
    check: { ...check, verify: undefined },
    cluster: "k8s-de1",
    apiServers: masters,
    frontend: { port: 16443, ipv6: true },
    stats: {
        address: "10.90.0.21",
        port: 1936,
        allowedNetworks: ["10.90.0.0/24", "10.91.0.0/16"],
        metricsPassword: true,
        admin: false,
    },
    expect: [200],
};
const roleParams: PresetParams = {
    ...params,
    apiServers: [3, 1, 2].map((n) => ({ name: `k8s-de1-master-${n}`, address: `master-${n}`, port: 6443 })),
    stats: { ...params.stats, address: "0.0.0.0" },
    expect: [401],
};
/** Lines of one section, without indentation. */
function section(text: string, title: string): string[] {
    const lines = text.split("\n");
    const start = lines.indexOf(title);
    assert.notEqual(start, -1, `no section "${title}"`);
    const end = lines.indexOf("", start);
    return lines.slice(start + 1, end).map((line) => line.trim());
}

describe("haproxy: preset ansible-role", () => {
    it("renders the role's values line by line", () => {
        assertGolden(renderHaproxy(ansibleRole(roleParams)), "haproxy-ansible-role.cfg");
    });

    it("agrees with the role's own YAML, parsed by the schema", () => {
        const role = parse(readFileSync(goldenPath("haproxy-ansible-role.yaml"), "utf8")) as Record<string, unknown>;
        const pasted = Object.fromEntries(
            Object.entries(role).map(([key, value]) => [key.replace(/^haproxy_/, ""), value]),
        );
        const config = haproxyConfigSchema.parse(pasted);
        const expected = readFileSync(goldenPath("haproxy-ansible-role.cfg"), "utf8");
        const rendered = renderHaproxy(config);
        for (const title of ["frontend kubernetes_master_kube_api", "backend k8s-de1-kube-api"])
            assert.deepEqual(section(rendered, title), section(expected, title));
        assert.deepEqual(
            section(rendered, "listen stats"),
            section(expected, "listen stats").map((line) =>
                line.replace("@@stats-password@@", "yoursupersecretpassword"),
            ),
        );
        assert.deepEqual(inlineSecrets(config), ["listen[0].stats.auth[0].passwd"]);
        assert.deepEqual(inlineSecrets(ansibleRole(roleParams)), []);
    });

    it("follows the readiness mode and nothing else of the tunables", () => {
        const tuned: ProxyParams = { ...params, ...roleParams, balance: "leastconn", maxconn: 7, observe: true };
        const text = renderHaproxy(ansibleRole({ ...tuned, expect: [200] }));
        const expected = readFileSync(goldenPath("haproxy-ansible-role.cfg"), "utf8").replace(
            "expect status 401",
            "expect status 200",
        );
        assert.equal(text, expected);
    });
});

describe("haproxy: preset recommended", () => {
    it("renders the recommended file", () => {
        assertGolden(renderHaproxy(recommended(params)), "haproxy-recommended.cfg");
    });

    it("renders it with everything set otherwise", () => {
        const other: ProxyParams = {
            cluster: "c",
            backend: "api",
            apiServers: [{ name: "m", address: "fd00::11", port: 7443 }],
            frontend: { port: 7000, ipv6: false },
            stats: {
                address: "fd00::21",
                port: 1937,
                allowedNetworks: ["fd00::/64"],
                metricsPassword: false,
                admin: true,
                transparent: true,
            },
            expect: [401, 200],
            check: {
                interval: "3s",
                fastInterval: "2s",
                downInterval: "5s",
                rise: 3,
                fall: 4,
                timeout: "6s",
                path: "/livez",
                host: "api.example",
                verify: "none",
            },
            balance: "roundrobin",
            timeouts: {
                connect: "4s",
                client: "2m",
                server: "3m",
                tunnel: "1h",
                queue: "5s",
                clientFin: "6s",
                serverFin: "7s",
                hardStopAfter: "1h",
            },
            maxconn: 500,
            slowstart: "30s",
            observe: true,
        };
        assertGolden(renderHaproxy(recommended(other)), "haproxy-recommended-other.cfg");
    });

    it("does not depend on the order of masters and leaves its input alone", () => {
        const reversed = { ...params, masters: [...masters].reverse() };
        assert.equal(renderHaproxy(recommended(reversed)), renderHaproxy(recommended(params)));
        assert.deepEqual(
            masters.map((master) => master.name),
            ["master-3", "master-1", "master-2"],
        );
    });

    it("stays below 4 s for a silent master; another answer than the expected one drains and is no failure", () => {
        const server = (expect: number[]) => {
            const lines = section(renderHaproxy(recommended({ ...params, expect })), "backend k8s-de1-kube-api");
            const line = lines.find((text) => text.startsWith("default-server")) ?? "";
            const value = (key: string) => new RegExp(`\\b${key} (\\S+)`).exec(line)?.[1] ?? "";
            const ms = (text: string) => parseFloat(text) * (text.endsWith("ms") ? 1 : 1000);
            const silent = ms(value("inter")) + 1000 + (Number(value("fall")) - 1) * (ms(value("fastinter")) + 1000);
            return { fall: value("fall"), silent };
        };
        assert.deepEqual(server([401]), { fall: "2", silent: 3500 });
        assert.deepEqual(server([200]), { fall: "2", silent: 3250 });
        for (const [expect, codes] of [
            [[200], "200"],
            [[401, 200], "200,401"],
        ] as const)
            assert.match(
                renderHaproxy(recommended({ ...params, expect })),
                new RegExp(
                    `http-check expect ! status 503\n +http-check expect status ${codes} error-status L7OKC +# haproxy >= 2.4\n +http-check expect status ${codes}\n`,
                ),
            );
    });

    it("verifies certificates with the cluster's CA in the words that the host's script takes back", () => {
        assert.equal(caFilePath("k8s-de1"), "/etc/haproxy/k8s-de1-server-ca.crt");
        const wanted = caVerify(caFilePath("k8s-de1"));
        assert.equal(
            wanted,
            "verify required ca-file /etc/haproxy/k8s-de1-server-ca.crt check-sni kubernetes verifyhost kubernetes",
        );
        assert.ok(renderHaproxy(recommended(params)).includes(` check check-ssl ${wanted}\n`));
    });

    it("holds placeholders instead of secrets, and references that exist", () => {
        assert.deepEqual(inlineSecrets(recommended(params)), []);
        assert.deepEqual(checkReferences(recommended(params)), []);
        assert.deepEqual(checkReferences(ansibleRole(roleParams)), []);
    });

    it("refuses to be made without a master", () => {
        assert.throws(() => recommended({ ...params, apiServers: [] }), /at least one server/);
    });

    it("is accepted by its own schema unchanged", () => {
        for (const config of [recommended(params), ansibleRole(roleParams)])
            assert.deepEqual(haproxyConfigSchema.parse(config), config);
    });
});

describe("haproxy: merge", () => {
    const base = recommended(params);

    it("replaces a section of the same name in its place and adds others", () => {
        const extra: Partial<HaproxyConfig> = {
            backend: [
                { name: "web", balance: "roundrobin" },
                { name: "k8s-de1-kube-api", balance: "first" },
            ],
        };
        const merged = merge(base, extra);
        assert.deepEqual(
            merged.backend?.map((backend) => [backend.name, backend.balance]),
            [
                ["k8s-de1-kube-api", "first"],
                ["k8s-de1-kube-api-probe", "random(10)"],
                ["k8s-de1-kube-api-unchecked", "random(10)"],
                ["web", "roundrobin"],
            ],
        );
        assert.equal(base.backend?.[0]?.balance, "random(10)");
        assert.deepEqual(merged.listen, base.listen);
    });

    it("says where the preset asks about servers that a section of the user's has replaced", () => {
        const name = "k8s-de1-kube-api-probe";
        const merged = merge(base, { backend: [{ name, balance: "first", server: [{ name: "m", listen: "a:1" }] }] });
        const problem = (path: string, asked: string, section: string) => ({
            path,
            message: `there is no server "${asked}"; where a backend of your own replaces that one, replace "${section}" too`,
        });
        const frontend = [1, 2, 3].map((n) =>
            problem(
                `frontend[0].tcp_request_content[${2 * n - 2}].cond`,
                `${name}/master-${n}`,
                "kubernetes_master_kube_api",
            ),
        );
        const backend = [1, 2, 3].map((n) =>
            problem(`backend[0].raw_options[${n - 1}]`, `${name}/master-${n}`, "k8s-de1-kube-api"),
        );
        assert.deepEqual(checkReferences(merged), [...frontend, ...backend]);
        const own = merge(base, { backend: [{ name: "k8s-de1-kube-api", balance: "first" }] });
        assert.deepEqual(
            checkReferences(own).map(({ path }) => path),
            frontend.map(({ path }) => path),
        );
    });

    it("changes single values of global and defaults, and single timeouts", () => {
        const merged = merge(base, {
            global: { nbthread: 2, log: false },
            defaults: {
                timeout: [
                    { type: "tunnel", timeout: "24h" },
                    { type: "http-request", timeout: "5s" },
                ],
            },
        });
        const text = renderHaproxy(merged);
        assert.ok(section(text, "global").includes("nbthread 2"));
        assert.ok(section(text, "global").includes("maxconn 4000"));
        assert.ok(!section(text, "global").some((line) => line.startsWith("log ")));
        const timeouts = section(text, "defaults").filter((line) => line.startsWith("timeout "));
        assert.deepEqual(timeouts.slice(0, 2), ["timeout connect 1s", "timeout check 5s"]);
        assert.ok(timeouts.includes("timeout tunnel 24h") && !timeouts.includes("timeout tunnel 4h"));
        assert.equal(timeouts.at(-1), "timeout http-request 5s");
    });

    it("changes nothing when there is nothing to add", () => {
        assert.deepEqual(merge(base, {}), base);
    });
});
