import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
    Client,
    type Config,
    LAB_DIR,
    NET,
    ROOT,
    Stack,
    eventually,
    figures,
    kubectl,
    kubeconfig,
    kubeconfigOf,
    lab,
    mainCluster,
    mainStack,
    members,
    nodeOf,
    nodesOf,
    on,
    underLoad,
    voters,
    whole,
} from "./support";

/** The commands that docs/operations.md has for a case, by its heading: the test runs what the reader would. */
function runbook(heading: string): string[] {
    const text = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
    const section = text.split(/^## /m).find((s) => s.startsWith(`${heading}\n`));
    assert.ok(section, `docs/operations.md has no section "${heading}"`);
    return [...section.matchAll(/sh \/usr\/local\/lib\/k3s-ha\/recover\.sh [a-z-]+/g)].map((m) => m[0]);
}

const note = (name: string): void =>
    void kubectl(["create", "configmap", name, "--from-literal=at=now"], { context: `dev-${members().masters[0]}` });
const notes = (context = `dev-${members().masters[0]}`): string =>
    kubectl(["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"], { context }).stdout;

describe("snapshots: settings, one on demand, restore", function () {
    this.timeout(900_000);
    before(mainCluster);

    let snapshot = "";

    it("schedule and retention reach every master, one at a time", async () => {
        await underLoad("snapshot settings", () =>
            mainStack().upWith(
                (config) => void (config["k3s-ha:snapshots"] = { schedule: "0 */6 * * *", retention: 7 }),
            ),
        );
        for (const master of members().masters) {
            const config = on(master, "cat /etc/rancher/k3s/config.yaml").stdout;
            assert.match(config, /"?etcd-snapshot-schedule-cron"?: "0 \*\/6 \* \* \*"/);
            assert.match(config, /"?etcd-snapshot-retention"?: 7/);
        }
        await whole();
    });

    it("one on demand, whose place is an output", () => {
        note("before-snapshot");
        mainStack().upWith(
            (config) => void (config["k3s-ha:snapshots"] = { schedule: "0 */6 * * *", retention: 7, now: "by-hand" }),
        );
        const place = mainStack().output("snapshot").trim();
        const m = /^(\/var\/lib\/rancher\/k3s\/server\/db\/snapshots\/by-hand-\S+) on (master-\d)$/.exec(place);
        assert.ok(m, place);
        snapshot = m[1] as string;
        assert.match(on(m[2] as string, `ls ${snapshot}`).stdout, /by-hand/);
    });

    it("restored on the same hosts by the documented commands: what came after is gone, all masters and Nodes are there", async () => {
        note("after-snapshot");
        const [restore, rejoin] = runbook("Restore a snapshot");
        assert.ok(restore && rejoin);
        const [first, ...others] = members().masters as [string, ...string[]];
        const holder = mainStack().output("snapshot").trim().split(" ").at(-1) as string;
        assert.equal(holder, first);
        const early = on(holder, `${restore} ${snapshot}`, { check: false, timeout: 300 });
        assert.match(early.stderr, /k3s still runs on master-\d master-\d, and only this master may run meanwhile/);
        for (const master of others) on(master, "systemctl stop k3s");
        on(holder, `${restore} ${snapshot}`, { timeout: 300 });
        for (const master of others) on(master, rejoin, { timeout: 300 });
        await whole(180);
        assert.match(notes(), /before-snapshot/);
        assert.doesNotMatch(notes(), /after-snapshot/);
        mainStack().up();
        await whole();
    });

    it("restored on new hosts with the old token: the content is there, the old hosts' Nodes are not", () => {
        const holder = mainStack().output("snapshot").trim().split(" ").at(-1) as string;
        const token = on(holder, "sed 's/.*://' /etc/rancher/k3s/token").stdout.trim();
        const data = on(holder, `base64 -w 0 ${snapshot}`, { timeout: 60 }).stdout;
        on("master-4", "base64 -d > /root/old-cluster.db", { input: data });
        const stack = new Stack("restored", ["master-4", "master-5", "agent-3"], (config) => {
            config["k3s-ha:cluster"] = "restored";
            config["k3s-ha:readiness"] = "scoped";
            config["k3s-ha:snapshots"] = { restore: "/root/old-cluster.db" };
        }).init();
        stack.pulumi(["config", "set", "--secret", "k3s-ha:token"], { input: token });
        stack.up();
        const names = on(
            "master-4",
            "HOME=/tmp k3s kubectl get nodes -o jsonpath='{.items[*].metadata.name}'; echo; HOME=/tmp k3s kubectl get configmaps -o jsonpath='{.items[*].metadata.name}'",
        ).stdout;
        assert.match(names, /^agent-3 master-4 master-5\n/);
        assert.match(names, /before-snapshot/);
        assert.deepEqual(voters("master-4"), ["master-4", "master-5"]);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });
});

/** The lab's bucket (lab/hosts/s3.sh), as a client outside the cluster has it. */
const S3 = join(LAB_DIR, "s3");
const s3Keys = (): { access: string; secret: string } => {
    const [access, secret] = readFileSync(join(S3, "keys"), "utf8").trim().split(" ") as [string, string];
    return { access, secret };
};
/** Names of the objects in the folder that a stack's snapshots go to; the server keeps each as a file. */
function objects(folder: string): string[] {
    const path = join(S3, "data/backups", folder);
    return existsSync(path) ? readdirSync(path).sort() : [];
}

describe("bucket: snapshots to S3", function () {
    this.timeout(900_000);
    before(mainCluster);

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
            const keys = on(
                master,
                "stat -c '%a %U' /etc/rancher/k3s/config.yaml.d/60-s3.yaml; cat /etc/rancher/k3s/config.yaml.d/60-s3.yaml",
            );
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
                if test -e /etc/rancher/k3s/config.yaml.d/60-s3.yaml; then grep -lF -f /run/pattern /etc/rancher/k3s/config.yaml.d/60-s3.yaml; fi
                rm /run/pattern`,
                { input: `${secret}\n`, check: false, timeout: 120 },
            ).stdout;
            const own = host.startsWith("master") ? "/etc/rancher/k3s/config.yaml.d/60-s3.yaml\n" : "";
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

    it("a wrong key: the error tells host, place and remedy, never the key; the snapshot is taken here, the cluster serves", async () => {
        const wrong = "0123456789abcdef0123456789abcdef01234567";
        const { secret } = s3Keys();
        setSecret(mainStack(), "s3SecretKey", wrong);
        mainStack().set((config) => void ((config["k3s-ha:snapshots"] as Config)["now"] = "wrong-key"));
        await underLoad("a wrong key", () => {
            const failed = mainStack().up({ check: false });
            const text = failed.stdout + failed.stderr;
            assert.notEqual(failed.status, 0, "the up failed");
            const m =
                /FAILED on node (master-\d), step snapshot: the snapshot is on this master only \((\S+)\), not in the bucket: (.+)/.exec(
                    text,
                );
            assert.ok(m, text);
            assert.match(m[3] as string, /bucket backups/);
            assert.match(text, /next: look at k3s-ha:snapshots\.s3 .*s3SecretKey/);
            assert.ok(!text.includes(wrong) && !text.includes(secret), "the key is not told");
            on(m[1] as string, `test -s ${m[2]}`);
        });
        assert.deepEqual(
            objects("main").filter((name) => name.startsWith("wrong-key")),
            [],
        );
        await whole();
        setSecret(mainStack(), "s3SecretKey", secret);
        mainStack().up();
        assert.match(mainStack().output("snapshot"), / and s3:\/\/backups\/main\/wrong-key-/);
        await whole();
    });

    it("restored from the bucket by the documented commands, with the masters' own snapshots gone; then from a file", async () => {
        note("after-bucket");
        const [restore, rejoin] = runbook("Restore a snapshot");
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
                "! ls /etc/rancher/k3s/config.yaml.d/60-s3.yaml /var/lib/k3s-ha/secrets/s3-* 2>/dev/null; ! grep etcd-s3 /etc/rancher/k3s/config.yaml",
            );
        await whole();
    });
});

describe("majority: two of three masters are lost", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("the documented commands bring the cluster back from the last one, and replacements join", async () => {
        const masters = members().masters;
        assert.equal(masters.length, 3);
        const [survivor, ...dead] = [masters[1] as string, masters[0] as string, masters[2] as string];
        kubectl(["create", "configmap", "kept"], { context: `dev-${survivor}` });
        for (const host of dead) lab(["fault", host, "kill"]);
        const [reset] = runbook("The majority is lost");
        assert.ok(reset);
        on(survivor, reset, { timeout: 300 });
        const up = mainStack().upWith((config) => {
            for (const host of dead) nodeOf(config, host).lost = true;
        });
        console.log(`      up: ${up.seconds.toFixed(0)} s`);
        kubeconfig();
        await whole(120);
        assert.deepEqual(voters(survivor), [survivor]);
        for (const host of dead) lab(["reset", host], { timeout: 180 });
        mainStack().upWith((config) => {
            for (const host of dead) {
                const node = nodeOf(config, host);
                delete node.lost;
                node.rebuilt = (node.rebuilt ?? 0) + 1;
            }
        });
        kubeconfig();
        await whole(180);
        assert.match(notes(), /kept/);
        assert.deepEqual(voters(survivor), [...masters]);
    });
});

describe("sqlite: one master on SQLite becomes three on etcd", function () {
    this.timeout(900_000);

    it("1 on SQLite, the data move to etcd, 2 masters join", async () => {
        lab(["hosts", "up"], { timeout: 300 });
        const stack = new Stack("sqlite", ["master-4"], (config) => {
            config["k3s-ha:cluster"] = "small";
            config["k3s-ha:readiness"] = "scoped";
            config["k3s-ha:server"] = { datastore: "sqlite" };
        }).init();
        stack.up();
        const kube = (line: string): string => on("master-4", `HOME=/tmp k3s kubectl ${line}`).stdout;
        kube("create configmap from-sqlite");
        assert.equal(on("master-4", "ls /var/lib/rancher/k3s/server/db").stdout.includes("state.db"), true);
        assert.match(stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]).stdout, /unchanged/);
        const refused = stack.pulumi(
            [
                "preview",
                "--config-file",
                stack.changed((config) => {
                    nodesOf(config).push({ ...nodeOf(config, "master-4"), name: "x", address: "192.0.2.1" });
                }),
            ],
            { check: false },
        );
        assert.match(
            refused.stdout + refused.stderr,
            /server\.datastore: "sqlite" is for a single server and the stack has 2/,
        );
        const more = new Stack("sqlite-hosts", ["master-5", "agent-3"]).init();
        const added = nodesOf(more.config()).map((n) => ({ ...n, role: "server" as const }));
        more.forget();
        const client = await new Client("master-4", kubeconfigOf(stack)).running();
        stack.upWith((config) => void delete config["k3s-ha:server"]);
        const seen = await client.stop();
        // The only master restarts: its API is away for that long, as documented.
        figures("SQLite to etcd, one master", seen);
        assert.ok(seen.longestGap < 30_000, `the API was away for ${seen.longestGap} ms`);
        assert.deepEqual(voters("master-4"), ["master-4"]);
        await underLoad(
            "1 to 3 masters",
            () => stack.upWith((config) => nodesOf(config).push(...added)),
            {},
            ["master-4"],
            kubeconfigOf(stack),
        );
        assert.deepEqual(voters("master-4"), ["agent-3", "master-4", "master-5"]);
        await eventually("the data moved", 10, () =>
            assert.match(kube("get configmap from-sqlite -o name"), /from-sqlite/),
        );
        const back = stack.pulumi(
            [
                "preview",
                "--config-file",
                stack.changed((config) => {
                    config["k3s-ha:server"] = { datastore: "sqlite" };
                    config["k3s-ha:nodes"] = nodesOf(config).slice(0, 1);
                    config["k3s-ha:allow"] = ["lessTolerance"];
                }),
            ],
            { check: false },
        );
        assert.match(back.stdout + back.stderr, /cannot follow etcd/);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
    });
});
