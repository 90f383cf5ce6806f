import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CLUSTER_STEPS, stepsOf } from "../../../components/model/steps";
import { kitFolder } from "../helpers/kit-folder";

const ROOT = join(__dirname, "../../..");
const STATES = join(ROOT, "tests/integration/states");
const names = [...new Set([...stepsOf({ role: "server" }), ...stepsOf({ role: "agent" }), ...CLUSTER_STEPS])];

describe("steps", () => {
    it("have one name: file, script, row in docs/architecture.md", () => {
        const rows = readFileSync(join(ROOT, "docs/architecture.md"), "utf8")
            .split("\n")
            .map((line) => line.split("|").map((cell) => cell.trim()))
            .flatMap((cells) => (cells[1] ?? "").split(", "));
        for (const name of names) {
            assert.ok(rows.includes(name), `docs/architecture.md has no row of ${name}`);
            // The kit is copied, not run.
            if (name === "kit") continue;
            assert.ok(existsSync(join(kitFolder(), `${name}.sh`)), `there is no script ${name}.sh`);
            assert.ok(existsSync(join(ROOT, `components/steps/${name}.ts`)), `there is no ${name}.ts`);
        }
    });

    it("of older states have removals whose scripts are there and know the word", () => {
        const removals = new Set<string>();
        for (const file of readdirSync(STATES).filter((name) => name.endsWith(".json")))
            for (const [, script, word] of readFileSync(join(STATES, file), "utf8").matchAll(
                /\/usr\/local\/lib\/k3s-ha\/([a-z0-9-]+\.sh) (remove|settle|unfence|delete)\b/g,
            ))
                removals.add(`${script} ${word}`);
        assert.ok(removals.size >= 3, [...removals].join(", "));
        for (const removal of removals) {
            const [script, word] = removal.split(" ") as [string, string];
            const path = join(kitFolder(), script);
            assert.ok(existsSync(path), `a state of before deletes by ${removal}, and there is no such script`);
            assert.match(readFileSync(path, "utf8"), new RegExp(`\\b${word}\\)`), removal);
        }
    });
});
