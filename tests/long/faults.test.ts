/** Faults during `up` that take long: see tests/cluster/13-faults.test.ts for the others. */
import assert from "node:assert/strict";
import { cutInStage } from "../cluster/cut-in-stage";
import {
    NET,
    eventually,
    lab,
    labNode,
    mainCluster,
    mainStack,
    nodesOf,
    on,
    underLoad,
    whole,
} from "../cluster/support";

/** Holds a lock as apt does (fcntl), until the unit ends. */
const HOLD = `use Fcntl;
open(my $lock, "+>>", "/var/lib/dpkg/lock-frontend") or die "open: $!";
my $what = pack("ssx4qqix4", F_WRLCK, 0, 0, 0, 0);
fcntl($lock, F_SETLKW, $what) or die "lock: $!";
sleep 600;
`;

/** Seconds until a silent host is given up, at most: TCP's keep-alive as Go has it (15 s, then nine times 15 s), and some more. */
const SILENT = 200;

function failingUp(): string {
    const up = mainStack().pulumi(["up", "--yes", "--skip-preview"], { check: false, timeout: 400 });
    assert.notEqual(up.status, 0, up.stdout);
    return up.stdout + up.stderr;
}
const without = (name: string): void =>
    void mainStack().upWith((config) => void (config["k3s-ha:nodes"] = nodesOf(config).filter((n) => n.name !== name)));

describe("faults that take long: during up", function () {
    this.timeout(900_000);
    before(mainCluster);

    it("a held apt lock, an artifact server that is down: each named with its remedy, and the next up ends well", () =>
        underLoad("apt lock and artifact server", async () => {
            mainStack().set((config) => void nodesOf(config).push(labNode("agent-3")));
            on("agent-3", "cat >/run/holder.pl; systemd-run -q --unit=holder perl /run/holder.pl", { input: HOLD });
            await eventually("the lock is held", 10, () =>
                assert.match(
                    on("agent-3", "dpkg --configure -a", { check: false }).stderr,
                    /locked by another process/,
                ),
            );
            assert.match(
                failingUp(),
                /FAILED on (node )?agent-3, step (prepare|haproxy): could not install .*\n(.*\n)*.*another package manager held the lock for 120 s/,
            );
            on("agent-3", "systemctl stop holder");

            const url = mainStack().config()["k3s-ha:download"];
            mainStack().set(
                (config) => void (config["k3s-ha:download"] = { baseUrl: `http://${NET}.1:8081/releases` }),
            );
            const text = failingUp();
            assert.match(
                text,
                /FAILED on node agent-3, step stage: could not download http:\S+:8081\S+: .*\n(.*\n)*.*check k3s-ha:version and k3s-ha:download\.baseUrl/,
            );
            mainStack().upWith((config) => void (config["k3s-ha:download"] = url));
            await whole();
            without("agent-3");
        }));

    it("a master loses its power while another one joins: up ends well or says why, the cluster serves, the next up ends well", async () => {
        mainStack().set((config) => void nodesOf(config).push(labNode("master-4")));
        await underLoad(
            "a master dies while another joins",
            async () => {
                const child = mainStack().start(["up", "--yes", "--skip-preview"]);
                let text = "";
                for (const stream of [child.stdout, child.stderr])
                    stream?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
                const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
                await eventually("k3s starts on master-4", 120, () =>
                    assert.match(on("master-4", "systemctl show -p MainPID --value k3s").stdout, /^[1-9]/),
                );
                lab(["fault", "master-2", "kill"]);
                const status = await ended;
                console.log(`      up ended with ${status}`);
                if (status !== 0) assert.match(text, /FAILED on node \S+, step \S+: |SSH to \S+ failed/);
                lab(["fault", "master-2", "start"]);
                mainStack().up();
                await whole();
            },
            // What was on its way to the master that lost its power.
            { failed: 2, notReady: ["master-2", "master-4"] },
        );
        without("master-4");
        await whole();
    });

    it("a link that is cut during a step: the host is named when TCP gives it up, and the next up ends well", () =>
        underLoad("link cut", async () => {
            mainStack().set((config) => void nodesOf(config).push(labNode("agent-3")));
            // Where the lock of step stage lies: it is held before the host has been prepared.
            on("agent-3", "mkdir -p /var/lib/k3s-ha");
            const cut = await cutInStage("agent-3", () => void lab(["fault", "agent-3", "cut"]));
            assert.match(cut.text, /node agent-3: SSH to \S+ failed: /);
            assert.ok(cut.seconds < SILENT, `up took ${cut.seconds} s after the cut`);
            console.log(`      up ended ${cut.seconds.toFixed(0)} s after the cut`);
            mainStack().up();
            await whole();
            without("agent-3");
        }));
});
