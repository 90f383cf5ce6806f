import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import {
    HOSTS,
    NET,
    ROOT,
    eventually,
    k3sUnit,
    lab,
    mainCluster,
    mainStack,
    on,
    pidOf,
    underLoad,
    whole,
    type RunOptions,
} from "./support";

const bootId = (host: string, options: RunOptions = {}): string =>
    on(host, "systemctl show -p UserspaceTimestampMonotonic --value; stat -c %Y /proc/1", options).stdout;

/** A planned reboot, as a user does it, until the host has booted again. */
async function reboot(host: string): Promise<void> {
    const before = bootId(host);
    on(host, "systemctl reboot", { check: false });
    await eventually(`${host} has booted again`, 90, () => {
        const now = bootId(host, { check: false });
        assert.ok(now !== "" && now !== before, "the old boot still runs");
        assert.match(on(host, "systemctl is-active haproxy", { check: false }).stdout, /^active/);
    });
}

/** Until the lab says that the host has booted; a host whose k3s waits for others takes longer. */
const startInBackground = (host: string): Promise<void> =>
    new Promise((resolve) => {
        const child = spawn(join(ROOT, "lab/lab"), ["fault", host, "start"], { cwd: ROOT, stdio: "ignore" });
        child.on("close", () => resolve());
    });

/** From the next boot on the VPN's address appears late: after this many seconds, by a unit of its own. */
function lateVpn(host: string, address: string, seconds: number): void {
    on(
        host,
        `mv /etc/systemd/network/10-lab.network /root/lab.network
         printf '[Match]\\nName=host0\\n\\n[Network]\\nAddress=192.0.2.1/32\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n' >/etc/systemd/network/10-late.network
         cat >/etc/systemd/system/lab-vpn.service <<'END'
[Unit]
Description=a VPN that is up late
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=120
ExecStart=/bin/sh -c 'sleep ${seconds}; ss -Hltn >/run/listened; ip address replace ${address}/32 dev host0; ip address delete 192.0.2.1/32 dev host0; ip route replace ${NET}.1 dev host0; ip route replace default via ${NET}.1 dev host0 onlink src ${address}'
[Install]
WantedBy=multi-user.target
END
         systemctl daemon-reload; systemctl -q enable lab-vpn.service`,
    );
}

function vpnAsBefore(host: string): void {
    on(
        host,
        `systemctl -q disable lab-vpn.service; rm -f /etc/systemd/system/lab-vpn.service /etc/systemd/network/10-late.network
         if [ -e /root/lab.network ]; then mv /root/lab.network /etc/systemd/network/10-lab.network; fi; systemctl daemon-reload`,
    );
}

/** Agents talk to the API through their own haproxy. */
function throughProxy(host: string): void {
    const pid = pidOf(host, "k3s-agent");
    const peers = on(host, `ss -Htnp state established | grep 'pid=${pid},' | awk '{ print $4 }'`)
        .stdout.trim()
        .split("\n");
    assert.ok(peers.includes("127.0.0.1:16443"), `${host}: ${peers.join(" ")}`);
    assert.deepEqual(
        peers.filter((p) => /:6443$/.test(p) && !p.startsWith("127.")),
        [],
        `${host} talks to masters directly`,
    );
}

function nothingToDo(): void {
    const preview = mainStack().pulumi(["preview", "--expect-no-changes"], { check: false });
    assert.equal(preview.status, 0, preview.stdout + preview.stderr);
    const pids = HOSTS.map((host) => [pidOf(host, "haproxy"), pidOf(host, k3sUnit(host))]);
    const up = mainStack().up();
    assert.doesNotMatch(up.stdout, /updated|created|replaced/);
    assert.deepEqual(
        HOSTS.map((host) => [pidOf(host, "haproxy"), pidOf(host, k3sUnit(host))]),
        pids,
    );
}

describe("reboot: the cluster comes back by itself", function () {
    this.timeout(600_000);
    before(mainCluster);

    it("an agent and a master, one after the other: no request through other nodes' proxies fails", async () => {
        await underLoad(
            "reboots of agent-2 and master-2",
            async () => {
                await reboot("agent-2");
                await whole();
                await reboot("master-2");
                await whole();
            },
            { notReady: ["agent-2", "master-2"] },
        );
        throughProxy("agent-2");
    });

    it("power cut of all hosts, agents back first, one master's VPN late: whole without an up", async () => {
        lateVpn("master-3", `${NET}.13`, 15);
        try {
            for (const host of HOSTS) lab(["fault", host, "kill"]);
            // Two seconds apart and not waited for, since an agent's k3s is not ready before there is a master.
            const starts = [];
            for (const host of ["agent-2", "agent-1", "master-3", "master-2", "master-1"]) {
                starts.push(startInBackground(host));
                await new Promise((resolve) => setTimeout(resolve, 2000));
            }
            await Promise.all(starts);
            await whole(240);
            const listened = on("master-3", "cat /run/listened").stdout;
            assert.match(listened, /127\.0\.0\.1:16443 /, "the API's frontend was there before the VPN");
            for (const host of ["agent-1", "agent-2"]) throughProxy(host);
        } finally {
            vpnAsBefore("master-3");
        }
        for (const host of HOSTS)
            assert.equal(
                on(host, "ls -d /var/lib/k3s-ha/run.* /var/lib/k3s-ha/.k3s-ha.* 2>/dev/null || true").stdout,
                "",
            );
        nothingToDo();
    });
});
