/** nodes.sh: a Node that leaves, in moments that a running lab seldom has. */
import assert from "node:assert/strict";
import { stepShell, type Run } from "../helpers/step-shell";

const shell = stepShell("nodes.sh");

/** Lets agent-9, which was a member and is none, leave. `there`: whether its Node is, when the drain has failed. */
const leave = (drain: string, there: string): Promise<Run> =>
    shell(
        `timeout() { ${drain}; }; no_node() { ${there}; }; delete_node() { echo "$1 deleted"; }; leaving; echo over`,
        { "work/nodes": "agent-9|true||||True|,\n", "work/members-wanted": "agent-1 agent\n" },
    );

describe("nodes.sh", () => {
    it("drains and deletes a Node that leaves", async () => {
        assert.match((await leave("true", "return 1")).text, /^agent-9 deleted\nnodes: agent-9 drained\nover$/m);
    });

    it("says why its pods do not leave, and keeps the Node", async () => {
        const { code, text } = await leave("echo 'cannot evict pod'; false", "return 1");
        assert.equal(code, 1);
        assert.match(text, /the pods of agent-9 did not leave it within 300 s: cannot evict pod/);
        assert.doesNotMatch(text, /deleted/);
    });

    it("goes on when somebody has deleted the Node meanwhile", async () => {
        assert.match((await leave("echo 'not found'; false", "return 0")).text, /^over$/m);
    });
});
