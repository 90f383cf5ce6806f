/** npm run status: how the cluster is, as a user asks it. */
import assert from "node:assert/strict";
import { HOSTS, kubectl, lab, mainCluster, mainStack, on, whole } from "./support";

interface Status {
    readonly nodes: readonly {
        readonly name: string;
        readonly sees: readonly { readonly server: string; readonly status: string }[];
        readonly etcd?: { readonly id: string; readonly leader?: string };
        readonly certificate?: { readonly ends: string };
    }[];
    readonly findings: readonly { readonly about: string; readonly severity: string; readonly what: string }[];
}

function status(...args: string[]): { code: number | null; stdout: string; stderr: string } {
    const run = lab(["exec", "--", "npm", "run", "--silent", "status", "--", "--stack", mainStack().name, ...args], {
        check: false,
    });
    return { code: run.status, stdout: run.stdout, stderr: run.stderr };
}

describe("status: how the cluster is", function () {
    this.timeout(300_000);
    before(mainCluster);

    it("all is well", () => {
        const { code, stdout, stderr } = status();
        assert.equal(code, 0, stdout + stderr);
        assert.match(stdout, /^all is well$/m);
        for (const host of HOSTS) assert.match(stdout, new RegExp(`^${host} .*active .*3 of 3 .*Ready`, "m"));
        for (const line of stdout.split("\n")) assert.ok(line.length <= 100, line);
        const { nodes } = JSON.parse(status("--json").stdout) as Status;
        assert.equal(nodes.filter((n) => n.etcd !== undefined && n.etcd.id === n.etcd.leader).length, 1, "one leader");
        for (const { name, sees, certificate } of nodes) {
            assert.deepEqual(
                sees.map((s) => s.status),
                ["UP", "UP", "UP"],
                name,
            );
            assert.ok(Date.parse(certificate?.ends ?? "") > Date.now(), name);
        }
    });

    it("a stopped server, a stopped proxy and a cordoned Node are found, and the exit code says so", async () => {
        on("master-3", "systemctl stop k3s");
        on("agent-1", "systemctl stop haproxy");
        kubectl(["cordon", "agent-2"]);
        const { code, stdout } = status("--json");
        const found = (JSON.parse(stdout) as Status).findings.map((f) => `${f.severity} ${f.about}: ${f.what}`);
        on("master-3", "systemctl start k3s");
        on("agent-1", "systemctl start haproxy");
        kubectl(["uncordon", "agent-2"]);
        assert.equal(code, 2, stdout);
        for (const expected of [
            /^critical cluster: 2 of 3 voters follow a leader: the loss of one more ends the API$/,
            /^warning master-3: k3s is (inactive|failed)$/,
            /^warning master-3: no proxy has it up \(/,
            /^warning agent-1: haproxy is inactive$/,
            /^warning agent-2: its Node is cordoned/,
        ])
            assert.ok(
                found.some((line) => expected.test(line)),
                `${expected}:\n${found.join("\n")}`,
            );
        await whole();
        assert.equal(status().code, 0);
    });

    it("says what is wrong with its arguments", () => {
        const none = lab(["exec", "--", "npm", "run", "--silent", "status"], { check: false });
        assert.equal(none.status, 1);
        assert.match(none.stderr, /^error: which stack\? npm run status -- --stack NAME/m);
        assert.match(status("--every", "0").stderr, /^error: --every: 0 must be a number of seconds, 1 or more$/m);
    });
});
