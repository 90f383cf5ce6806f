/** npm run review: recorded previews as Markdown, and what it makes of single changes. tests/integration/review.test.ts has the engine. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CONSEQUENCES, consequenceTable } from "../../../commands/review/consequences";
import { QUIET, RESTARTS } from "../../../commands/review/effects-k3s";
import { effects } from "../../../commands/review/effects";
import { MOST, review } from "../../../commands/review/markdown";
import { readPreview, type Inputs } from "../../../commands/review/preview";
import { CLUSTER_STEPS, NODE_STEPS } from "../../../components/model/steps";
import { lead } from "../../../commands/review/sentences";
import { renderBundle, type Bundle } from "../../../components/remote/bundle";
import { haproxyBundle } from "../../../components/steps/haproxy";
import { k3sBundle } from "../../../components/steps/k3s";
import { manifestsBundle } from "../../../components/steps/manifests";
import { pruneManifestsBundle } from "../../../components/steps/prune-manifests";
import { stageBundle } from "../../../components/steps/stage";
import type { ClusterSpec } from "../../../components/model/cluster";
import { assertGolden } from "../helpers/golden";
import { node, settings, spec } from "../helpers/settings";

const ROOT = join(__dirname, "../../..");
const PREVIEWS = join(__dirname, "previews");
const recorded = (name: string): Inputs => JSON.parse(readFileSync(join(PREVIEWS, `${name}.json`), "utf8")) as Inputs;
const NAMES = readdirSync(PREVIEWS).map((file) => file.replace(/\.json$/, ""));

describe("npm run review: recorded previews", () => {
    it("are twelve at least, each with a golden", () => {
        assert.ok(NAMES.length >= 12, NAMES.join());
        const goldens = readdirSync(join(ROOT, "tests/integration/reviews"));
        assert.deepEqual(goldens.sort(), NAMES.map((name) => `${name}.md`).sort());
    });

    for (const name of NAMES)
        it(name, () =>
            assertGolden(review(readPreview(recorded(name)), "prod"), `../../integration/reviews/${name}.md`),
        );

    it("tell in their first lines what happens", () => {
        const first = (name: string): string => {
            const preview = readPreview(recorded(name));
            return lead(preview, effects(preview));
        };
        for (const [name, text] of [
            ["no-change", "Nothing changes."],
            [
                "version",
                "k3s restarts on server-1, server-2 and server-3, in this order, one at a time, then on agent-1 and agent-2: 5 restarts. Pods stay. The API keeps answering. haproxy does not reload.",
            ],
            ["haproxy-line", "haproxy reloads on 5 nodes. k3s does not restart. The API keeps answering."],
            ["haproxy-remarks", "k3s does not restart, haproxy does not reload."],
            ["scripts", "Scripts are sent to all 5 nodes. k3s does not restart, haproxy does not reload."],
            ["labels", "k3s does not restart, haproxy does not reload."],
            ["stats-password", "haproxy reloads on 5 nodes. k3s does not restart. The API keeps answering."],
            [
                "tokens",
                "k3s restarts on server-1, server-2 and server-3, in this order, one at a time: 3 restarts. Pods stay. The API keeps answering. haproxy does not reload.",
            ],
        ] as const)
            assert.equal(first(name), text, name);
        assert.match(first("refused"), /^\*\*The preview failed\.\*\*/);
        assert.match(first("new-cluster"), /^A new cluster: server-1 founds it, then server-2 and server-3 join/);
        assert.match(first("agent-flag-drained"), /Pods leave each node before its restart/);
        assert.match(first("registries-encrypted"), /k3s may restart on server-1, server-2 and server-3/);
    });

    it("show the same changed line of five nodes once", () => {
        const [before] = review(readPreview(recorded("haproxy-line")), "prod").split("<details>") as [string];
        assert.equal(before.split("-  maxconn 4000").length - 1, 1);
        assert.match(before, /`\/etc\/haproxy\/haproxy.cfg` on all 5 nodes:/);
    });
});

