/** Decisions of server.sh in moments that a running lab seldom has: nobody answers, a member that was let go, a token half way. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { stepShell, type Run, type Shell } from "../helpers/step-shell";

const step = stepShell("server.sh");
const shell: Shell = (commands, files = {}) =>
    step(commands, { "work/members": "", "secrets/server-token": "new\n", ...files });

const listed = (...names: readonly string[]): string =>
    `echo '${JSON.stringify({ members: names.map((name) => ({ name: `${name}-0a1b2c3d` })) })}'`;
const THREE = listed("master-1", "master-2", "master-3");
/** What this server's own API and the other servers list; `false` when they do not answer. */
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
            `${lists(own, others)}; will_restart() { :; }; servers_up() { printf '%s\n' ${up}; }; wait_for_the_others; echo restarts`,
        );

    it("is not restarted while another server is away, also when its own API says nothing at that moment", async () => {
        for (const own of [THREE, "false"]) {
            const { code, text } = await restart(own, THREE, "master-1 master-2");
            assert.equal(code, 1);
            assert.match(text, /only 1 of the other 2 servers are up .* take the majority/);
            assert.match((await restart(own, THREE, "master-1 master-2 master-3")).text, /^restarts$/m);
        }
    });

    it("is restarted when nobody tells of members: there is no majority to be lost", async () => {
        assert.match((await restart("false", "return 7", "master-1")).text, /^restarts$/m);
    });

    // The unit's folder is not made, so its drop-in is not written.
    const leaves = (own: string, others: string): Promise<Run> =>
        shell(
            `${lists(own, others)}; has_etcd_data() { :; }; make_folder() { :; }; sh() { :; }; hand_over_leadership() { :; }; gone() { :; }
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

    it("joins a cluster that another server has data of where its CA is known, and never founds one beside it", async () => {
        const decide = (caHash: string): Promise<Run> =>
            shell(`was_removed() { return 1; }; has_etcd_data() { return 1; }; has_sqlite_data() { return 1; }; command=found ca_hash=${caHash}
other_servers=master-2@10.0.0.2=0011; : >"$WORK/answering"; decide_membership; echo "$mode"`);
        assert.match((await decide("ab")).text, /^join$/m);
        const { code, text } = await decide("");
        assert.equal(code, 1);
        assert.match(text, /master-2 holds etcd data \(cluster 0011\)/);
    });

    it("a founding that was killed begins again, and what host.files has put beside its data stays", async () => {
        const { text } = await shell(
            `journalctl() { echo 'no bootstrap data found in datastore'; }; was_removed() { return 1; }; may_found() { :; }
command=found ca_hash=""; decide_membership; echo "$mode"; cd $DATA/server && find . -type f | sort`,
            {
                founding: "",
                "data/server/db/etcd/member/snap": "",
                "data/server/tls/server-ca.crt": "",
                "data/server/token": "",
                "data/server/audit.yaml": "",
                "data/server/manifests/own.yaml": "",
            },
        );
        assert.match(text, /^found\n\.\/audit\.yaml\n\.\/manifests\/own\.yaml\n$/);
    });

    it("a changed server token counts as started only when k3s was", async () => {
        const { text } = await shell(
            `setting() { echo no; }; start_digest() { echo now; }; RESTART=0
rotate_token; echo "first $RESTART"; RESTART=0; note_missed_restart; echo "next $RESTART"`,
            { "etc/token": "old\n", started: "now\n" },
        );
        assert.match(text, /^first 1\nnext 1$/m);
    });

    it("a restore that was cut off is one until the snapshot's Nodes are forgotten", async () => {
        const stubs = ["lock", "install_binary", "write_tokens", "install_files", "adopt_decide"]
            .concat(["note_missed_restart", "adopt_begin", "rotate_token", "before_upgrade", "wait_for_the_others"])
            .concat(["drain", "start_unit", "trust_ca", "remember_k3s", "check_bucket", "write_membership", "folder"])
            .map((name) => `${name}() { :; }`)
            .join("; ");
        const apply = (forget: string): string => `${stubs}; decide_membership() { mode=member; }
start_time=0 outcome=started; stage_wait() { echo "$1"; case $2 in forget_old_nodes) ${forget} ;; esac; }
kubectl_admin() { echo '{"members":[{"name":"master-1-0a1b2c3d"}]}'; }; command=apply restore=
(run) || echo failed; [ ! -e "$STATE/restoring" ] || echo "still restoring"`;
        const files = { "work/members": '"name"\n', "work/set.version": "v1\n" };
        assert.match(
            (await shell(apply("return 0"), { ...files, restoring: "" })).text,
            /Nodes forgotten\n[^]*server: started, v1, 1 etcd members\n$/,
        );
        assert.match(
            (await shell(apply("exit 1"), { ...files, restoring: "" })).text,
            /Nodes forgotten\nfailed\nstill restoring\n$/,
        );
        assert.doesNotMatch((await shell(apply("return 0"), files)).text, /forgotten/);
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
