/** Snapshots in an S3 bucket: six minutes of their own. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { note, notes, runbook } from "../cluster/recovery";
import {
    type Config,
    LAB_DIR,
    NET,
    Stack,
    eventually,
    kubectl,
    mainCluster,
    mainStack,
    members,
    on,
    underLoad,
    whole,
    lab,
} from "../cluster/support";

/** The lab's bucket (lab/hosts/s3.sh), as a client outside the cluster has it. */
const S3 = join(LAB_DIR, "s3");
const s3Keys = (): { access: string; secret: string } => {
    const [access, secret] = readFileSync(join(S3, "keys"), "utf8").trim().split(" ") as [string, string];
    return { access, secret };
};
/** Where a master keeps the keys. */
const KEYS = "/etc/rancher/k3s/config.yaml.d/60-s3.yaml";
/** Names of the objects in the folder that a stack's snapshots go to; the server keeps each as a file. */
function objects(folder: string): string[] {
    const path = join(S3, "data/backups", folder);
    return existsSync(path) ? readdirSync(path).sort() : [];
}

describe("bucket: snapshots to S3", function () {
    this.timeout(900_000);
    before(mainCluster);
    // Built when it is first asked for: one to two minutes.
    before(() => void lab(["s3"], { timeout: 400 }));

    const s3 = (): Config => ({
        bucket: "backups",
        endpoint: `${NET}.1:8082`,
        folder: "main",
        endpointCa: readFileSync(join(S3, "ca.pem"), "utf8"),
        retention: 4,
    });
    const setSecret = (stack: Stack, key: string, value: string): void =>
        void stack.pulumi(["config", "set", "--secret", `k3s-ha:${key}`], { input: value });
    let snapshot = "";

    it("the settings reach every master one at a time, the keys in a file for root only", async () => {
        const { access, secret } = s3Keys();
        setSecret(mainStack(), "s3AccessKey", access);
        setSecret(mainStack(), "s3SecretKey", secret);
        await underLoad("a bucket is configured", () =>
            mainStack().upWith(
                (config) => void (config["k3s-ha:snapshots"] = { schedule: "@every 20s", retention: 3, s3: s3() }),
            ),
        );
        await whole();
        const unchanged = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        assert.match(unchanged.stdout, /unchanged/);
        for (const master of members().masters) {
            const keys = on(master, `stat -c '%a %U' ${KEYS}; cat ${KEYS}`);
            assert.ok(keys.stdout.startsWith("600 root\n"), keys.stdout);
            assert.ok(keys.stdout.includes(secret), "the key is in its file");
        }
        for (const host of members().hosts) {
            // The pattern is read from stdin, so that the search does not find itself.
            const found = on(
                host,
                `cat >/run/pattern; chmod 600 /run/pattern
                find / -xdev -type f -perm /044 ! -path '/proc/*' ! -path '/sys/*' -size -20M -exec grep -lF -f /run/pattern {} + | sed 's/^/readable: /'
                find /proc -maxdepth 2 \\( -name cmdline -o -name environ \\) -exec grep -lF -f /run/pattern {} + 2>/dev/null | sed 's/^/process: /'
                journalctl -q --no-pager | grep -F -f /run/pattern | sed 's/^/journal: /'
                if test -e ${KEYS}; then grep -lF -f /run/pattern ${KEYS}; fi
                rm /run/pattern`,
                { input: `${secret}\n`, check: false, timeout: 120 },
            ).stdout;
            const own = host.startsWith("master") ? `${KEYS}\n` : "";
            assert.equal(found, own, `${host}: where the secret key is seen`);
        }
        const annotations = kubectl(["get", "nodes", "-o", "json"]).stdout;
        assert.ok(
            annotations.includes("etcd-s3-secret-key") && !annotations.includes(secret),
            "annotations of the Nodes",
        );
    });

    it("scheduled ones go there, and its retention counts those of all masters", async () => {
        const seen = new Set<string>();
        await eventually("eight scheduled snapshots, of which four are kept", 180, () => {
            const there = objects("main").filter((name) => name.startsWith("etcd-snapshot-"));
            for (const name of there) seen.add(name);
            assert.ok(seen.size >= 8, `${seen.size} seen`);
            assert.equal(there.length, 4);
        });
        const masters = new Set([...seen].map((name) => name.replace(/^etcd-snapshot-(.*)-\d+$/, "$1")));
        assert.deepEqual([...masters].sort(), members().masters);
    });

    it("one on demand: the output tells both places, and the bucket has what the master has", () => {
        note("before-bucket");
        mainStack().upWith(
            (config) =>
                void (config["k3s-ha:snapshots"] = { schedule: "0 0 1 1 *", retention: 3, s3: s3(), now: "to-bucket" }),
        );
        const place = mainStack().output("snapshot").trim();
        const m =
            /^(\/var\/lib\/rancher\/k3s\/server\/db\/snapshots\/(to-bucket-\S+)) on (master-\d) and s3:\/\/backups\/main\/(\S+)$/.exec(
                place,
            );
        assert.ok(m, place);
        assert.equal(m[2], m[4]);
        snapshot = m[2] as string;
        const local = on(m[3] as string, `sha256sum <${m[1]}`).stdout.split(" ")[0];
        const object = readFileSync(join(S3, "data/backups/main", snapshot));
        assert.equal(createHash("sha256").update(object).digest("hex"), local);
        assert.match(
            on(m[3] as string, "k3s etcd-snapshot ls").stdout,
            new RegExp(`^${snapshot} +s3://backups/main/${snapshot} `, "m"),
        );
    });

    it("a wrong key: the master that takes it first says so, never the key; the others keep theirs, the cluster serves", async () => {
        const wrong = "0123456789abcdef0123456789abcdef01234567";
        const { secret } = s3Keys();
        setSecret(mainStack(), "s3SecretKey", wrong);
        await underLoad("a wrong key", () => {
            const failed = mainStack().up({ check: false });
            const text = failed.stdout + failed.stderr;
            assert.notEqual(failed.status, 0, "the up failed");
            const m =
                /FAILED on node (master-\d), step server: k3s runs and cannot open the bucket for its snapshots: (.+)/.exec(
                    text,
                );
            assert.ok(m, text);
            assert.match(m[2] as string, /bucket backups/);
            assert.match(text, /next: look at k3s-ha:snapshots\.s3 .*s3SecretKey/);
            assert.ok(!text.includes(wrong) && !text.includes(secret), "the key is not told");
            assert.deepEqual(
                members().masters.filter((master) => on(master, `cat ${KEYS}`).stdout.includes(wrong)),
                [m[1]],
            );
        });
        await whole();
        setSecret(mainStack(), "s3SecretKey", secret);
        mainStack().up();
        await whole();
    });

    it("a bucket that is away: changes go on with a warning; a snapshot on demand is taken here, and the error says so", async () => {
        const bucket = join(S3, "data/backups");
        renameSync(bucket, `${bucket}-away`);
        try {
            mainStack().set(
                (config) =>
                    void (config["k3s-ha:snapshots"] = {
                        schedule: "0 1 1 1 *",
                        retention: 3,
                        s3: s3(),
                        now: "while-away",
                    }),
            );
            await underLoad("a bucket that is away", () => {
                const failed = mainStack().up({ check: false });
                const text = failed.stdout + failed.stderr;
                assert.notEqual(failed.status, 0, "the up failed");
                for (const master of members().masters)
                    assert.match(
                        text,
                        new RegExp(`${master}: WARNING: k3s cannot open the bucket for its snapshots now: `),
                    );
                const m =
                    /FAILED on node (master-\d), step snapshot: the snapshot is on this server only \((\S+)\), not in the bucket: (.+)/.exec(
                        text,
                    );
                assert.ok(m, text);
                assert.match(m[3] as string, /bucket backups/);
                on(m[1] as string, `test -s ${m[2]}`);
            });
        } finally {
            renameSync(`${bucket}-away`, bucket);
        }
        await whole();
        mainStack().up();
        assert.match(mainStack().output("snapshot"), / and s3:\/\/backups\/main\/while-away-/);
        await whole();
    });

    it("restored from the bucket by the documented commands, with the masters' own snapshots gone; then from a file", async () => {
        note("after-bucket");
        const [restore, rejoin] = runbook("restore-snapshot");
        assert.ok(restore && rejoin);
        const [first, ...others] = members().masters as [string, ...string[]];
        for (const master of members().masters) on(master, "rm -r /var/lib/rancher/k3s/server/db/snapshots");
        const stopOthers = (): void => others.forEach((master) => void on(master, "systemctl stop k3s"));
        stopOthers();
        const missing = on(first, `${restore} no-such-snapshot`, { check: false, timeout: 300 });
        assert.notEqual(missing.status, 0);
        assert.match(missing.stderr, /k3s could not fetch the snapshot: .*does not exist/);
        assert.match(missing.stderr, /next: nothing was changed, .*k3s etcd-snapshot ls/);
        assert.match(on(first, "systemctl is-active k3s", { check: false }).stdout, /^activ/);
        on(first, `${restore} ${snapshot}`, { timeout: 300 });
        for (const master of others) on(master, rejoin, { timeout: 300 });
        await whole(180);
        assert.match(notes(), /before-bucket/);
        assert.doesNotMatch(notes(), /after-bucket/);
        // With a bucket configured k3s would look there for a path, too.
        note("after-bucket");
        stopOthers();
        on(first, `${restore} /var/lib/rancher/k3s/server/db/snapshots/${snapshot}`, { timeout: 300 });
        for (const master of others) on(master, rejoin, { timeout: 300 });
        await whole(180);
        assert.doesNotMatch(notes(), /after-bucket/);
        mainStack().up();
        await whole();
    });

    it("a new cluster on new hosts is founded from its name in the bucket", () => {
        const token = on(members().masters[0] as string, "sed 's/.*://' /etc/rancher/k3s/token").stdout.trim();
        const stack = new Stack("from-bucket", ["master-4", "agent-3"], (config) => {
            config["k3s-ha:cluster"] = "from-bucket";
            config["k3s-ha:readiness"] = "scoped";
            config["k3s-ha:snapshots"] = { restore: snapshot, s3: s3() };
        }).init();
        setSecret(stack, "token", token);
        setSecret(stack, "s3AccessKey", s3Keys().access);
        setSecret(stack, "s3SecretKey", s3Keys().secret);
        stack.up();
        const names = on(
            "master-4",
            "HOME=/tmp k3s kubectl get nodes -o jsonpath='{.items[*].metadata.name}'; echo; HOME=/tmp k3s kubectl get configmaps -o jsonpath='{.items[*].metadata.name}'",
        ).stdout;
        assert.match(names, /^agent-3 master-4\n/);
        assert.match(names, /before-bucket/);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });

    it("without the bucket again: its keys are gone from the hosts", async () => {
        for (const key of ["s3AccessKey", "s3SecretKey"]) mainStack().pulumi(["config", "rm", `k3s-ha:${key}`]);
        await underLoad("no bucket any more", () =>
            mainStack().upWith((config) => void delete config["k3s-ha:snapshots"]),
        );
        for (const master of members().masters)
            on(
                master,
                `! ls ${KEYS} /var/lib/k3s-ha/secrets/s3-* 2>/dev/null; ! grep etcd-s3 /etc/rancher/k3s/config.yaml`,
            );
        await whole();
    });
});
