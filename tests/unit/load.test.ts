/** load/: sources compiled once and never stale, and modules that are loaded when somebody looks into them. */
import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
    cpSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    rmSync,
    statSync,
    symlinkSync,
    utimesSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(__dirname, "../..");

describe("load", function () {
    // Each of its programs is a process of its own.
    this.timeout(120_000);
    let folder: string;
    const cached = (name: string): string => join(folder, "node_modules/.cache/k3s-ha/typescript", `${name}.js`);
    const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

    beforeEach(() => {
        folder = mkdtempSync(join(tmpdir(), "k3s-ha-load-"));
        cpSync(join(root, "load"), join(folder, "load"), { recursive: true });
        // The folder is the test's own, so that its cache is too; the packages are the project's.
        mkdirSync(join(folder, "node_modules"));
        for (const name of ["@pulumi", "esbuild", "source-map-support", "zod"]) {
            symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
        }
        write("package.json", "{}");
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    function run(file: string): { out: string; err: string; code: number | null } {
        const args = ["--require", "./load/register.cjs", file];
        const r = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
        return { out: r.stdout.trim(), err: r.stderr, code: r.status };
    }

    it("runs an edited source anew, also one of the same size and time", () => {
        write("part.ts", `export const said: string = "one";\n`);
        write("main.ts", `import { said } from "./part";\nconsole.log(said);\n`);
        assert.equal(run("main.ts").out, "one");
        assert.ok(existsSync(cached("part.ts")));
        const { atime, mtime, size } = statSync(join(folder, "part.ts"));
        write("part.ts", `export const said: string = "two";\n`);
        utimesSync(join(folder, "part.ts"), atime, mtime);
        assert.equal(statSync(join(folder, "part.ts")).size, size);
        assert.equal(run("main.ts").out, "two");
    });

    it("takes what it compiled before", () => {
        write("main.ts", `console.log("compiled" as string);\n`);
        assert.equal(run("main.ts").out, "compiled");
        // Without a compiler nothing but the kept code can run.
        rmSync(join(folder, "node_modules/esbuild"));
        mkdirSync(join(folder, "node_modules/esbuild"));
        write(
            "node_modules/esbuild/package.json",
            readFileSync(join(root, "node_modules/esbuild/package.json"), "utf8"),
        );
        assert.equal(run("main.ts").out, "compiled");
        write("main.ts", `console.log("edited" as string);\n`);
        assert.notEqual(run("main.ts").code, 0);
    });

    it("maps stack traces of compiled files, and leaves others as they are", () => {
        write("main.ts", `type Long = {\n    of: string;\n};\nconsole.log(new Error("x").stack?.split("\\n")[1]);\n`);
        assert.match(run("main.ts").out, /main\.ts:4:13\)$/);
        // A frame that knows no more than this cannot be looked at any closer.
        write(
            "main.ts",
            `const frame = { getFileName: () => "/sdk.js", toString: () => "sdk" } as NodeJS.CallSite;
            console.log(Error.prepareStackTrace?.(new Error("x"), [frame]));`,
        );
        assert.equal(run("main.ts").out, "Error: x\n    at sdk");
    });

    it("compiles again what was kept and is damaged: cut off, changed or empty", () => {
        write("main.ts", `console.log("whole" as string);\n`);
        run("main.ts");
        const good = readFileSync(cached("main.ts"), "utf8");
        for (const bad of [good.slice(0, -20), good.replace('"whole"', '"wrong"'), ""]) {
            writeFileSync(cached("main.ts"), bad);
            assert.deepEqual(run("main.ts"), { out: "whole", err: "", code: 0 });
            assert.equal(readFileSync(cached("main.ts"), "utf8"), good);
        }
    });

    it("runs where nothing can be kept", () => {
        write("main.ts", `console.log("slowly" as string);\n`);
        // A file where the folder would be: root may write into any folder, whatever its mode.
        write("node_modules/.cache", "");
        assert.deepEqual(run("main.ts"), { out: "slowly", err: "", code: 0 });
    });

    it("names the line of the source in stacks and the place of a syntax error, when compiled and when kept", () => {
        const lines = ["interface A {", "    a: string;", "}", "const a = {} as A;"];
        write("main.ts", [...lines, `throw new Error("here" + a.a);`, ""].join("\n"));
        for (let i = 0; i < 2; i++) assert.match(run("main.ts").err, /main\.ts:5:7\)/);
        write("main.ts", [...lines, "const b: = 1;", ""].join("\n"));
        for (let i = 0; i < 2; i++) assert.match(run("main.ts").err, /main\.ts:5:9: ERROR: /);
    });

    it("names the line of the source under the SDK's own start too", () => {
        write("index.ts", `type A = string;\n\nconst a: A = "here";\nthrow new Error(a);\n`);
        write("main.cjs", `require("source-map-support/register");\nrequire("./index.ts");\n`);
        assert.match(run("main.cjs").err, /index\.ts:4:7\)/);
    });

    it("prints an error of the SDK at once", () => {
        write(
            "main.ts",
            `import { Config } from "@pulumi/pulumi";
import { inspect } from "node:util";
try {
    new Config("k3s-ha").requireObject("nodes");
} catch (error) {
    const start = Date.now();
    console.log(/config\\.js:\\d+/.test(inspect(error, { colors: true })), Date.now() - start < 1000);
}
`,
        );
        assert.equal(run("main.ts").out, "true true");
    });

    it("loads the SDK without what the program does not use, and that when it is asked for", () => {
        write(
            "main.ts",
            `import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
const heavy = ["typescript/lib/typescript.js", "@npmcli/arborist/lib/node.js", "automation/localWorkspace.js", "zod/v4/locales/de.cjs"];
const loaded = () => heavy.filter((end) => Object.keys(require.cache).some((file) => file.endsWith(end)));
console.log(loaded().length, z.string().safeParse(1).error?.issues[0]?.message);
console.log(typeof pulumi.automation.LocalWorkspace.create, "x" in pulumi.provider, typeof z.locales.de);
const by = 2;
pulumi.runtime.serializeFunction((a: number) => a * by).then(
    // All but what follows packages of dynamic providers.
    (f) => console.log(f.text.includes("a * by"), loaded().length),
    (error: unknown) => console.log(error),
);
`,
        );
        const { out, err } = run("main.ts");
        assert.deepEqual(out.split("\n"), [
            "0 Invalid input: expected string, received number",
            "function false function",
            "true 3",
        ]);
        assert.equal(err, "");
    });
});
