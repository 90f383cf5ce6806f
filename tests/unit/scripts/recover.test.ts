/** recover.sh: what is where after a reset of etcd that was cut off, or that k3s refused. */
import assert from "node:assert/strict";
import { stepShell, type Run } from "../helpers/step-shell";

const shell = stepShell("recover.sh");
const MEMBERS = { "etc/membership": '"server": "https://127.0.0.1:16443"\n' };

/** Runs `reset ARGUMENT`; `k3s` is what its binary does. The membership is told at the end. */
const reset = (k3s: string, argument: string, files: Readonly<Record<string, string>>, more = ":"): Promise<Run> =>
    shell(
        `others_running() { :; }; stop_k3s() { :; }; start_k3s() { echo "k3s starts"; }; has_bucket() { :; }
timeout() { shift; "$@"; }; BIN=k3s; k3s() { echo "k3s $*"; ls "$MEMBERSHIP" >/dev/null 2>&1 && echo "joins somebody"; ${k3s}; }
systemctl() { echo "systemctl $*"; }
${more}
(reset ${argument}) && echo done || echo failed
cat "$WORK/reset" "$MEMBERSHIP"; ls "$STATE/membership.aside" 2>/dev/null || true`,
        files,
    );

describe("recover.sh", () => {
    it("resets a server that joins nobody, and puts the membership back", async () => {
        const { text } = await reset("true", "", MEMBERS);
        assert.match(
            text,
            /k3s starts\n[^]*done\nk3s server --cluster-reset\n"server": "https:\/\/127.0.0.1:16443"\n$/,
        );
    });

    it("finds the membership that one before it, which was cut off, has left aside", async () => {
        const { text } = await reset("true", "", { "membership.aside": MEMBERS["etc/membership"] });
        assert.match(text, /done\nk3s server --cluster-reset\n"server": "https:\/\/127.0.0.1:16443"\n$/);
        const both = await reset("true", "", { ...MEMBERS, "membership.aside": "an older one\n" });
        assert.doesNotMatch(both.text, /joins somebody|an older one|aside/);
    });

    it("says where the data are when k3s refuses, and what the refusal means", async () => {
        const plain = await reset("echo boom; false", "", MEMBERS);
        assert.match(
            plain.text,
            /could not reset etcd: k3s server --cluster-reset\nboom\n[^]*its data are as they were\n/,
        );
        assert.match(plain.text, /failed\n[^]*"server": /);
        const moved = await reset(
            'echo "encrypted with different token"; mkdir -p "$DATA/server/db/etcd-old-1" "$DATA/server/db/etcd-old-$(date +%s)"; false',
            "",
            MEMBERS,
        );
        assert.match(moved.text, /next: the snapshot is of another server token: put that one into \S+\/etc\/token/);
        assert.match(moved.text, /its data are in \S+\/db\/etcd-old-\d{10}: to have them back/);
    });

    it("starts k3s again when it could not fetch the snapshot, which touches nothing", async () => {
        const words = "bucket_words() { echo 'no such key'; }";
        const { text } = await reset("false", "snapshot-of-yesterday", MEMBERS, words);
        assert.match(text, /could not fetch the snapshot: no such key\n[^]*nothing was changed[^]*"server": /);
        assert.match(text, /systemctl start --no-block/);
        assert.match((await reset("false", "/dev/null", MEMBERS, words)).text, /could not reset etcd/);
    });
});
