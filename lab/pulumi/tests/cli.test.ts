import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { Workspace } from "./workspace";
import type { Untyped } from "../src/untyped";

const PROGRAM = `
const pulumi = require("@pulumi/pulumi");
const { local } = require("@pulumi/command");
const random = require("@pulumi/random");
const c = new pulumi.Config();
class Node extends pulumi.ComponentResource {
    constructor(name, text, opts) {
        super("proj:index:Node", name, {}, opts);
        this.run = new local.Command(name + "-run", {
            create: "cat", stdin: text, delete: "echo gone " + name + " >> log", addPreviousOutputInEnv: false,
        }, { parent: this });
        this.registerOutputs({ stdout: this.run.stdout });
    }
}
const pw = new random.RandomPassword("pw", { length: 24 });
const first = new Node("first", "global\\n    log stdout\\n    maxconn 100\\nfrontend kube\\n    bind 127.0.0.1:16443\\n    timeout 5s\\n    " + c.require("mode") + "\\n    default_backend masters\\n");
const secret = new local.Command("secret", { create: "cat > /dev/null", stdin: pulumi.interpolate\`token=\${c.requireSecret("token")} pw=\${pw.result}\`, logging: "none", addPreviousOutputInEnv: false }, { dependsOn: first });
pulumi.log.warn("mind the gap");
exports.mode = first.run.stdout;
exports.password = pw.result;
exports.nodes = c.requireObject("nodes");
exports.replicas = c.requireNumber("replicas");
exports.id = secret.id;
`;
const CONFIG = `config:
  mode: { type: string, default: a }
  token: { type: string, secret: true }
  replicas: { type: integer, default: 3 }
  nodes:
    type: array
    items: { type: object }
  other:setting: { value: on }
`;

