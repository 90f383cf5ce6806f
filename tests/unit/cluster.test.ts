import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import type { publicOutputs } from "../../components/cluster";
import type { LastRead } from "../../components/model/kubeconfig";
import type { ClusterSpec } from "../../components/model/cluster";
import { checkSpec } from "../../components/config/check";
import { knownPlan } from "../../components/plan";
import { NO_HOOKS, node, settings, spec } from "./helpers/settings";

const SECRET_SIG = "4dabf18193072939515e22adb298388d";
const TOKEN = "tok-SECRET-server-0001";
const AGENT_TOKEN = "tok-SECRET-agent-0002";
const STATS = "pw-SECRET-stats-0003";
const KEY = "-----BEGIN-SECRET-KEY-----";
const CA_HASH = "ab".repeat(32);
const K3S_YAML = `ca-hash: ${CA_HASH}
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0VSVA==, client-key-data: U0VDUkVULUtFWQ==}}]
`;

interface Registered {
    readonly type: string;
    readonly name: string;
    readonly inputs: Record<string, unknown>;
    /** Names of the resources that were registered and done before this one was. */
    readonly done: ReadonlySet<string>;
    readonly secret: boolean;
}

/** Builds a cluster under Pulumi's mocks; `hold` names a resource whose making waits until all else has come to rest. */
async function build(
    s: ClusterSpec,
    hold?: string,
    last: LastRead = {},
): Promise<{
    resources: Map<string, Registered>;
    held: Set<string>;
    kubeconfig: pulumi.Output<string>;
    caHash: pulumi.Output<string>;
    statsPassword: pulumi.Output<string>;
}> {
    const resources = new Map<string, Registered>();
    const done = new Set<string>();
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    await pulumi.runtime.setMocks(
        {
            newResource: async (args) => {
                resources.set(args.name, {
                    type: args.type,
                    name: args.name,
                    inputs: args.inputs as Record<string, unknown>,
                    done: new Set(done),
                    secret: false,
                });
                if (args.name === hold) await gate;
                done.add(args.name);
                const out: Record<string, unknown> = { ...args.inputs };
                if (args.type === "command:remote:Command") {
                    out["stdout"] = args.name === "dev-kubeconfig" ? K3S_YAML : "etcd-data: none\n";
                    out["stderr"] = "";
                }
                if (args.type === "pulumi:index:Stash") out["output"] = args.inputs["input"];
                if (args.type.startsWith("random:"))
                    Object.assign(out, { result: `made-SECRET-${args.name}`, hex: "0011223344556677" });
                return { id: `${args.name}-id`, state: out };
            },
            call: (args) => args.inputs,
        },
        "k3s-ha",
        "dev",
        false,
    );
    // Loaded after the mocks are set, as the SDK asks for.
    const { Cluster } = await import("../../components/cluster");
    const cluster = new Cluster("dev", {
        plan: knownPlan(s),
        access: { privateKey: pulumi.secret(KEY) },
        lastRead: last,
        now: new Date("2026-11-30T12:00:00Z"),
        hooks: NO_HOOKS,
        given: {
            token: pulumi.secret(TOKEN),
            agentToken: pulumi.secret(AGENT_TOKEN),
            statsPassword: pulumi.secret(STATS),
        },
    });
    await settle(resources);
    const held = new Set(resources.keys());
    release();
    await settle(resources);
    return {
        resources,
        held,
        kubeconfig: cluster.kubeconfig,
        caHash: cluster.caHash,
        statsPassword: cluster.statsPassword,
    };
}

/** What is inside a secret input; other values as they are. */
function plain(input: unknown): unknown {
    return input !== null && typeof input === "object" && SECRET_SIG in input
        ? (input as unknown as { value: unknown }).value
        : input;
}

/** Until no resource has come for a while. */
async function settle(resources: ReadonlyMap<string, unknown>): Promise<void> {
    for (let quiet = 0, count = -1; quiet < 6; quiet = resources.size === count ? quiet + 1 : 0) {
        count = resources.size;
        await new Promise((resolve) => setTimeout(resolve, 15));
    }
}

const value = <T>(output: pulumi.Output<T>): Promise<T> =>
    new Promise((resolve) => output.apply((v) => (resolve(v), v)));

