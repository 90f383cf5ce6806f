/** show-stat.sh: the servers of a backend, whatever the order of haproxy's columns. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { kitFolder } from "../helpers/kit-folder";

type Row = Readonly<Record<string, string | number>>;

const ROWS: readonly Row[] = [
    { pxname: "in", svname: "FRONTEND", status: "OPEN", type: 0 },
    { pxname: "api", svname: "FRONTEND", status: "OPEN", type: 0 },
    { pxname: "api", svname: "master-1", status: "UP", check_status: "L7OK", type: 2 },
    { pxname: "api", svname: "master-2", status: "DOWN 1/2", check_status: "* L4CON", type: 2 },
    { pxname: "api", svname: "master-3", status: "no check", type: 2 },
    { pxname: "api", svname: "BACKEND", status: "UP", type: 1 },
    { pxname: "other", svname: "master-1", status: "DOWN", check_status: "L4TOUT", type: 2 },
];

/** `show stat` with the columns in this order, as haproxy prints it. */
const showStat = (...columns: readonly string[]): string =>
    [`# ${columns.join(",")},`, ...ROWS.map((row) => `${columns.map((name) => row[name] ?? "").join(",")},`), ""].join(
        "\n",
    );

const run = (commands: string, input: string): string =>
    spawnSync("sh", ["-c", `. ${join(kitFolder(), "show-stat.sh")}; ${commands}`], { input, encoding: "utf8" }).stdout;

describe("show-stat.sh", () => {
    for (const columns of [
        ["pxname", "svname", "scur", "status", "check_status", "type"],
        ["type", "weight", "check_status", "status", "pxname", "svname"],
    ])
        it(`finds the servers of a backend by the names of the columns: ${columns.join(" ")}`, () => {
            assert.equal(
                run("servers_of api", showStat(...columns)),
                "master-1,UP,L7OK\nmaster-2,DOWN 1/2,* L4CON\nmaster-3,no check,\n",
            );
        });

    it("has no server when haproxy does not answer", () => {
        assert.equal(run("servers_of api", ""), "");
    });

    it("names those that are up", () => {
        const stat = showStat("pxname", "svname", "type", "status", "check_status");
        assert.equal(
            run('timeout() { cat >/dev/null; echo "$STAT"; }; STAT=$(cat); local_servers_up api', stat),
            "master-1\n",
        );
    });
});
