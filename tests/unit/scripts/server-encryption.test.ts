/** server-encryption.sh: a new key is made once, carried on when it was cut off, and nobody writes Secrets meanwhile. */
import assert from "node:assert/strict";
import { stepShell } from "../helpers/step-shell";

const server = stepShell("server.sh");

/** A k3s whose state is two files: stage and active key; `rotate-keys` does what $STATE/rotates says. */
const K3S = `ENCRYPTION_DONE=$STATE/done ENCRYPTION_BEGUN=$STATE/begun mode=member wait_seconds=2 SLEPT=0
BIN=$STATE/k3s; sleep() { :; }; timeout() { shift; "$@"; }; unit_is() { :; }
put() { cp "$1" "$2"; }
cat >$BIN <<END
#!/bin/sh
cd $STATE
case \\$2 in
    status) printf '{\\n\\t"stage": "%s",\\n\\t"activekey": "AES-CBC %s",\\n\\t"enable": %s,\\n\\t"hashmatch": %s,\\n\\t"hasherror": "hash does not match between a and b"\\n}\\n' "\\$(cat stage)" "\\$(cat key)" "\\$(cat enable 2>/dev/null || echo true)" "\\$(cat match 2>/dev/null || echo true)" ;;
    rotate-keys) echo rotate-keys; echo rotated >>asked; . ./rotates ;;
    reencrypt) echo "\\$1 \\$2 \\$3" >>again; echo reencrypt_finished >stage; rm -f old-annotation ;;
esac
END
chmod 0755 $BIN
kube() {
    case "$*" in
        *dry-run*) echo "$*" >>$STATE/tried; echo "error: k3s-ha: the keys of Secrets are being rotated, wait" >$WORK/kubectl.err; return 1 ;;
        *"range"*) cat $STATE/hashes ;;
        *annotations*) cat $STATE/old-annotation 2>/dev/null || printf '%s-%s' "$(cat $STATE/stage)" "$(sha256sum <$DATA/server/cred/encryption-config.json | cut -d ' ' -f 1)" ;;
        *) echo "kube $1 $2" >&2 ;;
    esac
}
servers_known() { printf '%s\\n' 'a 10.0.0.1:6443' 'b 10.0.0.2:6443'; }; servers_down() { cat $STATE/down 2>/dev/null || true; }
wait_for() { shift; "$@" || "$@"; }
`;
const OK = "echo reencrypt_finished >stage; echo second >key";
const files = (more: Record<string, string> = {}): Record<string, string> => ({
    "work/set.encryption": "2 master-1\n",
    stage: "start\n",
    key: "first\n",
    "data/server/cred/encryption-config.json": "{}",
    rotates: OK,
    asked: "",
    ...more,
});
const run = async (commands: string, more: Record<string, string> = {}): Promise<string> =>
    (await server(`${K3S}${commands}`, files(more))).text.trim();
const SETTLE =
    '(settle_encryption) 2>&1 || true; echo "done $(cat $STATE/done 2>/dev/null) asked $(grep -c . $STATE/asked) begun $(cat $STATE/begun 2>/dev/null)"';

