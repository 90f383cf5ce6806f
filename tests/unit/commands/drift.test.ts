import assert from "node:assert/strict";
import { parseFindings } from "../../../commands/drift/findings";
import { mark, type Deployment } from "../../../commands/drift/mark";
import { knownHostsText, sshArguments, sshConfig } from "../../../commands/ssh-client";
import type { NodeSpec } from "../../../components/model/cluster";

const urn = (type: string, name: string): string => `urn:pulumi:prod::k3s-ha::k3s-ha:index:Cluster$${type}::${name}`;
const command = (name: string, values: Record<string, unknown>): Record<string, unknown> => ({
    urn: urn("command:remote:Command", name),
    type: "command:remote:Command",
    inputs: { triggers: ["200"], ...values },
    outputs: { triggers: ["200"], stdout: "x", ...values },
});
const secret = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", ciphertext: "v1:abc" };
const exported = (pending: unknown[] = []): Deployment =>
    ({
        version: 3,
        deployment: {
            manifest: { time: "now" },
            pending_operations: pending,
            resources: [
                command("agent-1-prepare", { create: "boot\n", stdin: secret }),
                command("agent-1-haproxy", { create: "sh haproxy.sh", stdin: "node: agent-1\n" }),
                command("agent-2-haproxy", { create: "sh haproxy.sh", stdin: "node: agent-2\n" }),
                command("prod-members", { create: "sh nodes.sh converge", stdin: "node: master-1\n" }),
                {
                    urn: urn("kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch", "prod-public-info-viewer"),
                    type: "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch",
                    inputs: { rules: [] },
                    outputs: { rules: [], __inputs: { rules: [] } },
                },
            ],
        },
    }) as unknown as Deployment;
const finding = (node: string, step: string, what: string): { node: string; step: string; what: string } => ({
    node,
    step,
    what,
});

describe("drift", () => {
    it("reads what drift.sh prints, and refuses what it does not know", () => {
        assert.deepEqual(parseFindings("agent-1", "haproxy: haproxy.service is inactive\n"), [
            finding("agent-1", "haproxy", "haproxy.service is inactive"),
        ]);
        assert.deepEqual(parseFindings("master-1", "members: Node agent-1 has no label site=a\n"), [
            finding("master-1", "members", "Node agent-1 has no label site=a"),
        ]);
        assert.deepEqual(parseFindings("master-1", "manifests: /x/own.yaml was changed\n"), [
            finding("master-1", "manifests", "/x/own.yaml was changed"),
        ]);
        assert.deepEqual(parseFindings("agent-1", ""), []);
        assert.throws(() => parseFindings("agent-1", "sudo: a lecture\n"), /no finding/);
    });

    it("marks inputs and outputs of exactly the drifted commands, and nothing else of the state", () => {
        const before = exported();
        const { deployment, marked, unknown } = mark(
            before,
            [
                finding("agent-1", "haproxy", "haproxy.cfg was changed"),
                finding("agent-1", "haproxy", "two\nlines"),
                finding("master-1", "members", "Node agent-1 has no label site=a"),
                finding("master-1", "public-info-viewer", "differs"),
                finding("agent-9", "agent", "x"),
            ],
            "prod",
        );
        assert.deepEqual(marked, ["agent-1-haproxy", "prod-members", "prod-public-info-viewer"]);
        assert.deepEqual(unknown, ["agent-9-agent"]);
        const [was, is] = [before.deployment.resources!, deployment.deployment.resources!];
        const stdin = "node: agent-1\n# drift: haproxy.cfg was changed\n# drift: two lines\n";
        assert.deepEqual(is[1], {
            ...was[1],
            inputs: { ...was[1]!.inputs, stdin },
            outputs: { ...was[1]!.outputs, stdin },
        });
        assert.deepEqual([is[0], is[2]], [was[0], was[2]]);
        assert.equal(is[3]!.inputs!["stdin"], "node: master-1\n# drift: Node agent-1 has no label site=a\n");
        const metadata = { annotations: { "k3s-ha/drift": "differs" } };
        assert.deepEqual(is[4], {
            ...was[4],
            inputs: { rules: [], metadata },
            outputs: { rules: [], metadata, __inputs: { rules: [], metadata } },
        });
        const rest = { ...deployment, deployment: { ...deployment.deployment, resources: was } };
        assert.deepEqual(rest, before);
    });

    it("marks the line of updates where stdin is encrypted and the first one is ignored", () => {
        const create = "sh server.sh found";
        const state = exported();
        const [resource] = [command("master-1-server", { create, update: "sh server.sh apply", stdin: secret })];
        (state.deployment.resources as unknown[]).unshift(resource);
        const { inputs } = mark(state, [finding("master-1", "server", "config.yaml was changed")], "prod").deployment
            .deployment.resources![0]!;
        assert.deepEqual(inputs, {
            triggers: ["200"],
            create,
            update: "sh server.sh apply\n# drift: config.yaml was changed\n",
            stdin: secret,
        });
    });

    it("marks the command line where stdin is encrypted, and a second time replaces the first mark", () => {
        const once = mark(exported(), [finding("agent-1", "prepare", "one")], "prod").deployment;
        const twice = mark(once, [finding("agent-1", "prepare", "two")], "prod").deployment;
        const { inputs } = twice.deployment.resources![0]!;
        assert.equal(inputs!["create"], "boot\n# drift: two\n");
        assert.deepEqual(inputs!["stdin"], secret);
    });

    it("marks also the copy of the scripts where they are not as they were, and only there", () => {
        const state = exported();
        const path = { remotePath: ".k3s-ha-kit-abc-h-22" };
        const kit = { ...command("agent-1-kit", path), type: "command:remote:CopyToRemote" };
        (state.deployment.resources as unknown[]).push(kit);
        const markedBy = (...whats: string[]): readonly string[] =>
            mark(
                state,
                whats.map((what) => finding("agent-1", "prepare", what)),
                "prod",
            ).marked;
        assert.deepEqual(markedBy("/etc/motd was changed"), ["agent-1-prepare"]);
        for (const what of [
            "/usr/local/lib/k3s-ha/lib.sh was changed",
            "/usr/local/lib/k3s-ha/drift.sh is missing",
            "/var/lib/k3s-ha is missing",
        ]) {
            assert.deepEqual(markedBy("/etc/motd was changed", what), ["agent-1-prepare", "agent-1-kit"]);
            const found = [finding("agent-1", "prepare", what)];
            const once = mark(state, found, "prod").deployment;
            for (const marked of [once, mark(once, found, "prod").deployment]) {
                const { inputs, outputs } = marked.deployment.resources!.at(-1)!;
                assert.equal(inputs!["remotePath"], `.k3s-ha-kit-abc-h-22\n# drift: ${what}\n`);
                assert.equal(outputs!["remotePath"], inputs!["remotePath"]);
            }
        }
    });

    it("refuses a state with pending operations", () => {
        const pending = (type: string, name: string): unknown => ({
            type,
            resource: { urn: urn("command:remote:Command", name) },
        });
        const found = [finding("agent-1", "haproxy", "x")];
        for (const op of [pending("updating", "agent-1-haproxy"), pending("creating", "agent-3-haproxy")])
            assert.throws(() => mark(exported([op]), found, "prod"), /pending operations .* on agent-[13]-haproxy: /);
        // Noted when an `up` was cut off, and made by a later one.
        assert.deepEqual(mark(exported([pending("creating", "agent-1-haproxy")]), found, "prod").marked, [
            "agent-1-haproxy",
        ]);
    });
});

