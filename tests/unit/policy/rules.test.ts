import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RULES, commandViolations } from "../../../policy/rules";
import { readStack } from "../../../policy/stack";

const ROOT = join(__dirname, "../../..");
const NODES = ["a", "b", "c"].map((name, i) => `{ name: ${name}, role: server, address: 10.0.0.${i + 1} }`).join(", ");
const CAREFUL = `config:
    k3s-ha:cluster: prod
    k3s-ha:version: v1.36.3+k3s1
    k3s-ha:nodes: [${NODES}]
    k3s-ha:readiness: scoped
    k3s-ha:snapshots: { s3: { bucket: b, endpoint: s3.example.com } }
    k3s-ha:token: { secure: v1:abc }
`;

/** Rules that a stack breaks. */
function broken(text: string, name = "prod-1", config = {}): string[] {
    const stack = readStack(name, text);
    return RULES.filter((rule) => rule.violations(stack, config).length > 0).map((rule) => rule.name);
}
/** The careful stack with other lines. */
const but = (lines: string): string => `${CAREFUL}    ${lines}\n`;

describe("policy", () => {
    it("finds nothing in a careful stack", () => assert.deepEqual(broken(CAREFUL), []));

    for (const [rule, text] of [
        ["servers", CAREFUL.replace(NODES, "{ name: a, role: server, address: 10.0.0.1 }")],
        ["servers", CAREFUL.replace(NODES, NODES.split(", {").slice(0, 2).join(", {"))],
        ["host-keys", but("k3s-ha:ssh: { insecureIgnoreHostKey: true }")],
        ["downloads", but('k3s-ha:download: { baseUrl: "http://mirror.example.com" }')],
        [
            "downloads",
            but(
                `k3s-ha:download: { baseUrl: "http://m.example.com", sha256: { amd64: ${"a".repeat(64)} } }\n    k3s-ha:images: { source: release }`,
            ),
        ],
        ["metrics", but("k3s-ha:vpn: { networks: [0.0.0.0/0] }")],
        ["downloads", CAREFUL.replace("bucket: b", "bucket: b, insecure: true")],
        ["certificates", but("k3s-ha:proxy: { check: { verify: false } }")],
        ["metrics", but("k3s-ha:proxy: { stats: { allowedNetworks: [0.0.0.0/0] } }")],
        ["readiness", CAREFUL.replace("scoped", "unauthorized")],
        ["snapshots", CAREFUL.replace(/.*s3.*\n/, "")],
        ["clear-secrets", CAREFUL.replace("{ secure: v1:abc }", "abcdefghijklmnop")],
        ["clear-secrets", but('k3s-ha:host: { files: [{ path: /etc/x, content: "password: hunter22" }] }')],
        ["allow", but("k3s-ha:allow: [downgrade]")],
    ] as const)
        it(`${rule}: ${text.split("\n").find((line) => !CAREFUL.includes(line)) ?? "without a line"}`, () => {
            assert.deepEqual(broken(text), [rule]);
        });

    it("both of a preset's faults are told", () =>
        assert.deepEqual(broken(but("k3s-ha:proxy: { preset: ansible-role }")), ["certificates", "metrics"]));

    it("metrics with a password may be open", () =>
        assert.deepEqual(
            broken(but("k3s-ha:proxy: { stats: { allowedNetworks: [0.0.0.0/0], metricsPassword: true } }")),
            [],
        ));

    it("the number of servers matters where the configuration says so", () => {
        const one = CAREFUL.replace(NODES, "{ name: a, role: server, address: 10.0.0.1 }");
        assert.deepEqual(broken(one, "dev"), []);
        assert.deepEqual(broken(one, "dev", { stacks: ["d*"] }), ["servers"]);
        // A dot of a pattern is a dot.
        assert.deepEqual(broken(one, "dxv", { stacks: ["d.v"] }), []);
    });

    it("encrypted settings are no secrets in clear, as a whole or in part", () => {
        const file = (content: string): string =>
            but(`k3s-ha:host: { files: [{ path: /etc/x, content: ${content} }] }`);
        assert.deepEqual(broken(file("{ secure: v1:abc }")), []);
        assert.deepEqual(broken(but("k3s-ha:server: { secure: v1:abc }")), []);
    });

    it("says so of a stack file with mistakes", () =>
        assert.throws(
            () => readStack("prod", CAREFUL.replace("scoped", "sometimes")),
            /Pulumi\.prod\.yaml has mistakes/,
        ));

    it("a command without a pinned key, or with an environment, breaks the rule", () => {
        const good = { connection: { host: "h", hostKey: "k" }, addPreviousOutputInEnv: false };
        assert.deepEqual(commandViolations(good), []);
        assert.equal(commandViolations({ ...good, connection: { host: "h" } }).length, 1);
        assert.equal(commandViolations({ ...good, addPreviousOutputInEnv: undefined }).length, 1);
        assert.equal(commandViolations({ ...good, environment: { A: "1" } }).length, 1);
    });

    it("docs/policy.md has every rule", () => {
        const text = readFileSync(join(ROOT, "docs/policy.md"), "utf8");
        for (const { name, description } of RULES)
            assert.match(
                text,
                new RegExp(`\\| \`${name}\` +\\| ${description.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`),
                name,
            );
    });
});
