import assert from "node:assert/strict";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LAB_DIR, eventually, lab, labNode, mainCluster, mainStack, nodesOf, on, underLoad, whole } from "./support";

const HOST = "agent-3";
/** The release that the cluster has by now, on the lab's artifact server. */
const release = (): string =>
    join(LAB_DIR, "artifacts/k3s-io/k3s/releases/download", String(mainStack().config()["k3s-ha:version"]));

/** Seconds until a silent host is given up, at most: TCP's keep-alive as Go has it (15 s, then nine times 15 s), and some more. */
const SILENT = 200;

/** An `up` that must fail, and what it said. */
function failingUp(): { text: string; seconds: number } {
    const up = mainStack().pulumi(["up", "--yes", "--skip-preview"], { check: false, timeout: 200 });
    const text = up.stdout + up.stderr;
    assert.notEqual(up.status, 0, text);
    return { text, seconds: up.seconds };
}

/** `up` waits on the host in its step stage, whose lock is held; then the fault; how `up` ends. */
async function cutInStage(fault: () => void): Promise<{ text: string; seconds: number }> {
    on(HOST, "systemd-run -q --unit=holder flock /var/lib/k3s-ha/stage.lock sleep 600");
    try {
        const child = mainStack().start(["up", "--yes", "--skip-preview"]);
        let text = "";
        child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        child.stderr?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
        await eventually("the step stage runs", 60, () =>
            assert.match(on(HOST, "ps -eo args").stdout, /k3s-ha\/stage\.sh apply/),
        );
        const started = Date.now();
        fault();
        assert.notEqual(await ended, 0, text);
        return { text, seconds: (Date.now() - started) / 1000 };
    } finally {
        lab(["fault", HOST, "heal"]);
        on(HOST, "systemctl stop holder", { check: false });
        // It runs on without its session, and would be taken for the next one.
        await eventually("the step has ended", 60, () =>
            assert.doesNotMatch(on(HOST, "ps -eo args").stdout, /k3s-ha\/stage\.sh apply/),
        );
    }
}

describe("faults: during up, on a host that is added", function () {
    this.timeout(600_000);
    before(mainCluster);

    it("disk full, mirror without the file, wrong file, session killed, link cut: each named, and the next up ends well", () =>
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

            const killed = await cutInStage(() => void on(HOST, "pkill -KILL -f '^sshd: root'"));
            assert.match(killed.text, /node agent-3: SSH to \S+ failed: the connection broke/);
            assert.ok(killed.seconds < 30, `up took ${killed.seconds} s after the session was killed`);

            const cut = await cutInStage(() => void lab(["fault", HOST, "cut"]));
            assert.match(cut.text, /node agent-3: SSH to \S+ failed: /);
            assert.ok(cut.seconds < SILENT, `up took ${cut.seconds} s after the cut`);
            console.log(
                `      up ended ${killed.seconds.toFixed(0)} s after the kill, ${cut.seconds.toFixed(0)} s after the cut`,
            );

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