describe("a new key of Secrets, on the first server", () => {
    it("is made behind the guard, which every server has shown, and which goes when all have the key", async () => {
        const text = await run(`${SETTLE}; cat $STATE/tried $WORK/guard.yaml`);
        assert.match(
            text,
            /^kube apply -f\nmaster-1: Secrets have a new key: AES-CBC second\nkube delete .*\ndone 2 asked 1 begun ?$/m,
        );
        assert.match(text, /--server https:\/\/10\.0\.0\.1:6443.*\n.*--server https:\/\/10\.0\.0\.2:6443/);
        assert.match(text, /request\.userInfo\.username != "system:k3s-supervisor"/);
    });

    it("the guard stays while another server has the old one", async () => {
        const text = await run(SETTLE, { rotates: `${OK}; echo false >match` });
        assert.doesNotMatch(text, /kube delete/);
        assert.match(text, /done 2 asked 1/);
    });

    it("is made once for a counter, and not on a server that has just come", async () => {
        assert.match(await run(SETTLE, { done: "2\n" }), /^done 2 asked 0/);
        assert.match(await run(`rm $WORK/set.encryption; ${SETTLE}`), /^done {2}asked 0/);
    });

    it("a run that was cut off after k3s had begun is carried on without a second key", async () => {
        const begun = { begun: "2 AES-CBC first\n" };
        assert.match(await run(SETTLE, { ...begun, stage: "reencrypt_finished\n", key: "second\n" }), /done 2 asked 0/);
        assert.match(await run(SETTLE, begun), /done 2 asked 1/);
        const waits = await run(
            `keys_rotated() { sleep 1; ${OK.replace(/>/g, ">$STATE/")}; encryption_status && [ "$(encryption_says activekey)" != "$1" ]; }; ${SETTLE}`,
            {
                ...begun,
                stage: "reencrypt_active\n",
            },
        );
        assert.match(waits, /done 2 asked 0/);
    });

    it("a k3s that was restarted within it writes the Secrets again, and the guard stays until then", async () => {
        const text = await run(`${SETTLE}; cat $STATE/again`, {
            begun: "2 AES-CBC first\n",
            stage: "reencrypt_finished\n",
            key: "second\n",
            "old-annotation": "reencrypt_finished-0123",
        });
        assert.match(text, /kube delete[^]*done 2 asked 0/);
        assert.match(text, /secrets-encrypt reencrypt --force$/);
    });

    it("a server that comes last takes the guard away", async () => {
        assert.match(await run(`mode=join; ${SETTLE}`), /kube delete[^]*done 2 asked 0/);
        assert.doesNotMatch(await run(`mode=join; ${SETTLE}`, { match: "false" }), /kube delete/);
    });

    it("k3s's client gave up and the server goes on: it is waited for", async () => {
        const text = await run(
            `sleep() { echo reencrypt_finished >$STATE/stage; echo second >$STATE/key; }; ${SETTLE}`,
            {
                rotates: "echo reencrypt_active >stage; exit 1",
            },
        );
        assert.match(text, /Secrets have a new key: AES-CBC second[^]*done 2 asked 1/);
    });

    for (const [what, more, told] of [
        ["no encryption", { enable: "false" }, /Secrets are not encrypted in this cluster/],
        [
            "different keys",
            { match: "false" },
            /the servers have different keys for Secrets: hash does not match between a and b/,
        ],
        ["another stage", { stage: "prepare\n" }, /is in stage prepare already/],
        ["a server that is down", { down: "b " }, /these servers are not up, and all must be for a rotation: b/],
    ] as const)
        it(`${what}: refused before anything is changed`, async () => {
            const text = await run(SETTLE, more);
            assert.match(text, told);
            assert.match(text, /done {2}asked 0 begun$/);
            assert.doesNotMatch(text, /kube apply/);
        });

    it("k3s refuses: the guard goes, and the next run begins again", async () => {
        const text = await run(SETTLE, { rotates: "echo 'secret-encrypt error ID 00001'; exit 1" });
        assert.match(
            text,
            /kube delete[^]*k3s made no new key for Secrets: secret-encrypt error ID 00001[^]*done {2}asked 1 begun$/,
        );
    });

    it("a server that goes on writing: nothing is rotated, and the guard goes", async () => {
        const text = await run(`guarded() { : >$WORK/kubectl.err; return 1; }; ${SETTLE}`);
        assert.match(text, /kube delete[^]*the server 10\.0\.0\.1:6443 still writes Secrets[^]*asked 0/);
    });
});

describe("the guard, when the last server without the new key is lost", () => {
    const there = { guard: "policy\n", stage: "reencrypt_finished\n" };

    it("goes when the others have the same keys", async () => {
        const run = `${K3S}
            kube() { case "$1" in get) cat $STATE/guard ;; *) echo "kube $1 $2" >&2 ;; esac; }
            lift_idle_guard`;
        const text = async (more: Record<string, string>): Promise<string> =>
            (await stepShell("lost-nodes.sh")(run, files(more))).text.trim();
        assert.match(await text(there), /^kube delete validatingadmissionpolicybinding/);
        assert.equal(await text({ ...there, match: "false" }), "");
        assert.equal(await text({ ...there, stage: "reencrypt_active\n" }), "");
        assert.equal(await text({ ...there, guard: "" }), "");
    });
});

describe("a new key of Secrets, on the others", () => {
    const other = { "work/set.encryption": "2 master-9\n" };

    it("is a reason to restart, once", async () => {
        const note = "RESTART=0; note_encryption 2>&1; echo $RESTART";
        assert.match(await run(note, other), /restarts for: the new key of the Secrets\n1$/);
        assert.equal(await run(note, { ...other, done: "2\n" }), "0");
        assert.equal(await run(note), "0");
        assert.equal(await run(`mode=join; ${note}`, other), "0");
    });

    it("is there when their Nodes tell the same, else the step fails and the guard stays", async () => {
        assert.match(await run(SETTLE, { ...other, hashes: "x\nx\n" }), /kube delete[^]*done 2 asked 0/);
        const text = await run(SETTLE, { ...other, hashes: "x\ny\n" });
        assert.match(text, /did not read the new key of the Secrets at its start[^]*next: run 'systemctl restart k3s'/);
        assert.doesNotMatch(text, /kube delete/);
    });

    it("k3s's log line with the key is masked", async () => {
        const text = await run(
            "echo 'level=info msg=\"Adding secrets-encryption key: [{aescbckey-1 c2VjcmV0}]\"' | mask",
        );
        assert.doesNotMatch(text, /c2VjcmV0/);
    });
});
