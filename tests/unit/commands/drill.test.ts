import assert from "node:assert/strict";
import { obstacles, parseLoss, parseView, type View } from "../../../commands/drill/results";
import { node, spec } from "../helpers/settings";

const MASTERS = ["master-1", "master-2", "master-3"];
const NODES = [...MASTERS, "agent-1", "agent-2"];
const whole = (): Map<string, View | string> =>
    new Map(
        NODES.map((name) => [
            name,
            name.startsWith("agent")
                ? { up: MASTERS, voters: [], ready: [] }
                : { up: MASTERS, unit: "active", voters: MASTERS, ready: [...NODES].sort() },
        ]),
    );
/** The obstacles when a node sees something else. */
const when = (name: string, view: string | Partial<View>): string[] => {
    const views = whole();
    views.set(name, typeof view === "string" ? view : { ...(views.get(name) as View), ...view });
    return obstacles(spec(), views);
};

describe("drill on a real cluster", () => {
    it("finds nothing in the way on a whole cluster", () => assert.deepEqual(obstacles(spec(), whole()), []));

    const cases: readonly (readonly [what: string, node: string, view: string | Partial<View>, found: RegExp])[] = [
        ["a host that does not answer", "agent-1", "Connection timed out", /^agent-1: Connection timed out$/],
        [
            "a proxy that misses a master",
            "agent-2",
            { up: ["master-1", "master-3"] },
            /^agent-2: its proxy sees up master-1, master-3 and not /,
        ],
        ["a stopped master", "master-2", { unit: "inactive" }, /^master-2: k3s is inactive$/],
        [
            "a master that is no voter",
            "master-1",
            { voters: ["master-1", "master-2"] },
            /^master-1: etcd's voters are /,
        ],
        [
            "a Node that is not Ready",
            "master-3",
            { ready: MASTERS },
            /^master-3: Nodes that are not Ready: agent-1, agent-2$/,
        ],
    ];
    for (const [what, name, view, found] of cases)
        it(`does not begin with ${what}`, () => {
            const lines = when(name, view);
            assert.equal(lines.length, 1, lines.join("\n"));
            assert.match(lines[0] ?? "", found);
        });

    it("does not begin with fewer than three masters", () => {
        const one = spec({ nodes: [node("master-1", "server", "10.90.0.11")] });
        const lines = obstacles(
            one,
            new Map([["master-1", { up: ["master-1"], unit: "active", voters: ["master-1"], ready: ["master-1"] }]]),
        );
        assert.match(lines.join("\n"), /^1 servers on etcd: /);
    });

    it("reads what a host sees, and counts what it lost", () => {
        assert.deepEqual(parseView("up b\nup a\nunit active\nready x\nvoter a\n"), {
            up: ["a", "b"],
            unit: "active",
            voters: ["a"],
            ready: ["x"],
        });
        const text =
            "1700000000000 1700000000010 200\n1700000000300 1700000000900 000\n1700000000100 1700000001010 200\n";
        assert.deepEqual(parseLoss(spec(), text), { asked: 3, failed: 1, longestGap: 1000 });
        assert.equal(parseLoss(spec({ readiness: "unauthorized" }), "1700000000000 1700000000010 401\n").failed, 0);
        assert.throws(() => parseLoss(spec(), "sudo: a lecture\n"), /not a measurement/);
    });
});
