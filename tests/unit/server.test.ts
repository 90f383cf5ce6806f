/** Decisions of server.sh in moments that a running lab seldom has: nobody answers, a member that was let go, a token half way. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const components = join(__dirname, "../../components");
/** The script without what it does when it is called. */
const [functions] = readFileSync(join(components, "k3s/server.sh"), "utf8").split("\ncommand=${1-}");

interface Run {
    readonly code: number | null;
    readonly text: string;
}

/** Runs commands with the functions of server.sh; paths lead to a folder of this run, `files` lie in it. */
async function shell(commands: string, files: Readonly<Record<string, string>> = {}): Promise<Run> {
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-server-"));
    for (const [name, text] of Object.entries({ "work/members": "", "secrets/server-token": "new\n", ...files })) {
        mkdirSync(dirname(join(folder, name)), { recursive: true });
        writeFileSync(join(folder, name), text);
    }
    const own = functions!.replace(/^\. .*$/gm, "");
    const script = `. ${components}/host/lib.sh
ROLE=server UNIT=k3s-ha-test-of-server.service
. ${components}/k3s/k3s-lib.sh; . ${components}/k3s/snapshot-lib.sh
${own}
WORK=${folder}/work STATE=${folder} SECRETS=${folder}/secrets DATA=${folder}/data CONF=${folder}/etc MEMBERSHIP=${folder}/etc/membership
STARTED=${folder}/started NODE=master-1 STEP=server BIN=/bin/true
# Waiting is no part of these tests.
wait_for() { shift; "$@"; }
systemctl() { :; }
${commands}`;
    const child = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "pipe"], timeout: 20_000 });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    rmSync(folder, { recursive: true });
    return { code, text };
}

const listed = (...names: readonly string[]): string =>
    `echo '${JSON.stringify({ members: names.map((name) => ({ name: `${name}-0a1b2c3d` })) })}'`;
const THREE = listed("master-1", "master-2", "master-3");
/** What this master's own API and the other masters list; `false` when they do not answer. */
const lists = (own: string, others: string): string =>
    `kubectl_admin() { case "$*" in *db/info*) ${own} ;; *) echo "kubectl $*" ;; esac; }; supervisor() { ${others}; }`;

describe("server.sh", () => {
    it("an IPv6 address answers as an IPv4 one does", async () => {
        for (const address of ["127.0.0.1", "::1"]) {
            const server = createServer();
            await new Promise<void>((resolve) => server.listen(0, address, resolve));
            const { port } = server.address() as AddressInfo;
            // The ports are k3s's own; here one of them is another.
            const ask = `socat() { command socat "$1" "$2" "$(echo "$3" | sed 's/:6443,/:${port},/')"; }; timeout() { shift; "$@"; }`;
            assert.match(
                (await shell(`${ask}\nif answers ${address}; then echo yes; else echo no; fi`)).text,
                /^yes$/m,
            );
            server.close();
        }
    });

    const restart = (own: string, others: string, up: string): Promise<Run> =>
        shell(
            `${lists(own, others)}; will_restart() { :; }; masters_up() { printf '%s\n' ${up}; }; wait_for_the_others; echo restarts`,
        );

    it("is not restarted while another master is away, also when its own API says nothing at that moment", async () => {
        for (const own of [THREE, "false"]) {
            const { code, text } = await restart(own, THREE, "master-1 master-2");
            assert.equal(code, 1);
            assert.match(text, /only 1 of the other 2 masters are up .* take the majority/);
            assert.match((await restart(own, THREE, "master-1 master-2 master-3")).text, /^restarts$/m);
        }
    });

    it("is restarted when nobody tells of members: there is no majority to be lost", async () => {
        assert.match((await restart("false", "return 7", "master-1")).text, /^restarts$/m);
    });

    // The unit's folder is not made, so its drop-in is not written.
    const leaves = (own: string, others: string): Promise<Run> =>
        shell(
            `${lists(own, others)}; has_etcd_data() { :; }; folder() { :; }; sh() { :; }; hand_over_leadership() { :; }; gone() { :; }
timeout() { shift 2; echo "kubectl $*"; }
leave || true`,
            { "etc/k3s.yaml": "x", "etc/membership": '"server": "https://127.0.0.1:16443"\n', "etc/config.yaml": "" },
        );

    it("leaves etcd before it is uninstalled, also when its own API does not answer", async () => {
        assert.match((await leaves(THREE, THREE)).text, /k3s\.yaml delete node master-1/);
        assert.match((await leaves("false", THREE)).text, /--server https:\/\/127\.0\.0\.1:16443 delete node master-1/);
        assert.doesNotMatch((await leaves("false", listed("master-2", "master-3"))).text, /delete node/);
        assert.doesNotMatch((await leaves("false", "return 7")).text, /delete node/);
        assert.doesNotMatch((await leaves(listed("master-1"), THREE)).text, /delete node/);
    });

    it("joins a cluster that another master has data of where its CA is known, and never founds one beside it", async () => {
        const decide = (caHash: string): Promise<Run> =>
            shell(`was_removed() { return 1; }; has_etcd_data() { return 1; }; has_sqlite_data() { return 1; }; command=found ca_hash=${caHash}
others=master-2@10.0.0.2=0011; : >"$WORK/answering"; decide_membership; echo "$mode"`);
        assert.match((await decide("ab")).text, /^join$/m);
        const { code, text } = await decide("");
        assert.equal(code, 1);
        assert.match(text, /master-2 holds etcd data \(cluster 0011\)/);
    });

    it("a changed server token counts as started only when k3s was", async () => {
        const { text } = await shell(
            `setting() { echo no; }; start_digest() { echo now; }; RESTART=0
rotate_token; echo "first $RESTART"; RESTART=0; note_missed_restart; echo "next $RESTART"`,
            { "etc/token": "old\n", started: "now\n" },
        );
        assert.match(text, /^first 1\nnext 1$/m);
    });

    it("one that was let go says so, and joins anew when its rebuilt is raised", async () => {
        const removed = `was_removed() { :; }; has_etcd_data() { return 1; }; has_sqlite_data() { return 1; }; ca_hash=x command=apply`;
        const kept = await shell(`${removed}; setting() { echo 0; }; decide_membership`);
        assert.equal(kept.code, 1);
        assert.match(kept.text, /was removed from the cluster[^]*next: raise nodes\[\]\.rebuilt of master-1/);
        const raised = await shell(`${removed}; rm() { :; }; setting() { echo 1; }; decide_membership; echo "$mode"`);
        assert.match(raised.text, /^join$/m);
    });
});
