import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Path of a file that holds what is expected. */
export const goldenPath = (name: string) => join(__dirname, "../golden", name);

/** Compares a text line by line with a golden file. UPDATE_GOLDEN=1 writes the file instead; look at its diff then. */
export function assertGolden(actual: string, name: string): void {
    if (process.env.UPDATE_GOLDEN) writeFileSync(goldenPath(name), actual);
    assert.deepEqual(actual.split("\n"), readFileSync(goldenPath(name), "utf8").split("\n"));
}
