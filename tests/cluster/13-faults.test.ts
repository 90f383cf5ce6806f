import assert from "node:assert/strict";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cutInStage } from "./cut-in-stage";
import { LAB_DIR, lab, labNode, mainCluster, mainStack, nodesOf, on, underLoad, whole } from "./support";

const HOST = "agent-3";
/** The release that the cluster has by now, on the lab's artifact server. */
const release = (): string =>
    join(LAB_DIR, "artifacts/k3s-io/k3s/releases/download", String(mainStack().config()["k3s-ha:version"]));

/** An `up` that must fail, and what it said. */
function failingUp(): { text: string; seconds: number } {
    const up = mainStack().pulumi(["up", "--yes", "--skip-preview"], { check: false, timeout: 200 });
    const text = up.stdout + up.stderr;
    assert.notEqual(up.status, 0, text);
    return { text, seconds: up.seconds };
}

describe("faults: during up, on a host that is added", function () {
    this.timeout(600_000);
    before(mainCluster);

    it("disk full, mirror without the file, wrong file, session killed: each named, and the next up ends well", () =>
        underLoad("faults", async () => {
            mainStack().set((config) => void nodesOf(config).push(labNode(HOST)));

            lab(["fault", HOST, "fill"]);
            assert.match(
                failingUp().text,
                /agent-3: .*the scripts could not be written to its home folder.*is space free|FAILED on node agent-3, step prepare: .*KiB free/,
            );
            assert.equal(on(HOST, "ls -d /usr/local/lib/k3s-ha 2>/dev/null || true").stdout, "");
            lab(["fault", HOST, "unfill"]);

            const sums = join(release(), "sha256sum-amd64.txt");
            renameSync(sums, `${sums}.aside`);
            try {
                assert.match(
                    failingUp().text,
                    /FAILED on node agent-3, step stage: could not download \S+sums?\S*: .*404/s,
                );
            } finally {
                renameSync(`${sums}.aside`, sums);
            }

            const binary = join(release(), "k3s");
            renameSync(binary, `${binary}.aside`);
            try {
                writeFileSync(binary, "half a file");
                assert.match(failingUp().text, /FAILED on node agent-3, step stage: \S+ has SHA-256 \S+ and not /);
            } finally {
                rmSync(binary);
                renameSync(`${binary}.aside`, binary);
            }
            assert.equal(
                on(HOST, "ls /var/lib/k3s-ha/bin/*/ /usr/local/bin/k3s 2>/dev/null || true")
                    .stdout.trim()
                    .replace(/^.*:$/gm, ""),
                "",
            );

            const killed = await cutInStage(HOST, () => void on(HOST, "pkill -KILL -f '^sshd: root'"));
            assert.match(killed.text, /node agent-3: SSH to \S+ failed: the connection broke/);
            assert.ok(killed.seconds < 30, `up took ${killed.seconds} s after the session was killed`);

            console.log(`      up ended ${killed.seconds.toFixed(0)} s after the kill`);

            mainStack().up();
            await whole();
            assert.equal(
                on(HOST, "ls -d /var/lib/k3s-ha/run.* /var/lib/k3s-ha/bin/*/k3s.new 2>/dev/null || true").stdout,
                "",
            );
        }));

    after(() => {
        assert.ok(existsSync(join(release(), "k3s")));
        mainStack().upWith((config) => void (config["k3s-ha:nodes"] = nodesOf(config).filter((n) => n.name !== HOST)));
    });
});
