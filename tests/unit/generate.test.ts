/** What follows from components/settings (npm run settings): it is current, fits the program, and a new setting gets into all of it. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Ajv from "ajv";
import { parse } from "yaml";
import { z } from "zod";
import { SpecError } from "../../components/config/problems";
import { checkSpec } from "../../components/config/check";
import { SECRET_SETTINGS, sections, stackSchema } from "../../components/settings";
import { generated } from "../../docs/generate/files";
import { projectFile } from "../../docs/generate/project-file";
import { plain, settingsSchema, type Schema } from "../../docs/generate/schema";
import { settingsPage } from "../../docs/generate/settings-page";
import { stackFileSchema } from "../../docs/generate/stack-file";
import { BASE, places } from "./helpers/hostile";
import { settings } from "./helpers/settings";

const ROOT = join(__dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

describe("files from the settings", () => {
    it("are current", async function () {
        this.timeout(300_000);
        for (const [path, text] of Object.entries(await generated(ROOT)))
            assert.equal(text, read(path), `${path} does not fit components/settings: run npm run settings`);
    });

    it("have a setting that is added to the schema", () => {
        const more = {
            proxy: sections.proxy.proxy,
            colour: z.enum(["red", "blue"]).default("red").describe("its colour"),
        };
        const schema = settingsSchema(stackSchema.extend({ colour: more.colour }));
        const page = settingsPage(read("docs/settings.md"), schema, { ...sections, proxy: more });
        assert.match(page, /^\| `colour` \| `red` \| its colour \|$/m);
        const project = parse(projectFile(read("Pulumi.yaml"), schema)) as { config: Record<string, unknown> };
        assert.deepEqual(project.config["colour"], { type: "string", default: "red", description: "its colour" });
        const file = stackFileSchema(schema).properties!["config"]!.properties!["k3s-ha:colour"]!;
        assert.deepEqual(file, { type: "string", enum: ["red", "blue"], default: "red", description: "its colour" });
    });

    it("cannot be made of a setting without a description, or with no place for it", () => {
        const schema = settingsSchema(stackSchema.extend({ colour: z.string() }));
        const page = read("docs/settings.md");
        assert.throws(
            () => settingsPage(page, schema, { ...sections, proxy: { colour: 1 } }),
            /colour has no description/,
        );
        assert.throws(() => settingsPage(page, schema, { ...sections, colours: {} }), /has no line .*: colours -->/);
    });

    it("have links that plain text can name", () => {
        assert.equal(plain("[limits](operations.md#x), `a`"), "limits (docs/operations.md#x), `a`");
        assert.equal(plain("[readiness](#readiness)"), "readiness (docs/settings.md#readiness)");
    });
});

describe("schema of stack files", () => {
    const schema = JSON.parse(read("docs/stack-file.schema.json")) as Schema;
    const valid = new Ajv({ schemaId: "$id", allErrors: true }).compile(schema);
    const findings = (file: unknown): string[] =>
        valid(file) ? [] : valid.errors!.map((e) => `${e.dataPath} ${e.message} ${JSON.stringify(e.params)}`);
    const SECURE = { secure: "v1:AAAA" };
    /** As a stack file has it: secrets are encrypted. */
    const fileOf = (raw: Readonly<Record<string, unknown>>): object => ({
        config: Object.fromEntries(
            Object.entries(raw).map(([key, value]) => [`k3s-ha:${key}`, SECRET_SETTINGS.has(key) ? SECURE : value]),
        ),
    });

    it("is what stack files name in their first line", () => {
        const line = "# yaml-language-server: $schema=docs/stack-file.schema.json\n";
        assert.ok(read("Pulumi.dev.yaml").startsWith(line));
        // It is copied to the project's folder.
        assert.ok(read("docs/sample-stack.yaml").startsWith(line));
    });

    it("takes the lab's stack file and the examples", () => {
        const [, readme] = /```yaml\n([^]*?)```/.exec(read("README.md"))!;
        for (const text of [read("Pulumi.dev.yaml"), read("docs/sample-stack.yaml"), readme!])
            assert.deepEqual(findings(parse(text)), []);
    });

    it("takes whatever the program takes, in every place", function () {
        this.timeout(300_000);
        let taken = 0;
        for (const { path, settings: raw } of places(BASE)) {
            try {
                checkSpec(raw);
            } catch (error) {
                assert.ok(error instanceof SpecError);
                continue;
            }
            taken++;
            assert.deepEqual(findings(fileOf(raw)), [], path.join("."));
        }
        assert.ok(taken > 500, String(taken));
    });

    it("takes numbers and single values where the words of the Ansible role may be such", () => {
        const haproxy = {
            global: { log: false, maxconn: "7" },
            defaults: { timeout: [{ type: "client", timeout: 5000 }] },
            backend: [{ name: "a", balance: "first", http_check: "expect status 200" }],
        };
        assert.deepEqual(findings(fileOf(settings({ proxy: { haproxy } }))), []);
    });

    const server = { config: { "kube-apiserver-arg": [SECURE], "datastore-endpoint": SECURE } };
    for (const [what, more] of [
        [
            "an encrypted password in registries",
            { registries: { configs: { "r.example": { auth: { password: SECURE } } } } },
        ],
        ["encrypted registries", { registries: SECURE }],
        ["encrypted settings of k3s", { server }],
        ["encrypted manifests", { manifests: SECURE }],
        ["an encrypted manifest", { manifests: [{ name: "a.yaml", content: SECURE }] }],
        ["an encrypted file", { host: { files: [{ path: "/etc/x", content: SECURE }] } }],
    ] as const)
        it(`takes ${what}`, () => assert.deepEqual(findings(fileOf(settings(more))), []));

    it("takes settings of providers, and what Pulumi itself writes", () => {
        const { config } = fileOf(settings()) as { config: object };
        const file = { config: { ...config, "kubernetes:context": "a" }, encryptionsalt: "v1:a" };
        assert.deepEqual(findings(file), []);
        assert.deepEqual(findings({ environment: ["prod"] }), []);
    });

    for (const [what, file, finding] of [
        ["an unknown setting", fileOf(settings({ verison: 1 })), /additionalProperty":"k3s-ha:verison"/],
        ["an unknown setting in a map", fileOf(settings({ proxy: { prot: 1 } })), /additionalProperty":"prot"/],
        ["a wrong kind", fileOf(settings({ proxy: { port: "16443" } })), /k3s-ha:proxy'\]\.port should be integer/],
        ["a wrong word", fileOf(settings({ allow: ["all"] })), /allow'\]\[0\] should be equal to one of/],
        ["a wrong form", fileOf(settings({ proxy: { balance: "best" } })), /balance should match pattern/],
        [
            "an encrypted setting that previews show",
            fileOf(settings({ proxy: { balance: SECURE } })),
            /should be string/,
        ],
        ["a secret in clear", { config: { "k3s-ha:token": "in-clear-in-clear" } }, /k3s-ha:token'\] should be object/],
        ["a file without nodes", { config: {} }, /should have required property 'k3s-ha:nodes'/],
    ] as const)
        it(`marks ${what}`, () => assert.match(findings(file).join("\n"), finding));

    it("has patterns that editors can read", () => {
        const patterns = [...JSON.stringify(schema).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)];
        assert.ok(patterns.length > 100);
        for (const [, pattern] of patterns) new RegExp(JSON.parse(pattern!) as string, "u");
    });
});

describe("the example of CONTRIBUTING.md", () => {
    const copy = mkdtempSync(join(tmpdir(), "k3s-ha-setting-"));
    const [, diff] = /```diff\n([^]*?)```/.exec(read("CONTRIBUTING.md"))!;
    const node = (...args: string[]): { status: number | null; text: string } => {
        const run = spawnSync(process.execPath, ["--require", "./load/register.cjs", ...args], {
            cwd: copy,
            encoding: "utf8",
        });
        return { status: run.status, text: run.stdout + run.stderr };
    };

    before(() => {
        const parts = [
            "components",
            "docs",
            "load",
            "package.json",
            ".prettierrc.json",
            "Pulumi.yaml",
            "tsconfig.json",
        ];
        for (const part of parts) cpSync(join(ROOT, part), join(copy, part), { recursive: true });
        // Not the cache in it, which is of this tree.
        mkdirSync(join(copy, "node_modules"));
        for (const name of readdirSync(join(ROOT, "node_modules")).filter((n) => n !== ".cache"))
            symlinkSync(join(ROOT, "node_modules", name), join(copy, "node_modules", name));
        execFileSync("git", ["apply"], { cwd: copy, input: diff! });
    });
    after(() => rmSync(copy, { recursive: true }));

    it("is all that a new setting needs: it is in the generated files and in haproxy.cfg", function () {
        this.timeout(300_000);
        const check = node("docs/generate/main.ts", "--check");
        assert.equal(check.status, 1);
        for (const path of ["docs/settings.md", "docs/stack-file.schema.json", "Pulumi.yaml"])
            assert.match(check.text, new RegExp(`^${path} does not fit`, "m"));
        assert.deepEqual(node("docs/generate/main.ts"), { status: 0, text: "" });
        assert.deepEqual(node("docs/generate/main.ts", "--check"), { status: 0, text: "" });
        const made = (path: string): string => readFileSync(join(copy, path), "utf8");
        assert.match(made("docs/settings.md"), /^\| `proxy\.backlog` +\| 1024 +\| haproxy's `backlog`: .*\|$/m);
        assert.match(made("Pulumi.yaml"), /observe, backlog, timeouts/);
        assert.match(made("docs/stack-file.schema.json"), /"backlog": \{\s+"default": 1024,/);
        const render = `
            const { checkSpec } = require("./components/config/check");
            const { haproxyConfig } = require("./components/model/proxy");
            for (const proxy of [{}, { backlog: 7 }]) {
                const { spec } = checkSpec({ ...${JSON.stringify(settings())}, proxy });
                console.log(haproxyConfig(spec, spec.nodes[0]).match(/^ *backlog .*/gm));
            }`;
        assert.equal(node("-e", render).text, "[ '  backlog 1024' ]\n[ '  backlog 7' ]\n");
    });

    it("fits the types from the schema to haproxy.cfg", function () {
        this.timeout(300_000);
        const project = join(copy, "example.json");
        const files = ["components/config/fill.ts", "components/model/proxy.ts"];
        writeFileSync(
            project,
            JSON.stringify({ extends: "./tsconfig.json", compilerOptions: { types: ["node"] }, include: [], files }),
        );
        const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
        const run = spawnSync(process.execPath, [tsc, "--project", project], { encoding: "utf8" });
        assert.equal(run.stdout, "");
    });
});