type Update = Readonly<{ urn: string; before: Inputs; after: Inputs; changed?: readonly string[]; op?: string }>;

const urn = (name: string, type = "command:remote:Command"): string =>
    `urn:pulumi:prod::k3s-ha::k3s-ha:index:Cluster$k3s-ha:index:Host$${type}::${name}`;

/** What the engine prints of updates. */
function printed(updates: readonly Update[], s: ClusterSpec = spec(), more: object = {}): object {
    const nodes = s.nodes.map(({ name, role, address }) => ({ name, role, address }));
    const steps = updates.map(({ urn: of, before, after, changed, op = "update" }) => ({
        op,
        urn: of,
        oldState: op === "create" ? undefined : { inputs: before },
        newState: op === "delete" ? undefined : { inputs: after },
        diffReasons: changed ?? Object.keys(after).filter((key) => before[key] !== after[key]),
    }));
    return { config: { "k3s-ha:nodes": JSON.stringify(nodes) }, steps, ...more };
}

const kindsOf = (updates: readonly Update[], s?: ClusterSpec): string[] =>
    effects(readPreview(printed(updates, s))).map(({ kind, owner }) => `${owner} ${kind}`);

const BUNDLES = { haproxy: haproxyBundle, k3s: k3sBundle, stage: stageBundle, manifests: manifestsBundle };

/** An update of a node's step from one spec to another. */
function between(name: string, step: keyof typeof BUNDLES, old: ClusterSpec, now: ClusterSpec): Update {
    const bundle = (s: ClusterSpec): Bundle =>
        BUNDLES[step](
            s,
            s.nodes.find((n) => n.name === name)!,
        );
    const { role } = now.nodes.find((n) => n.name === name)!;
    return {
        urn: urn(`${name}-${step === "k3s" ? role : step}`),
        before: { stdin: renderBundle(bundle(old)) },
        after: { stdin: renderBundle(bundle(now)) },
    };
}

