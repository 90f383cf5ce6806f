/** npm run status: what hosts say, what needs care, and the table. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseHostStatus, type HostStatus } from "../../../commands/status/host-status";
import { findings } from "../../../commands/status/findings";
import { page } from "../../../commands/status/html";
import { duration, table } from "../../../commands/status/table";
import { NOW, SEES, answers, down, host, seconds, status } from "../helpers/host-answers";
import { node, spec } from "../helpers/settings";

const of = (more: Readonly<Record<string, readonly string[] | string>>): string[] =>
    findings(spec(), answers(more), "prod", NOW).map((f) => `${f.severity} ${f.about}: ${f.what}`);

describe("status", () => {
    it("reads what a host says", () => {
        const facts = parseHostStatus(
            host("master-1", ["sees m NOLB * - 7 4", "unknown drift no kit", "drift haproxy: x y"]),
        );
        assert.deepEqual(facts.sees, [{ server: "m", status: "NOLB", check: "", code: undefined, ms: 7, seconds: 4 }]);
        assert.deepEqual(facts.proxy, { state: "active", seconds: 600, restarts: 0 });
        assert.deepEqual(facts.etcd, {
            id: "11",
            leader: "11",
            learner: false,
            size: 20 * 1024 ** 2,
            quota: 2 * 1024 ** 3,
            errors: [],
        });
        assert.equal(facts.members?.[2]?.name, "master-3");
        assert.deepEqual(facts.snapshot, {
            taken: "2026-11-30T00:00:05.000Z",
            file: "/var/lib/rancher/k3s/server/db/snapshots/a b",
        });
        assert.deepEqual([facts.drift, facts.unknown], [["haproxy: x y"], { drift: "no kit" }]);
    });

    it("the server's state in words of haproxy, and a check that is under way", () => {
        const script = ["components/scripts/show-stat.sh", "commands/status/on-host.sh"].map((path) =>
            readFileSync(join(__dirname, "../../..", path), "utf8"),
        );
        const sees = /^sees\(\) \{[^]*?^\}/m.exec(script[1] as string)?.[0];
        const stat = `# pxname,svname,status,type,check_status,check_code,check_duration,lastchg
be,FRONTEND,OPEN,0,,,,
be,m-1,UP,2,L7OK,200,3,60
be,m-2,DOWN 1/2,2,* L4TOUT,,,5
be,BACKEND,UP,1,,,,
`;
        const lines = execFileSync("sh", ["-c", `${script[0]}\n${sees}\nlocal_stat() { cat; }; BACKEND=be; sees`], {
            input: stat,
            encoding: "utf8",
        });
        assert.deepEqual(parseHostStatus(`${lines}end\n`).sees, [
            { server: "m-1", status: "UP", check: "L7OK", code: 200, ms: 3, seconds: 60 },
            { server: "m-2", status: "DOWN 1/2", check: "L4TOUT", code: undefined, ms: undefined, seconds: 5 },
        ]);
    });

    it("takes no half answer, and no line that it does not know", () => {
        assert.throws(() => parseHostStatus("proxy active 1 0\n"), /not whole/);
        assert.throws(() => parseHostStatus("wat 1\nend\n"), /no fact: "wat 1"/);
    });

    it("finds nothing where all is well", () => assert.deepEqual(of({}), []));

    const cases: readonly (readonly [
        what: string,
        more: Readonly<Record<string, readonly string[] | string>>,
        found: RegExp[],
    ])[] = [
        [
            "a host that does not answer",
            { "agent-1": "no route to host" },
            [/^warning agent-1: could not be asked: no route to host$/],
        ],
        [
            "a stopped proxy",
            { "agent-1": ["proxy inactive 5 0", "drift haproxy: haproxy.service is inactive"] },
            [/^warning agent-1: haproxy is inactive$/],
        ],
        ["a stopped k3s", { "agent-1": ["k3s failed 5 3"] }, [/^warning agent-1: k3s is failed$/]],
        [
            "an API that is not ready",
            { "master-2": ["unknown ready etcd failed"] },
            [/^warning master-2: the API is not ready: etcd failed$/],
        ],
        [
            "another release",
            { "agent-2": ["version v1.30.1+k3s1"] },
            [/^warning agent-2: runs v1\.30\.1\+k3s1, the stack file has /],
        ],
        [
            "a server that one proxy does not have up",
            { "agent-1": down("master-2") },
            [/^warning master-2: agent-1 does not have it up \(DOWN, L4TOUT\)$/],
        ],
        [
            "a server that no proxy has up",
            Object.fromEntries(spec().nodes.map((n) => [n.name, down("master-2")])),
            [/^warning master-2: no proxy has it up \(DOWN, L4TOUT\)$/],
        ],
        [
            "a proxy without any server",
            { "agent-1": SEES.map((line) => line.replace("UP L7OK 200", "DOWN L4CON -")) },
            [
                /^critical agent-1: its proxy has no server up$/,
                /^warning master-1/,
                /^warning master-2/,
                /^warning master-3/,
            ],
        ],
        [
            "one voter of three that is away",
            { "master-3": "timed out" },
            [
                /^critical cluster: 2 of 3 voters follow a leader: the loss of one more ends the API$/,
                /^warning master-3: could not be asked/,
            ],
        ],
        [
            "a majority that is away",
            { "master-2": "timed out", "master-3": [`etcd ${status("13", { leader: "0" })}`] },
            [
                /^critical master-3: its etcd has no leader$/,
                /^critical cluster: 1 of 3 voters follow a leader, a majority is 2$/,
                /^warning master-2/,
            ],
        ],
        [
            "a learner, and a member that nobody knows",
            {
                "master-1": [
                    `members ${JSON.stringify({
                        members: [
                            { ID: "11", name: "master-1-0123abcd" },
                            { ID: "12", name: "master-2-0123abcd" },
                            { ID: "13", name: "master-3-0123abcd", isLearner: true },
                            { ID: "19", name: "old-0123abcd", isLearner: true },
                        ],
                    })}`,
                ],
            },
            [/^warning master-3: is a learner of etcd/, /^warning cluster: etcd has a member old that/],
        ],
        [
            "an alarm and a large database",
            { "master-1": [`etcd ${status("11", { dbSize: "1900000000", errors: ["memberID:11 alarm:NOSPACE"] })}`] },
            [
                /^critical master-1: etcd reports memberID:11 alarm:NOSPACE$/,
                /^warning master-1: etcd's database has 1812 MiB of 2048 MiB$/,
            ],
        ],
        [
            "certificates that end",
            {
                "agent-1": [`certificate ${seconds("2027-01-10T00:00:00Z")} /a.crt`],
                "agent-2": [`certificate ${seconds("2026-12-01T00:00:00Z")} /b.crt`],
            },
            [/^critical agent-2: \/b\.crt ends on 2026-12-01$/, /^warning agent-1: \/a\.crt ends on 2027-01-10$/],
        ],
        [
            "old snapshots, and a bucket that cannot be read",
            { "master-1": [`snapshot ${seconds("2026-11-28T00:00:00Z")} /s`, "unknown bucket AccessDenied"] },
            [
                /^warning master-1: its newest snapshot is of 2026-11-28/,
                /^warning cluster: the bucket .* AccessDenied$/,
            ],
        ],
        [
            "Nodes: not Ready, cordoned, missing, unknown",
            {
                "master-1": [
                    "node master-1 True v yes",
                    "node master-2 Unknown v no",
                    "node master-3 True v no",
                    "node agent-1 True v no",
                    "node old True v no",
                ],
            },
            [
                /^warning master-1: its Node is cordoned/,
                /^warning master-2: its Node is not Ready$/,
                /^warning agent-2: has no Node$/,
                /^warning cluster: there is a Node old that/,
            ],
        ],
        [
            "drift",
            { "agent-1": ["drift haproxy: x was changed"] },
            [/^warning agent-1: differs from the stack: haproxy: x was changed$/],
        ],
        [
            "drift that is not known",
            { "agent-1": ["unknown drift sh: 1"] },
            [/^warning agent-1: drift is not known: sh: 1$/],
        ],
    ];
    for (const [what, more, expected] of cases)
        it(`finds ${what}, and says what to do`, () => {
            const found = of(more);
            assert.equal(found.length, expected.length, found.join("\n"));
            for (const pattern of expected)
                assert.ok(
                    found.some((line) => pattern.test(line)),
                    `${pattern}: ${found.join("\n")}`,
                );
            for (const { next } of findings(spec(), answers(more), "prod", NOW)) assert.ok(next.length > 10, next);
            const firstWarning = found.findIndex((line) => line.startsWith("warning"));
            assert.ok(
                !found.slice(firstWarning).some((line) => firstWarning >= 0 && line.startsWith("critical")),
                "critical first",
            );
        });

    it("a schedule of one's own may be as rare as it likes", () => {
        const rare = spec({ snapshots: { schedule: "0 0 * * 0" } });
        const old = answers({ "master-1": [`snapshot ${seconds("2026-11-25T00:00:00Z")} /s`] });
        assert.deepEqual(findings(rare, old, "prod", NOW), []);
    });

    it("prints a table that fits 100 columns, in colour only where there is a terminal", () => {
        const long = "a-name-of-a-node-that-is-as-long-as-dns-allows-it-in-one-label";
        const s = spec({
            nodes: [...spec().nodes.map((n) => node(n.name, n.role, n.address)), node(long, "agent", "10.90.0.99")],
        });
        const all = answers({ [long]: "timed out" }, s);
        const found = findings(s, all, "prod", NOW);
        const plain = table(s, all, found, NOW, (text) => text);
        for (const line of plain.filter((l) => !/^ {2}next: /.test(l) && !l.includes(long)))
            assert.ok(line.length <= 100, line);
        assert.match(plain.join("\n"), /^master-1 +server +up +active +active +3 of 3 +3-3 ms +Ready +same$/m);
        assert.match(plain.join("\n"), /^master-1 +ready +leader +20 MiB +11 h ago +363 days left$/m);
        const painted = table(s, all, found, NOW, (text, colour) => `<${colour}>${text}`).join("\n");
        assert.match(painted, /^<yellow>warning /m);
        assert.match(
            table(spec(), answers(), [], NOW, (text, colour) => `<${colour}>${text}`).at(-1) as string,
            /^<green>all is well$/,
        );
    });

    it("says durations as people do", () => {
        assert.deepEqual([5, 119, 125, 7199, 7200, 90000, 200000].map(duration), [
            "5 s",
            "119 s",
            "2 min",
            "119 min",
            "2 h",
            "25 h",
            "2 d",
        ]);
    });

    it("what is not read stays out", () => {
        const facts: HostStatus = parseHostStatus("end\n");
        assert.deepEqual(facts, { sees: [], drift: [], unknown: {} });
    });

    it("makes a page that needs nothing else, with every node, server and finding in words", () => {
        const all = answers({ "agent-1": down("master-2"), "agent-2": "<script>alert(1)</script>" });
        const html = page(spec(), all, findings(spec(), all, "prod", NOW), NOW);
        assert.doesNotMatch(html, /<script|https?:|src=|href=|@import|url\(/);
        assert.match(html, /could not be asked: &#60;script&#62;alert\(1\)/);
        assert.match(
            html,
            /<th scope="row">agent-1<\/th><td>[^]*?✓<\/span> up 3 ms[^]*?✕<\/span> DOWN, L4TOUT for 60 s/,
        );
        assert.match(
            html,
            /<th scope="row">master-1<\/th><td>[^\n]*ready[^\n]*leader[^\n]*20 MiB of 2048 MiB[^\n]*363 days left/,
        );
        assert.match(html, /<title>dev: 2 need care<\/title>/);
        // No state is told by its colour alone.
        for (const [, inner = ""] of html.matchAll(/<span class="(?:good|care|bad)">(.*?<\/span>[^<]*)<\/span>/g))
            assert.match(inner, /^<span aria-hidden="true">[✓▲✕]<\/span> \S/);
        assert.match(page(spec(), answers(), [], NOW), /all is well/);
    });
});