describe("ssh of commands beside the program", () => {
    const node = {
        name: "agent-1",
        ssh: {
            host: "10.8.0.21",
            port: 2222,
            user: "deploy",
            hostKey: "ssh-ed25519 AAA",
            bastion: { host: "jump", port: 22, user: "j", hostKey: "ssh-ed25519 BBB" },
            dialErrorLimit: 30,
        },
    } as unknown as NodeSpec;

    it("goes by the stack's settings and pinned keys, also for the jump host", () => {
        assert.equal(knownHostsText([node]), "agent-1 ssh-ed25519 AAA\nagent-1.bastion ssh-ed25519 BBB\n");
        const text = sshConfig([node], { knownHosts: "/tmp/k h" });
        for (const line of [
            "HostName 10.8.0.21",
            "Port 2222",
            "User deploy",
            "ProxyJump agent-1.bastion",
            "HostName jump",
        ])
            assert.ok(text.includes(`    ${line}\n`), line);
        assert.equal(text.match(/StrictHostKeyChecking yes/g)?.length, 2);
        assert.match(text, /UserKnownHostsFile "\/tmp\/k h"/);
        assert.match(text, /IdentityFile none/);
        assert.match(
            sshConfig([node], { knownHosts: "/k", key: "/id" }),
            /IdentityFile "\/id"\n {4}IdentitiesOnly yes/,
        );
        assert.deepEqual(sshArguments("/c", "agent-1", "true"), ["-F", "/c", "-T", "--", "agent-1", "true"]);
    });

    it("checks no key only where none is pinned", () => {
        const open = { ...node, ssh: { ...node.ssh, hostKey: undefined, bastion: undefined } };
        assert.match(
            sshConfig([open], { knownHosts: "/k" }),
            /StrictHostKeyChecking no\n {4}UserKnownHostsFile \/dev\/null/,
        );
        assert.equal(knownHostsText([open]), "");
    });
});