describe("npm run review: single changes", () => {
    const command = (script: string, digest: string, note = ""): string =>
        `/bin/sh -c 'sh /usr/local/lib/k3s-ha/${script}.sh apply # ${digest}${note}'`;
    const OLD = "0123456789ab";
    const NEW = "ba9876543210";
    const update = (name: string, before: Inputs, after: Inputs, changed?: readonly string[]): Update => ({
        urn: urn(name),
        before,
        after,
        changed,
    });

    it("a digest at the command's end is scripts, whatever the data are, unless they are named as changed", () => {
        const [old, now] = [spec(), spec({ proxy: { maxconn: 3000 } })];
        const { before, after } = between("agent-1", "haproxy", old, now);
        const from = { ...before, create: command("haproxy", OLD) };
        const to = { ...after, create: command("haproxy", NEW) };
        assert.deepEqual(kindsOf([update("agent-1-haproxy", from, to, ["create"])]), ["agent-1 scripts"]);
        assert.deepEqual(kindsOf([update("agent-1-haproxy", from, to, ["create", "stdin"])]), [
            "agent-1 haproxy-config",
        ]);
    });

    it("a list of acl_files reloads haproxy, and is no line of haproxy.cfg", () => {
        const lists = (...content: string[]): ClusterSpec =>
            spec({ proxy: { haproxy: { acl_files: [{ dest: "/etc/haproxy/office.acl", content }] } } });
        const change = between("agent-1", "haproxy", lists("10.0.0.0/8"), lists("192.168.0.0/16"));
        assert.deepEqual(kindsOf([change]), ["agent-1 haproxy-acl"]);
    });

    it("a rotation of the keys of Secrets restarts servers", () => {
        const rotated = (secretsEncryption: number): ClusterSpec =>
            spec({ server: { config: { "secrets-encryption": true } }, rotate: { secretsEncryption } });
        assert.deepEqual(kindsOf([between("master-1", "k3s", rotated(0), rotated(1))]), ["master-1 k3s-encryption"]);
    });

    it("manifests and images restart nothing", () => {
        const archive = { from: "/srv/a.tar", sha256: "a".repeat(64) };
        const stage = between("agent-1", "stage", spec(), spec({ images: { files: [archive] } }));
        assert.deepEqual(kindsOf([stage]), ["agent-1 images"]);
        const made = (...list: object[]): ClusterSpec => spec({ manifests: list });
        const content = (value: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${value} }\n`;
        const files = (value: string): ClusterSpec => made({ name: "a.yaml", content: content(value) });
        assert.deepEqual(kindsOf([between("master-1", "manifests", files("one"), files("two"))]), [
            "master-1 manifests",
        ]);
        const prune = (name: string): Inputs => {
            const of = made({ name, state: "absent" });
            return {
                stdin: renderBundle(
                    pruneManifestsBundle(
                        of,
                        of.nodes.find((n) => n.name === of.firstServer)!,
                    ),
                ),
            };
        };
        assert.deepEqual(kindsOf([update("prod-prune-manifests", prune("a.yaml"), prune("b.yaml"))]), [
            "prod prune-manifests",
        ]);
    });

    it("only a removal's command or logging is scripts", () => {
        for (const key of ["delete", "logging"])
            assert.deepEqual(kindsOf([update("master-1-server", { [key]: "a" }, { [key]: "b" })]), [
                "master-1 scripts",
            ]);
    });

    it("the mark of a changed secret restarts servers, reloads haproxy, and leaves agents alone", () => {
        const marked = (name: string, script: string): Update =>
            update(
                name,
                { create: "x", update: command(script, OLD, " 01234567") },
                { create: "x", update: command(script, OLD, " 76543210") },
            );
        assert.deepEqual(
            kindsOf([
                marked("master-1-server", "server"),
                marked("agent-1-agent", "agent"),
                marked("agent-1-haproxy", "haproxy"),
            ]),
            ["agent-1 haproxy-passwords", "master-1 k3s-tokens", "agent-1 k3s-agent-token"],
        );
    });

    it("data that are secret as a whole are never taken for the same", () => {
        const hidden = { stdin: "[secret]" };
        assert.deepEqual(kindsOf([update("master-1-server", hidden, hidden, ["stdin"])]), ["master-1 k3s-hidden"]);
        assert.deepEqual(kindsOf([update("master-1-prepare", hidden, hidden, ["stdin"])]), ["master-1 host-data"]);
        const signed = { stdin: { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270" } };
        assert.deepEqual(kindsOf([update("agent-1-agent", signed, signed, ["stdin"])]), ["agent-1 k3s-hidden"]);
    });

    for (const [what, more, kinds] of [
        ["a flag", { agent: { config: { "kubelet-arg": ["v=2"] } } }, ["k3s-config"]],
        ["the kubelet's settings", { kubelet: { maxPods: 50 } }, ["k3s-file"]],
        ["a registry", { registries: { mirrors: { "r.example": { endpoint: ["https://r.example"] } } } }, ["k3s-file"]],
        ["the version", { version: "v1.36.4+k3s1" }, ["k3s-version"]],
        ["the certificates", { rotate: { certificates: 1 } }, ["k3s-certificates"]],
        ["the VPN's unit", { vpn: { unit: "wg-quick@wg0.service" } }, ["k3s-unit"]],
        ["a wait", { timeouts: { agent: "7m" } }, ["k3s-quiet"]],
        [
            "a setting that agents take from the servers",
            { server: { config: { "supervisor-metrics": true } } },
            ["k3s-from-servers"],
        ],
        [
            "a file that k3s reads",
            { host: { files: [{ path: "/etc/default/k3s-agent", content: "A=b", mode: "0600" }] } },
            ["k3s-own-file"],
        ],
    ] as const)
        it(`${what} of an agent`, () =>
            assert.deepEqual(
                kindsOf([between("agent-1", "k3s", spec(), spec(more))]),
                kinds.map((kind) => `agent-1 ${kind}`),
            ));

    it("labels for a new Node restart nothing", () => {
        const labelled = (settings()["nodes"] as { name: string }[]).map((n) =>
            n.name === "agent-1" ? { ...n, labels: { a: "b" } } : n,
        );
        assert.deepEqual(kindsOf([between("agent-1", "k3s", spec(), spec({ nodes: labelled }))]), [
            "agent-1 k3s-registration",
        ]);
    });

    it("only indented comments of haproxy.cfg are no reload, as haproxy-apply.sh has it", () => {
        const apply = readFileSync(join(ROOT, "components/scripts/haproxy-apply.sh"), "utf8");
        assert.ok(apply.includes("without_remarks() { sed '/^ \\{1,\\}#/d'"), "what haproxy-apply.sh leaves out");
        const cfg = (line: string): Inputs => ({
            stdin: renderBundle({
                settings: { node: "agent-1" },
                files: [{ path: "/etc/haproxy/haproxy.cfg", mode: "0600", content: `global\n${line}\n  maxconn 1\n` }],
            }),
        });
        const kind = (old: string, now: string): string[] => kindsOf([update("agent-1-haproxy", cfg(old), cfg(now))]);
        assert.deepEqual(kind("  # one", "  # two"), ["agent-1 haproxy-remarks"]);
        assert.deepEqual(kind("# one", "# two"), ["agent-1 haproxy-config"]);
        assert.deepEqual(kind("  # one", "  quiet"), ["agent-1 haproxy-config"]);
    });

    it("one server: the API does not answer; two: no majority", () => {
        for (const [servers, words] of [
            [1, /There is one server: the API does not answer/],
            [2, /no majority during a restart/],
            [3, /The API keeps answering/],
        ] as const) {
            const nodes = Array.from({ length: servers }, (_, i) =>
                node(`master-${i + 1}`, "server", `10.90.0.1${i + 1}`),
            );
            const [old, now] = [spec({ nodes }), spec({ nodes, server: { config: { disable: ["traefik"] } } })];
            const preview = readPreview(printed([between("master-1", "k3s", old, now)], now));
            assert.match(lead(preview, effects(preview)), words);
        }
    });

    it("knows every step, and every setting that the step on k3s is given", () => {
        const files = readdirSync(join(ROOT, "components/steps")).map((file) => file.replace(/\.ts$/, ""));
        const steps = files.filter((file) => !["context", "host", "k3s", "k3s-files"].includes(file));
        assert.deepEqual([...NODE_STEPS, ...CLUSTER_STEPS].sort(), ["kit", ...steps].sort());
        const rich = spec({
            rollout: { drain: true },
            rotate: { certificates: 1, secretsEncryption: 1 },
            server: {
                config: { "secrets-encryption": true, "flannel-backend": "none", "disable-cloud-controller": true },
            },
        });
        const given = rich.nodes.flatMap((n) => Object.keys(k3sBundle(rich, n).settings));
        for (const key of given) assert.ok(key in RESTARTS || QUIET.includes(key) || key === "rebuilt", key);
        const data = (value: string): Inputs => ({
            stdin: renderBundle({ settings: { "new-one": value }, files: [] }),
        });
        assert.deepEqual(kindsOf([update("agent-1-agent", data("a"), data("b"))]), ["agent-1 other"]);
    });

    it("what the table has no row for is never left out", () => {
        const other = { urn: urn("x", "aws:ec2:Instance"), before: {}, after: {}, changed: [], op: "create" };
        assert.deepEqual(kindsOf([other]), [" other"]);
        assert.deepEqual(kindsOf([update("agent-1-haproxy", { dir: "a" }, { dir: "b" })]), ["agent-1 other"]);
    });

    it("steps that come or go without their node's k3s are never left out", () => {
        const one = (name: string, op: string): Update => ({ urn: urn(name), op, before: {}, after: {}, changed: [] });
        assert.deepEqual(kindsOf([one("agent-1-kit", "create")]), ["agent-1 scripts"]);
        assert.deepEqual(kindsOf([one("agent-1-stage", "create")]), ["agent-1 other"]);
        assert.deepEqual(kindsOf([one("agent-1-prepare", "delete")]), ["agent-1 other"]);
        assert.deepEqual(kindsOf([one("agent-1-prepare", "delete"), one("agent-1-agent", "delete")]), [
            "agent-1 leaves",
        ]);
        assert.deepEqual(kindsOf([one("dev-members", "create")]), ["dev members-quiet"]);
    });

    it("what only the state keeps changes no host", () => {
        const stash = { urn: urn("dev-ca", "pulumi:index:Stash"), before: { input: "a" }, after: { input: "b" } };
        const preview = readPreview(printed([stash]));
        assert.equal(lead(preview, effects(preview)), "Nothing changes on any host.");
    });

    it("a lost node that is taken out is left alone", () => {
        const gone = { op: "delete", urn: urn("agent-2-agent"), oldState: { inputs: {}, retainOnDelete: true } };
        const found = effects(readPreview({ steps: [gone] }));
        assert.deepEqual(found, [{ kind: "left-alone", owner: "agent-2" }]);
    });
});

describe("npm run review: refusals, limits, command", () => {
    it("refusals come before warnings, and the preview counts as failed", () => {
        const diagnostics = [
            { severity: "warning", message: "warning: beware\n" },
            { severity: "error", message: "<{%reset%}>error: no: `k3s-ha:nodes`\n", urn: urn("description") },
            { severity: "error", message: "error: preview failed" },
        ];
        const preview = readPreview(printed([], undefined, { diagnostics }));
        assert.equal(preview.failed, true);
        const text = review(preview, "prod");
        assert.ok(text.indexOf("no: `k3s-ha:nodes`") < text.indexOf("beware"));
        assert.doesNotMatch(text, /preview failed\n|reset/);
    });

    it("warnings come after the changes, and why a preview failed before them", () => {
        const titles = (severity: string): string[] => {
            const [old, now] = [spec(), spec({ proxy: { maxconn: 3000 } })];
            const diagnostics = [{ severity, message: "beware" }];
            const preview = readPreview(printed([between("agent-1", "haproxy", old, now)], now, { diagnostics }));
            return [...review(preview, "prod").matchAll(/^#### (.*)$|^<details>$/gm)].map(
                ([line, title]) => title ?? line,
            );
        };
        assert.deepEqual(titles("warning"), ["Each change once", "Refusals and warnings", "<details>"]);
        assert.deepEqual(titles("error"), ["Refusals and warnings", "Each change once", "<details>"]);
    });

    it("a long message and a long change are cut inside, and are there", () => {
        const message = Array.from({ length: 100 }, (_, i) => `  k3s-ha:nodes[${i}]: ${"x".repeat(200)}`).join("\n");
        const text = review(
            readPreview(printed([], undefined, { diagnostics: [{ severity: "error", message }] })),
            "prod",
        );
        assert.match(text, /nodes\[0\]: x{200}\n[^]*\n… \d+ more lines\n```/);
        const data = (what: string): Inputs => ({
            stdin: renderBundle({
                settings: { lost: Array.from({ length: 500 }, (_, i) => `${what}-${i}`) },
                files: [],
            }),
        });
        const [before] = review(
            readPreview(printed([{ urn: urn("dev-lost-nodes"), before: data("a"), after: data("b") }])),
            "prod",
        ).split("<details>") as [string];
        assert.match(before, /-lost: a-0\n[^]*\n… \d+ more lines\n```/);
        assert.match(before, /and 988 more/);
    });

    const many = (count: number): ClusterSpec =>
        spec({
            nodes: Array.from({ length: count }, (_, i) =>
                node(
                    i < 3 ? `master-${i + 1}` : `agent-${i}`,
                    i < 3 ? "server" : "agent",
                    `10.90.${Math.floor(i / 250)}.${(i % 250) + 1}`,
                ),
            ),
        });

    it("has at most 64,000 characters for 200 nodes, and a line that tells of the cut", function () {
        this.timeout(60_000);
        const [old, now] = [many(200), { ...many(200), version: "v1.36.4+k3s1" }];
        const wide = { ...now, proxy: spec({ proxy: { maxconn: 3000 } }).proxy };
        const updates = now.nodes.flatMap(({ name }) => [
            between(name, "k3s", old, wide),
            between(name, "haproxy", old, wide),
            { urn: urn(`${name}-new-haproxy`), before: {}, after: { stdin: `x ${name}`.repeat(300) }, op: "create" },
        ]);
        const text = review(readPreview(printed(updates, now)), "prod");
        assert.ok(text.length <= MOST, String(text.length));
        assert.ok(text.length > MOST - 1000, "the diff takes what is left");
        assert.match(text, /… cut here: \d+ more lines\. All of it: pulumi preview --diff/);
        assert.match(
            text,
            /haproxy reloads on 200 nodes\. k3s restarts on master-1, master-2 and master-3, in this order/,
        );
        assert.ok(!text.includes("agent-150 "), "nodes are not all named");
        assert.match(text, /\n```+\n\n<\/details>\n$/);
    });

    it("has at most 64,000 characters when every change and message is another", () => {
        const updates = Array.from({ length: 400 }, (_, i) => {
            const data = (what: string): string =>
                renderBundle({ settings: { [`s${i}`]: what.repeat(900) }, files: [] });
            return { urn: urn(`agent-${i}-stage`), before: { stdin: data("a") }, after: { stdin: data("b") } };
        });
        const diagnostics = Array.from({ length: 300 }, (_, i) => ({
            severity: "error",
            message: `error ${i} ${"\u202e`".repeat(500)}`,
        }));
        const text = review(readPreview(printed(updates, undefined, { diagnostics })), "prod");
        assert.ok(text.length <= MOST, String(text.length));
        assert.match(text, /… and \d+ messages more/);
        assert.match(text, /… and \d+ changes more/);
    });

    const run = (args: readonly string[], input?: string): { status: number | null; stdout: string; stderr: string } =>
        spawnSync("node", ["--require", "./load/register.cjs", "commands/review/main.ts", ...args], {
            cwd: ROOT,
            input,
            encoding: "utf8",
        });

    it("reads a file or stdin; exit code 1 when the preview failed, with the Markdown all the same", function () {
        this.timeout(60_000);
        const file = join(PREVIEWS, "haproxy-line.json");
        const golden = readFileSync(join(ROOT, "tests/integration/reviews/haproxy-line.md"), "utf8");
        const fromFile = run(["--stack", "prod", "--from", file]);
        assert.deepEqual([fromFile.status, fromFile.stdout], [0, golden], fromFile.stderr);
        assert.equal(run(["--stack", "prod", "--from", "-"], readFileSync(file, "utf8")).stdout, golden);
        const refused = run(["--stack", "prod", "--from", join(PREVIEWS, "refused.json")]);
        assert.equal(refused.status, 1);
        assert.match(refused.stdout, /The preview failed.*[^]*is older than v1\.36\.2/);
        const none = run(["--stack", "prod", "--from", "-"], "panic: no JSON");
        assert.equal(none.status, 1);
        assert.match(none.stdout, /pulumi printed no preview/);
        assert.match(run([]).stderr, /which stack\?/);
    });

    it("docs/operations.md has the table as it is", () => {
        const cells = (text: string): string => text.replace(/ *\| */g, "|").replace(/-{3,}/g, "---");
        const docs = cells(readFileSync(join(ROOT, "docs/operations.md"), "utf8"));
        assert.ok(docs.includes(cells(consequenceTable())), consequenceTable());
        assert.equal(new Set(CONSEQUENCES.map(({ kind }) => kind)).size, CONSEQUENCES.length);
    });
});