describe("command line", function () {
    this.timeout(300_000);

    describe("a stack's life", () => {
        let w: Workspace;
        before(async () => {
            w = new Workspace(PROGRAM, CONFIG);
            await w.ok("stack", "init", "dev");
            await w.ok("config", "set", "--secret", "token", "tok-SECRET-1");
            await w.ok("config", "set", "--path", "nodes[0].name", "m1");
            await w.ok("config", "set", "--path", "nodes[0].port", "22");
        });
        after(() => w.remove());

        it("config: secrets encrypted, typed values by path, listing masks", async () => {
            const file = w.read("Pulumi.dev.yaml");
            assert.match(file, /encryptionsalt: v1:.+:v1:.+/);
            assert.match(file, /proj:token:\n {4}secure: v1:/);
            assert.match(file, /proj:nodes:\n {4}- name: m1\n {6}port: 22\n/);
            assert.ok(!file.includes("tok-SECRET-1"));
            const list = await w.ok("config");
            assert.match(list.stdout, /token +\[secret\]/);
            assert.match(list.stdout, /mode +a/);
            assert.equal((await w.ok("config", "get", "token")).stdout, "tok-SECRET-1\n");
            assert.equal((await w.ok("config", "get", "--path", "nodes[0].name")).stdout, "m1\n");
            const missing = await w.run(["config", "get", "nope"]);
            assert.equal(missing.code, 1);
            assert.match(missing.stderr, /error: configuration key 'nope' not found for stack 'dev'/);
        });

        it("config: aliases stand for the last node of that anchor", async () => {
            const secure = /secure: (v1:\S+)/.exec(w.read("Pulumi.dev.yaml"))?.[1];
            const salt = /^encryptionsalt: .*$/m.exec(w.read("Pulumi.dev.yaml"))?.[0];
            w.write(
                "aliases.yaml",
                `${salt}\nconfig:\n  proj:a: [&x {port: 1, key: &k {secure: "${secure}"}}, *x, &x {port: 2}, *x, *k]\n  proj:b: *x\n`,
            );
            const get = async (key: string): Promise<unknown> =>
                JSON.parse((await w.ok("config", "get", key, "--config-file", "aliases.yaml")).stdout);
            const first = { port: 1, key: "tok-SECRET-1" };
            assert.deepEqual(await get("a"), [first, first, { port: 2 }, { port: 2 }, "tok-SECRET-1"]);
            assert.deepEqual(await get("b"), { port: 2 });
        });

        it("preview, then up; secrets show nowhere", async () => {
            const preview = await w.ok("preview", "--diff");
            assert.match(preview.stdout, /^Previewing update \(dev\):\n/);
            assert.match(
                preview.stdout,
                /\+ proj:index:Node: \(create\)\n +\[urn=urn:pulumi:dev::proj::proj:index:Node::first\]/,
            );
            assert.match(preview.stdout, /Resources:\n {4}\+ 5 to create\n/);
            assert.match(preview.stdout, /stdin +: \[unknown\]/);
            const up = await w.ok("up", "--yes", "--skip-preview");
            assert.match(up.stdout, /^Updating \(dev\):\n/);
            assert.match(up.stdout, /Resources:\n {4}\+ 5 created\n\nDuration: \d+s\n/);
            assert.match(up.stdout, /password: \[secret\]/);
            assert.match(up.stdout, /Diagnostics:\n {2}pulumi:pulumi:Stack \(proj-dev\):\n {4}warning: mind the gap\n/);
            for (const text of [preview.all, up.all, w.state()]) assert.ok(!text.includes("tok-SECRET-1"));
            assert.equal(statSync(path.join(w.dir, "state/.pulumi/stacks/proj/dev.json")).mode & 0o777, 0o600);
        });

        it("outputs: masked, shown on request, as JSON", async () => {
            assert.equal((await w.ok("stack", "output", "password")).stdout, "[secret]\n");
            const shown = (await w.ok("stack", "output", "password", "--show-secrets")).stdout.trim();
            assert.equal(shown.length, 24);
            assert.ok(!w.state().includes(JSON.stringify(shown).slice(1, -1)));
            const json = JSON.parse((await w.ok("stack", "output", "--json", "-s", "dev")).stdout);
            assert.deepEqual(json.nodes, [{ name: "m1", port: 22 }]);
            assert.deepEqual([json.replicas, json.password], [3, "[secret]"]);
            const none = await w.run(["stack", "output", "nope"]);
            assert.match(none.stderr, /error: current stack does not have output property 'nope'/);
        });

        it("a second up changes nothing; --expect-no-changes agrees", async () => {
            const r = await w.ok("up", "--yes", "--skip-preview", "--expect-no-changes");
            assert.match(r.stdout, /Resources:\n {4}5 unchanged\n/);
        });

        it("a changed line shows as that line; what depends on it as an update; nothing runs", async () => {
            const before = w.state();
            await w.ok("config", "set", "mode", "b");
            const r = await w.run(["preview", "--diff", "--expect-no-changes"]);
            assert.equal(r.code, 7);
            assert.match(r.stderr, /error: no changes were expected but changes were proposed/);
            assert.match(
                r.stdout,
                / {6}~ stdin: \n {12}\.\.\.\n {16}bind 127\.0\.0\.1:16443\n {16}timeout 5s\n {10}- {5}a\n {10}\+ {5}b\n {16}default_backend masters\n/,
            );
            assert.match(r.stdout, /~ command:local:Command: \(update\)\n +\[id=first-run[0-9a-f]{8}\]/);
            assert.match(r.stdout, / {4}~ 1 to update\n {4}4 unchanged\n/);
            assert.equal(w.state(), before);
            const short = await w.ok("preview");
            assert.match(short.stdout, / ~ {2}command:local:Command first-run update \[diff: ~stdin\]/);
        });

        it("preview --json is the official digest", async () => {
            const r = await w.ok("preview", "--json");
            const digest = JSON.parse(r.stdout);
            assert.equal(digest.config["proj:token"], "[secret]");
            assert.deepEqual(digest.changeSummary, { same: 4, update: 1 });
            const step = digest.steps.find((s: Untyped) => s.op === "update");
            assert.match(step.urn, /first-run$/);
            assert.deepEqual(step.detailedDiff, { stdin: { kind: "update", inputDiff: false } });
            assert.ok(step.oldState.inputs.stdin.includes("    a\n") && step.newState.inputs.stdin.includes("    b\n"));
            assert.ok(
                digest.diagnostics.some(
                    (d: Untyped) => d.severity === "warning" && d.message === "warning: mind the gap",
                ),
            );
            assert.ok(!r.stdout.includes("tok-SECRET"));
        });

        it("export, import under the same passphrase, refresh", async () => {
            const plain = await w.ok("stack", "export", "--show-secrets");
            assert.match(plain.stdout, /"plaintext": ".*tok-SECRET-1/);
            const file = await w.ok("stack", "export");
            assert.ok(!file.stdout.includes("tok-SECRET-1"));
            const r = await w.run(["stack", "import"], { input: file.stdout });
            assert.equal(r.code, 0, r.all);
            assert.match(r.stdout, /Import complete\./);
            await w.ok("config", "set", "mode", "a");
            await w.ok("preview", "--expect-no-changes");
            assert.match((await w.ok("refresh", "--yes", "--skip-preview")).stdout, /5 unchanged/);
            const bad = await w.run(["preview"], { env: { PULUMI_CONFIG_PASSPHRASE: "wrong" } });
            assert.equal(bad.code, 1);
            assert.match(bad.stderr, /error: incorrect passphrase/);
        });

        it("stack ls, stack select, PULUMI_STACK", async () => {
            await w.ok("stack", "init", "other", "--no-select");
            assert.match((await w.ok("stack", "ls")).stdout, /dev\* +\S+ +\d+\nother +n\/a/);
            assert.equal((await w.run(["stack", "--show-name"], { env: { PULUMI_STACK: "other" } })).stdout, "other\n");
            const none = await w.run(["stack", "select", "nope"]);
            assert.equal(none.code, 6);
            assert.match(none.stderr, /error: no stack named 'nope' found/);
            await w.ok("stack", "rm", "other", "--yes");
        });

        it("destroy deletes in reverse order; rm refuses a stack with resources", async () => {
            const refused = await w.run(["stack", "rm", "dev", "--yes"]);
            assert.match(refused.stderr, /'dev' still has resources; removal rejected/);
            const r = await w.ok("destroy", "--yes", "--skip-preview");
            assert.match(r.stdout, /Resources:\n {4}- 5 deleted\n/);
            assert.match(r.stdout, /run `pulumi stack rm dev`/);
            assert.equal(w.read("log"), "gone first\n");
            assert.ok(!JSON.parse(w.state()).checkpoint.latest.resources);
            await w.ok("stack", "rm", "dev", "--yes", "--preserve-config");
            assert.ok(readdirSync(w.dir).includes("Pulumi.dev.yaml"));
        });
    });

    describe("refusals", () => {
        let w: Workspace;
        before(async () => {
            w = new Workspace("", CONFIG);
            await w.ok("stack", "init", "dev");
        });
        after(() => w.remove());
        const fails = async (args: string[], code: number, message: RegExp): Promise<void> => {
            const r = await w.run(args);
            assert.match(r.stderr, message);
            assert.equal(r.code, code);
        };

        it("of unknown flags and commands, with the official exit codes", async () => {
            await fails(["up", "--nonsense"], 1, /^error: unknown flag: --nonsense\n$/);
            await fails(["stack", "frobnicate"], 1, /error: unknown command "frobnicate" for "pulumi stack"/);
            await fails(["frobnicate"], 1, /error: unknown command "frobnicate" for "pulumi"/);
            await fails(["up"], 2, /--yes or --skip-preview or --preview-only must be passed in/);
            await fails(["preview", "-s", "nope"], 6, /no stack named 'nope' found/);
        });

        it("of missing, untyped and unencrypted configuration", async () => {
            await fails(
                ["preview"],
                1,
                /error: validating stack config: Stack 'dev' is missing configuration values 'nodes' and 'token'/,
            );
            await w.ok("config", "set", "token", "x", "--plaintext");
            await w.ok("config", "set", "nodes", "text");
            await fails(["preview"], 1, /Stack 'dev' with configuration key 'nodes' must be of type 'array<object>'/);
            await w.ok("config", "set", "--path", "nodes[0]", "text");
            await w.ok("config", "rm", "nodes");
            await w.ok("config", "set", "--path", "nodes[0].name", "x");
            await fails(["preview"], 1, /Stack 'dev' with configuration key 'token' must be encrypted as it's secret/);
        });
    });
});
