/** Tests of settings that the preview refuses. */
import assert from "node:assert/strict";
import { mistakes } from "./settings";

/** What is wrong, settings that have it, and what a line of the error must match. */
export type Refusal = readonly [what: string, settings: object, told: RegExp];

/** One test for each. */
export function refusesEach(refusals: readonly Refusal[]): void {
    for (const [what, settings, told] of refusals)
        it(`refuses ${what}`, () => {
            const lines = mistakes(settings);
            assert.ok(
                lines.some((line) => told.test(line)),
                `no line matches ${String(told)} in:\n${lines.join("\n")}`,
            );
        });
}
