/** snapshot-lib.sh with a k3s that is a script: what k3s 1.36.3 says and does when its bucket is there, refuses, or is full. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const COMPONENTS = join(__dirname, "../../../components");
const SECRET = "the-secret-key-of-the-bucket";

const K3S = `#!/bin/sh
echo "$*" >>"$STATE/calls"
refuse() {
    echo 'time="2026-11-28T03:00:00Z" level=fatal msg="Error: see server log for details: failed to initialize S3 client: failed to test for existence of bucket b: Access Denied by ${SECRET}."' >&2
    exit 1
}
case $2 in
    save)
        [ "$BUCKET" != broken ] || { echo 'level=fatal msg="etcd-snapshot error ID 00001"' >&2; exit 1; }
        case "$BUCKET $*" in "refused "*--etcd-s3=false) ;; refused*) refuse ;; esac
        sleep 0.05
        echo data >"$STATE/data/server/db/snapshots/$4-m1-1700000000"
        ;;
    ls)
        case $BUCKET in refused) refuse ;; silent) exit 124 ;; broken) echo 'level=fatal msg="etcd-snapshot error ID 00002"' >&2; exit 1 ;; esac
        echo "Name Location Size Created"
        echo "$NAME-m1-1700000000 file:///x/$NAME-m1-1700000000 5 2026"
        [ "$BUCKET" != there ] || echo "$NAME-m1-1700000000 s3://b/f/$NAME-m1-1700000000 5 2026"
        ;;
esac
`;

type Bucket = "none" | "there" | "refused" | "full" | "broken" | "silent";

/** Runs commands that use the library. */
function shell(bucket: Bucket, commands: string): { status: number | null; lines: string[]; calls: string } {
    const state = mkdtempSync(join(tmpdir(), "k3s-ha-snapshot-"));
    mkdirSync(join(state, "data/server/db/snapshots"), { recursive: true });
    writeFileSync(join(state, "k3s"), K3S, { mode: 0o755 });
    writeFileSync(join(state, "config.yaml"), bucket === "none" ? "" : "etcd-s3: true\n");
    const run = spawnSync(
        "sh",
        [
            "-c",
            `. '${COMPONENTS}/scripts/lib.sh'; begin; export BUCKET=${bucket} NAME=by-hand STATE; UNIT=none.service BIN=$STATE/k3s CONF=$STATE DATA=$STATE/data
            printf '%s\\n' '${SECRET}' >"$SECRETS/s3-secret-key"
            . '${COMPONENTS}/scripts/snapshot-lib.sh'
            ${commands}; cat "$STATE/calls" >&2`,
        ],
        { encoding: "utf8", env: { ...process.env, STATE: state } },
    );
    return {
        status: run.status,
        lines: run.stdout.replaceAll(state, "").split("\n"),
        calls: run.stderr,
    };
}

/** take_snapshot `by-hand`, and what it found: file, object, problem. */
const take = (bucket: Bucket): ReturnType<typeof shell> =>
    shell(
        bucket,
        `take_snapshot by-hand || { echo "none: $(tail -n 1 "$WORK/snapshot")"; exit 3; }
        printf '%s\\n' "$snapshot_file" "$snapshot_object" "$bucket_problem"`,
    );

const FILE = "/data/server/db/snapshots/by-hand-m1-1700000000";

describe("snapshot-lib.sh", () => {
    it("without a bucket: the file", () => {
        const { lines, calls } = take("none");
        assert.deepEqual(lines, [FILE, "", "", ""], calls);
        assert.equal(calls, "etcd-snapshot save --name by-hand\n");
    });

    it("with one: both places, as k3s lists them", () => {
        assert.deepEqual(take("there").lines, [FILE, "s3://b/f/by-hand-m1-1700000000", "", ""]);
    });

    it("a bucket that refuses: the file all the same, and why, without the secret", () => {
        const { lines, calls } = take("refused");
        assert.deepEqual(lines, [
            FILE,
            "",
            "failed to initialize S3 client: failed to test for existence of bucket b: Access Denied by [secret].",
            "",
        ]);
        assert.match(calls, /^etcd-snapshot save --name by-hand\netcd-snapshot save --name by-hand --etcd-s3=false\n$/);
    });

    it("a failed upload, which k3s does not tell: it is missed in the list", () => {
        const { lines } = take("full");
        assert.deepEqual(lines.slice(0, 2), [FILE, ""]);
        assert.match(lines[2] as string, /^k3s does not list it there; its log has: /);
    });

    it("any other failure is none of the bucket's", () => {
        const { status, lines, calls } = take("broken");
        assert.equal(status, 3);
        assert.match(lines[0] as string, /^none: .*error ID 00001/);
        assert.doesNotMatch(calls, /etcd-s3=false/);
    });

    it("opens a bucket, or says why not", () => {
        for (const [bucket, problem] of [
            ["there", "opened"],
            [
                "refused",
                "failed to initialize S3 client: failed to test for existence of bucket b: Access Denied by [secret].",
            ],
            ["silent", "no answer of the endpoint within 60 s"],
            ["broken", 'level=fatal msg="etcd-snapshot error ID 00002"'],
        ] as const) {
            const { lines } = shell(bucket, 'if bucket_opens; then echo opened; else echo "$bucket_problem"; fi');
            assert.deepEqual(lines, [problem, ""], bucket);
        }
    });
});