describe("cluster under mocks", () => {
    it("makes four commands per node and four for the cluster, each named after its place", async () => {
        const { resources } = await build(spec());
        const commands = [...resources.values()].filter((r) => r.type === "command:remote:Command").map((r) => r.name);
        const expected = spec()
            .nodes.flatMap((n) => ["prepare", "haproxy", "stage", n.role].map((w) => `${n.name}-${w}`))
            .concat("dev-kubeconfig", "dev-anonymous-check", "dev-lost-nodes", "dev-members");
        assert.deepEqual([...commands].sort(), expected.sort());
        assert.ok(resources.has("dev-public-info-viewer"));
    });

    const FILE = { name: "own.yaml", content: "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: of-mine }\n" };
    const withManifests = (...more: object[]): ClusterSpec => spec({ manifests: [FILE, ...more] });

    it("manifests are a step of every server, and prune-manifests one of the cluster, where there are some", async () => {
        const made = async (s: ClusterSpec): Promise<string[]> =>
            [...(await build(s)).resources.keys()].filter((name) => name.includes("manifests")).sort();
        const steps = ["master-1-manifests", "master-2-manifests", "master-3-manifests"];
        assert.deepEqual(await made(spec()), []);
        assert.deepEqual(await made(withManifests()), steps);
        assert.deepEqual(await made(withManifests({ name: "old.yaml", state: "absent" })), [
            "dev-prune-manifests",
            ...steps,
        ]);
    });

    for (const [hold, waits, goesOn] of [
        ["master-3-manifests", ["master-1-server", "dev-prune-manifests"], ["master-1-stage", "master-2-manifests"]],
        ["master-3-prepare", ["master-3-manifests", "master-1-server"], ["master-1-manifests"]],
        ["master-3-server", ["dev-prune-manifests"], ["master-1-manifests"]],
    ] as const)
        it(`all servers have the manifests before any k3s starts, and objects go when no server has them: ${hold}`, async () => {
            const { resources, held } = await build(withManifests({ name: "old.yaml", state: "absent" }), hold);
            for (const name of waits) assert.ok(!held.has(name) && resources.has(name), `${name} did not wait`);
            for (const name of goesOn) assert.ok(held.has(name), `${name} waited`);
        });

    it("a lost server is not waited for, and its manifests stay in the program", async () => {
        const nodes = settings()["nodes"] as Record<string, unknown>[];
        const lost = nodes.map((n) => (n["name"] === "master-3" ? { ...n, lost: true } : n));
        const { held } = await build(spec({ nodes: lost, manifests: [FILE] }), "master-3-manifests");
        assert.ok(held.has("master-1-server"));
    });

    it("hides manifests that are encrypted", async () => {
        const stdinOf = async (encrypted: string[]): Promise<unknown> => {
            const s = checkSpec(settings({ manifests: [FILE] }), { encrypted: new Set(encrypted) }).spec;
            return (await build(s)).resources.get("master-1-manifests")?.inputs["stdin"];
        };
        assert.match(String(await stdinOf([])), /of-mine/);
        const hidden = await stdinOf(["manifests"]);
        assert.ok(hidden !== null && typeof hidden === "object" && SECRET_SIG in hidden);
    });

    it("every setting that a step is given is read by a script", async () => {
        const host = join(__dirname, "../../components/scripts");
        const scripts = readdirSync(host)
            .map((name) => readFileSync(join(host, name), "utf8"))
            .join("\n");
        // `setting "$kind"` and `setting "no-$1"`; the frame of a bundle.
        const otherwise = new Set(["label", "taint", "no-node-ready", "node", "file", "end"]);
        const { resources } = await build(
            spec({
                host: { services: ["a"], bpffs: true, pruneImages: true },
                server: { config: { "secrets-encryption": true } },
                rotate: { secretsEncryption: 1 },
            }),
        );
        let seen = 0;
        for (const { name, inputs } of resources.values()) {
            const data = plain(inputs["stdin"]);
            for (const [, key = ""] of String(data ?? "").matchAll(/^([a-z][a-z0-9-]*): /gm)) {
                seen++;
                assert.ok(otherwise.has(key) || new RegExp(`setting ${key}\\b`).test(scripts), `${name}: ${key}`);
            }
        }
        assert.ok(seen > 50, String(seen));
    });

    const order: readonly (readonly [hold: string, waits: string[], goesOn: string[]])[] = [
        [
            "master-1-prepare",
            ["master-1-haproxy", "master-1-stage", "master-1-server"],
            ["master-2-haproxy", "agent-1-haproxy", "agent-2-stage"],
        ],
        [
            "master-2-prepare",
            ["master-2-haproxy", "master-1-server", "dev-kubeconfig"],
            ["master-1-haproxy", "master-1-stage"],
        ],
        [
            "master-1-haproxy",
            ["master-1-server", "master-2-server", "agent-1-agent"],
            ["master-1-stage", "master-2-haproxy"],
        ],
        [
            "agent-1-stage",
            ["agent-1-agent"],
            ["master-3-server", "agent-2-agent", "dev-public-info-viewer", "dev-anonymous-check"],
        ],
        [
            "master-1-server",
            ["dev-kubeconfig", "master-2-server", "agent-1-agent", "dev-public-info-viewer"],
            ["agent-1-haproxy", "agent-1-stage"],
        ],
        ["dev-kubeconfig", ["master-2-server", "agent-1-agent"], ["agent-1-stage"]],
        ["master-2-server", ["master-3-server", "agent-1-agent", "dev-members"], ["dev-public-info-viewer"]],
        ["description", ["master-1-kit", "master-1-prepare", "agent-2-kit", "agent-2-prepare"], []],
        ["agent-1-kit", ["agent-1-prepare", "agent-1-haproxy"], ["agent-2-prepare", "master-1-server"]],
        // Proxies everywhere know a master before it joins; the first server comes before all others.
        ["agent-2-haproxy", ["master-2-server"], ["master-1-server", "dev-lost-nodes"]],
        ["dev-lost-nodes", ["master-2-server", "agent-1-agent"], ["dev-public-info-viewer"]],
        ["agent-1-agent", ["dev-members"], ["agent-2-agent", "dev-public-info-viewer", "dev-anonymous-check"]],
        ["dev-public-info-viewer", ["dev-anonymous-check"], ["agent-1-agent"]],
    ];
    for (const [hold, waits, goesOn] of order) {
        it(`while ${hold} is under way ${waits.join(", ") || "nothing"} waits and ${goesOn.join(", ") || "nothing"} does not`, async () => {
            const { resources, held } = await build(spec(), hold);
            for (const name of waits) {
                assert.ok(!held.has(name), `${name} did not wait for ${hold}`);
                assert.ok(resources.has(name), `${name} never came`);
            }
            for (const name of goesOn) assert.ok(held.has(name), `${name} waited for ${hold}`);
        });
    }

    it("brings every node its scripts as a file, which no input holds, and runs only what has the file's sum", async () => {
        const { bootstrapCommand, kit, kitFile } = await import("../../components/remote/kit");
        const { inShell } = await import("../../components/remote/login-shell");
        const script = readFileSync(join(__dirname, "../../components/scripts/lib.sh"), "utf8");
        const { resources } = await build(spec());
        for (const node of spec().nodes) {
            const { name } = node;
            const sent = resources.get(`${name}-kit`);
            const create = resources.get(`${name}-prepare`)?.inputs["create"] as string;
            assert.equal(sent?.type, "command:remote:CopyToRemote");
            const source = sent.inputs["source"] as pulumi.asset.FileAsset;
            assert.equal(await source.path, kitFile());
            const command = bootstrapCommand(node);
            assert.equal(create, inShell(command));
            assert.ok(
                command.startsWith(`node=${name} kit=${kit().sum} upload=${sent.inputs["remotePath"] as string}\n`),
            );
            assert.ok(command.endsWith(kit().digests));
            let bytes = 0;
            for (const step of ["kit", "prepare", "haproxy", "stage", name.startsWith("master") ? "server" : "agent"]) {
                const text = JSON.stringify(resources.get(`${name}-${step}`)?.inputs);
                for (const line of script.split("\n").filter((l) => /^\w+\(\)/.test(l)))
                    assert.ok(!text.includes(JSON.stringify(line).slice(1, -1)), `${name}-${step} holds ${line}`);
                bytes += text.length;
            }
            assert.ok(bytes < 20_000, `${name}: ${bytes} bytes of inputs`);
        }
    });

    it("hides the data of step k3s where one of its settings is encrypted", async () => {
        const auth = { configs: { "r.example": { auth: { username: "u", password: "of-the-registry" } } } };
        const stdinOf = async (s: ClusterSpec): Promise<unknown> =>
            (await build(s)).resources.get("agent-1-agent")?.inputs["stdin"];
        const open = { mirrors: { "r.example": { endpoint: ["https://of-the-registry.example"] } } };
        assert.match(JSON.stringify(await stdinOf(spec({ registries: open }))), /^"node: agent-1[^]*of-the-registry/);
        const hidden = checkSpec(settings({ registries: auth }), { encrypted: new Set(["registries", "token"]) }).spec;
        const stdin = await stdinOf(hidden);
        assert.ok(stdin !== null && typeof stdin === "object" && SECRET_SIG in stdin);
        assert.match(String(plain(stdin)), /of-the-registry/);
    });

    it("keeps every secret inside secret inputs and outputs", async () => {
        const { resources, kubeconfig, statsPassword, caHash } = await build(
            spec({ proxy: { stats: { metricsPassword: true } } }),
        );
        const secrets = [TOKEN, AGENT_TOKEN, STATS, KEY, "made-SECRET", "U0VDUkVULUtFWQ"];
        // Everything that is not inside a secret wrapper is shown in diffs and stored as it is.
        const visible = (value: unknown): unknown => {
            if (value === null || typeof value !== "object") return value;
            if (SECRET_SIG in value) return "[secret]";
            return Array.isArray(value)
                ? value.map(visible)
                : Object.fromEntries(Object.entries(value).map(([k, v]) => [k, visible(v)]));
        };
        let wrapped = 0;
        for (const r of resources.values()) {
            const text = JSON.stringify(visible(r.inputs));
            for (const s of secrets) assert.ok(!text.includes(s), `${r.name} shows a secret: ${text.slice(0, 300)}`);
            if (secrets.some((s) => JSON.stringify(r.inputs).includes(s))) wrapped++;
            assert.ok(!secrets.some((s) => r.name.includes(s)));
        }
        assert.ok(wrapped >= 5, "the search must see the secrets inside their wrappers");
        assert.equal(await pulumi.isSecret(kubeconfig), true);
        assert.equal(await pulumi.isSecret(statsPassword), true);
        assert.equal(await pulumi.isSecret(caHash), false);
    });

    it("gives every joining node the pinned CA, and the first server none", async () => {
        const { resources } = await build(spec());
        const create = (name: string): string => resources.get(name)?.inputs["create"] as string;
        assert.match(
            create("master-1-server"),
            /^\/bin\/sh -c 'sh \/usr\/local\/lib\/k3s-ha\/server\.sh found --others=master-2@10\.90\.0\.12=none,master-3@10\.90\.0\.13=none # [0-9a-f]{12} [0-9a-f]{8}'$/,
        );
        assert.match(resources.get("master-1-server")?.inputs["update"] as string, /server\.sh apply # /);
        assert.match(create("master-2-server"), new RegExp(`server\\.sh apply --ca-hash=${CA_HASH} # `));
        assert.match(create("agent-1-agent"), new RegExp(`agent\\.sh apply --ca-hash=${CA_HASH} # `));
    });

    it("never uses environment or the previous output, triggers only for the proxy's readiness, and pins every host", async () => {
        const { resources } = await build(spec());
        for (const r of resources.values()) {
            if (!r.type.startsWith("command:remote:")) continue;
            assert.match((plain(r.inputs["connection"]) as { hostKey: string }).hostKey, /^ssh-ed25519 /, r.name);
            if (r.type !== "command:remote:Command") continue;
            assert.equal(r.inputs["environment"], undefined, r.name);
            assert.deepEqual(r.inputs["triggers"], r.name.endsWith("-haproxy") ? ["200"] : undefined, r.name);
            assert.equal(r.inputs["addPreviousOutputInEnv"], false, r.name);
        }
    });

    it("names of other nodes stay when a node is added in the middle of the list", async () => {
        const before = new Set((await build(spec())).resources.keys());
        const nodes = [...spec().nodes];
        const more = {
            ...spec(),
            nodes: [...nodes.slice(0, 2), { ...nodes[0]!, name: "agent-9", address: "10.90.0.29" }, ...nodes.slice(2)],
        };
        const after = new Set((await build(more)).resources.keys());
        for (const name of before) assert.ok(after.has(name), name);
        assert.deepEqual(
            [...after].filter((n) => !before.has(n)).every((n) => n.startsWith("agent-9")),
            true,
        );
    });

    it("rewrites the kubeconfig: chosen context first, one per master", async () => {
        const { kubeconfig } = await build(spec());
        const text = await value(kubeconfig);
        assert.match(text, /current-context: dev\n/);
        for (const [name, address] of [
            ["dev", 11],
            ["dev-master-1", 11],
            ["dev-master-2", 12],
            ["dev-master-3", 13],
        ] as const) {
            assert.match(
                text,
                new RegExp(`- name: ${name}\\n {4}cluster:\\n {6}server: https://10\\.90\\.0\\.${address}:6443`),
            );
        }
    });

    it("reads the kubeconfig again when the last one ends soon, and leaves the command as it is else", async () => {
        const commandFor = async (last: LastRead): Promise<string> =>
            (await build(spec(), undefined, last)).resources.get("dev-kubeconfig")?.inputs["create"] as string;
        const first = await commandFor({});
        assert.match(first, /kubeconfig\.sh # [0-9a-f]{12}'$/);
        assert.equal(await commandFor({ notAfter: "2027-11-30T12:00:00.000Z", readAgain: "" }), first);
        const again = await commandFor({ notAfter: "2027-01-20T12:00:00.000Z", readAgain: "" });
        assert.match(again, /kubeconfig\.sh # [0-9a-f]{12} the certificate ends soon, read again on 2026-11-30'$/);
        assert.equal(await commandFor({ notAfter: "2027-11-30T12:00:00.000Z", readAgain: "2026-11-30" }), again);
    });

    it("patches the role only in mode anonymous, and without the provider when asked", async () => {
        assert.ok(!(await build(spec({ readiness: "scoped" }))).resources.has("dev-public-info-viewer-provider"));
        assert.ok(!(await build(spec({ readiness: "unauthorized" }))).resources.has("dev-public-info-viewer-provider"));
        const { resources } = await build(spec({ publicInfoViewer: { via: "ssh" } }));
        assert.ok(
            ![...resources.values()].some(
                (r) => r.type.startsWith("kubernetes:") || r.type.startsWith("pulumi:providers:kubernetes"),
            ),
        );
        assert.equal(
            [...resources.values()].find((r) => String(r.inputs["create"]).includes("viewer.sh"))?.type,
            "command:remote:Command",
        );
    });
});

describe("outputs of what is known without a host", () => {
    const outputs = async (s: ClusterSpec): Promise<ReturnType<typeof publicOutputs>> =>
        (await import("../../components/cluster")).publicOutputs(s);
    const more = [...(settings()["nodes"] as object[])];
    more.splice(1, 0, node("agent-0", "agent", "10.90.0.29"));

    it("are maps by the node's name", async () => {
        const { apiEndpoints, statsEndpoints, prometheusTargets, nodes } = await outputs(spec());
        assert.deepEqual(Object.keys(nodes).sort(), ["agent-1", "agent-2", "master-1", "master-2", "master-3"]);
        assert.deepEqual(nodes["agent-2"], { role: "agent", address: "10.90.0.22", version: "v1.36.3+k3s1" });
        assert.deepEqual(apiEndpoints, {
            "master-1": "https://10.90.0.11:6443",
            "master-2": "https://10.90.0.12:6443",
            "master-3": "https://10.90.0.13:6443",
        });
        assert.equal(statsEndpoints["agent-1"], "http://10.90.0.21:1936/");
        assert.deepEqual(prometheusTargets["master-3"], {
            targets: ["10.90.0.13:1936"],
            labels: { cluster: "dev", node: "master-3", role: "server", job: "haproxy" },
        });
    });

    it("of the other nodes stay the same when a node comes in the middle of the list", async () => {
        const [before, after] = [await outputs(spec()), await outputs(spec({ nodes: more }))];
        for (const key of ["nodes", "statsEndpoints", "prometheusTargets"] as const) {
            const { "agent-0": added, ...others } = after[key];
            assert.ok(added !== undefined, key);
            assert.deepEqual(others, before[key], key);
        }
        assert.deepEqual(after.apiEndpoints, before.apiEndpoints);
    });

    it("have no node that is lost", async () => {
        const lost = (settings()["nodes"] as { name: string }[]).map((n) =>
            n.name === "agent-1" ? { ...n, lost: true } : n,
        );
        const { nodes, statsEndpoints, prometheusTargets } = await outputs(spec({ nodes: lost }));
        for (const map of [nodes, statsEndpoints, prometheusTargets]) assert.ok(!("agent-1" in map));
    });

    it("become Prometheus' list by the line that the documents have", async function () {
        const document = readFileSync(join(__dirname, "../../docs/operations.md"), "utf8");
        const [, filter] = /^pulumi stack output prometheusTargets .*\| jq '(.*)' >/m.exec(document) ?? [];
        assert.ok(filter, "the line is in docs/operations.md");
        const { prometheusTargets } = await outputs(spec());
        const run = spawnSync("jq", [filter], { input: JSON.stringify(prometheusTargets), encoding: "utf8" });
        assert.equal(run.error, undefined, "this test needs jq");
        assert.equal(run.status, 0, run.stderr);
        assert.deepEqual(JSON.parse(run.stdout), Object.values(prometheusTargets));
    });
});
