/** The lab's provider for Kubernetes beside the official one, whose latest served module is of 2026-01-15: lab/pulumi/official. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";

describe("kubernetes: the lab's provider and the official one of 2026-01-15", function () {
    // The official one takes 10 to 20 minutes to build, once.
    this.timeout(3_600_000);

    it("give the same answers, call by call", () => {
        const script = join(__dirname, "../../lab/pulumi/official/compare.sh");
        const run = spawnSync(script, { encoding: "utf8", maxBuffer: 1 << 28 });
        const said = `${run.stdout}\n${run.stderr}`;
        assert.equal(run.status, 0, said.slice(-20_000));
        // Every call that was compared is a line of its own.
        assert.ok((said.match(/: the same$/gm) ?? []).length > 30, said.slice(-20_000));
    });
});
