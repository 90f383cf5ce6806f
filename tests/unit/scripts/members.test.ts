/** members.sh: a Node that leaves, in moments that a running lab seldom has. */
import assert from "node:assert/strict";
import { stepShell, type Run } from "../helpers/step-shell";

const shell = stepShell("members.sh");

/** Lets agent-9, which was a member and is none, leave. `there`: whether its Node is, when the drain has failed. */
const leave = (drain: string, there: string): Promise<Run> =>
    shell(
        `timeout() { ${drain}; }; no_node() { ${there}; }; delete_node() { echo "$1 deleted"; }; leaving; echo over`,
        { "work/nodes": "agent-9|true||||True|,\n", "work/members-wanted": "agent-1 agent\n" },
    );

describe("members.sh", () => {
    it("drains and deletes a Node that leaves", async () => {
        assert.match((await leave("true", "return 1")).text, /^agent-9 deleted\nmembers: agent-9 drained\nover$/m);
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

    /** What kubectl is called with to bring the labels of agent-1 and the taints of master-1 to what the stack file has. */
    const marks = async (wanted: string): Promise<string> => {
        const nodes =
            "agent-1|true|a=1,b=2,c=3||||,a=1,b=2,c=3,\nmaster-1|true||x=1:NoSchedule,y:NoExecute|server|True|,x=1:NoSchedule,y:NoExecute,\n";
        const { text } = await shell(
            `setting() { [ "$1" != label ] || echo "${wanted}"; [ "$1" != taint ] || echo "master-1 y:NoSchedule"; }
kube() { echo "kubectl $*" >&2; }; mark label 3; mark taint 4`,
            { "work/nodes": nodes, "work/members-wanted": "agent-1 agent\nmaster-1 server\n" },
        );
        return text;
    };

    it("sets labels and taints that differ, and removes its own that are no longer wanted", async () => {
        const text = await marks("agent-1 a=1\nagent-1 b=3");
        assert.match(
            text,
            /^kubectl label node agent-1 c-\nkubectl annotate node agent-1 --overwrite k3s-ha\/labels=a=1,b=3\n/m,
        );
        assert.match(text, /^members: labels of agent-1: a=1,b=3$/m);
        assert.match(text, /^kubectl taint node master-1 x:NoSchedule-\nkubectl taint node master-1 y:NoExecute-\n/m);
    });

    it("leaves labels alone that are as they should be", async () => {
        assert.doesNotMatch(await marks("agent-1 a=1\nagent-1 b=2\nagent-1 c=3"), /label/);
    });
});
