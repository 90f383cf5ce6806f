/** The floors of the tree: who imports whom (FLOORS in eslint.config.mjs), and that no files import each other in a circle. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { ESLint } from "eslint";

const ROOT = join(__dirname, "../..");

/** Every TypeScript file below a folder. */
function filesIn(folder: string): string[] {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
        const path = join(folder, entry.name);
        return entry.isDirectory() ? filesIn(path) : path.endsWith(".ts") ? [path] : [];
    });
}

/** The files of this tree that a file imports, types included. */
function importsOf(file: string): string[] {
    return [...readFileSync(file, "utf8").matchAll(/(?:\bfrom |\bimport\()"(\.[^"]*)"/g)].map((m) => {
        const path = join(dirname(file), m[1] as string);
        const found = [`${path}.ts`, join(path, "index.ts")].find(existsSync);
        assert.ok(found, `${relative(ROOT, file)} imports ${m[1]}, which is not there`);
        return found;
    });
}

/** A circle among imports, as the files that it leads through; empty when there is none. */
function circle(imports: ReadonlyMap<string, readonly string[]>): string[] {
    const done = new Set<string>();
    const walk = (file: string, path: readonly string[]): string[] => {
        if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
        if (done.has(file)) return [];
        for (const next of imports.get(file) ?? []) {
            const found = walk(next, [...path, file]);
            if (found.length > 0) return found;
        }
        done.add(file);
        return [];
    };
    for (const file of imports.keys()) {
        const found = walk(file, []);
        if (found.length > 0) return found;
    }
    return [];
}

describe("floors", () => {
    it("have no circle of imports", () => {
        const files = [
            join(ROOT, "index.ts"),
            ...["components", "commands"].flatMap((part) => filesIn(join(ROOT, part))),
        ];
        const imports = new Map(files.map((file) => [file, importsOf(file)]));
        assert.ok([...imports.values()].flat().length > 100);
        assert.deepEqual(
            circle(imports).map((file) => relative(ROOT, file)),
            [],
        );
    });

    it("would tell a circle", () => {
        const imports = { a: ["b", "c"], b: ["d"], c: ["d", "e"], d: [], e: ["f"], f: ["c"] };
        assert.deepEqual(circle(new Map(Object.entries(imports))), ["c", "e", "f", "c"]);
    });

    it("end in eslint when a file reaches up, or does what its floor does not", async () => {
        const eslint = new ESLint({ cwd: ROOT });
        const told = async (file: string, line: string): Promise<string[]> => {
            const [result] = await eslint.lintText(`${line}\n`, { filePath: join(ROOT, "components", file) });
            return (result?.messages ?? [])
                .filter((m) => m.ruleId?.endsWith("no-restricted-imports"))
                .map((m) => m.message);
        };
        const wrong: readonly (readonly [string, string])[] = [
            ["values/new.ts", 'export * from "../haproxy";'],
            ["haproxy/new.ts", 'export * from "../settings";'],
            ["haproxy/new.ts", 'export * from "../model/networks";'],
            ["haproxy/new.ts", 'export * from "node:fs";'],
            ["settings/new.ts", 'export type { ClusterSpec } from "../model/cluster";'],
            ["model/new.ts", 'export * from "../config/problems";'],
            ["model/new.ts", 'export * from "zod";'],
            ["model/new.ts", 'export * from "@pulumi/pulumi";'],
            ["model/new.ts", 'export * from "node:fs";'],
            ["config/new.ts", 'export type { Bundle } from "../remote/bundle";'],
            ["config/checks/new.ts", 'export * from "../../steps/haproxy";'],
            ["remote/new.ts", 'export * from "../config/problems";'],
            ["remote/new.ts", 'export * from "../../commands/outside";'],
            ["secrets.ts", 'export * from "./remote/kit";'],
            ["steps/new.ts", 'export * from "../config/check";'],
            ["steps/new.ts", 'export * from "../hooks";'],
            ["steps/new.ts", 'export * from "../haproxy";'],
            ["hooks/new.ts", 'export * from "../steps/server";'],
            ["cluster.ts", 'export * from "./remote/node-command";'],
        ];
        for (const [file, line] of wrong) assert.equal((await told(file, line)).length, 1, `${file}: ${line}`);
        const right: readonly (readonly [string, string])[] = [
            ["haproxy/new.ts", 'export * from "./render";'],
            ["model/new.ts", 'export type { Input } from "@pulumi/pulumi";'],
            ["haproxy/new.ts", 'export * from "../values/forms";'],
            ["settings/new.ts", 'export * from "../haproxy";'],
            ["model/new.ts", 'export type { OpenSettings } from "../settings";'],
            ["model/new.ts", 'export * from "../haproxy";'],
            ["config/checks/new.ts", 'export * from "../problems";'],
            ["config/checks/new.ts", 'export * from "../../model/networks";'],
            ["steps/new.ts", 'export * from "../secrets";'],
            ["hooks/new.ts", 'export * from "../config/transition";'],
            ["cluster.ts", 'export * from "./steps/server";'],
        ];
        for (const [file, line] of right) assert.deepEqual(await told(file, line), [], `${file}: ${line}`);
    });
});
