import assert from "node:assert/strict";
import { care, full, order, parseSpace, told, unfit } from "../../../commands/etcd-space/plan";

/** As etcd's gateway answers: numbers of 64 bits are texts, and what is 0 or false is absent. */
const status = (id: string, leader: string, size: number, errors?: string[]): string =>
    JSON.stringify({
        header: { cluster_id: "1", member_id: id, revision: "10" },
        dbSize: String(size),
        dbSizeQuota: String(16 << 20),
        leader,
        ...(errors ? { errors } : {}),
    });
const NOSPACE = ["memberID:1 alarm:NOSPACE "];

describe("etcd-space", () => {
    const before = [
        parseSpace("a", status("1", "1", 15 << 20, NOSPACE)),
        parseSpace("b", `${status("2", "1", 16 << 20)}\n`),
        parseSpace("c", status("3", "1", 15 << 20)),
    ];

    it("defragments the leader last", () => assert.deepEqual(order(before), ["b", "c", "a"]));

    it("knows a member that is full by its alarm", () => {
        assert.ok(full(before));
        assert.ok(!full(before.slice(1)));
    });

    it("tells each member's size before and after", () => {
        const after = [parseSpace("a", status("1", "2", 3 << 20))];
        assert.deepEqual(told(before, after), ["a: 15.0 MiB → 3.0 MiB of 16.0 MiB"]);
        assert.deepEqual(care(after), []);
    });

    it("says what still needs care", () => {
        assert.match(care(before).join("\n"), /NOSPACE is still there[^]*a, b, c: more than 80 %/);
    });

    it("waits for nobody: a learner, or a member without a leader, stops it", () => {
        assert.equal(unfit(before), undefined);
        assert.match(unfit([...before, parseSpace("d", status("4", "0", 1))]) ?? "", /^d: its etcd has no leader/);
        const learner = JSON.stringify({ ...(JSON.parse(status("4", "1", 1)) as object), isLearner: true });
        assert.match(unfit([parseSpace("d", learner)]) ?? "", /^d: its etcd is a learner/);
    });

    it("refuses what is no status", () => assert.throws(() => parseSpace("a", "no answer")));
});
