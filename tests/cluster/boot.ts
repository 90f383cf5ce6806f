/** Hosts that boot again, as scenarios need it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { NET, ROOT, eventually, lab, on, pidOf, type RunOptions } from "./support";

const bootId = (host: string, options: RunOptions = {}): string =>
    on(host, "systemctl show -p UserspaceTimestampMonotonic --value; stat -c %Y /proc/1", options).stdout;

/** A planned reboot, as a user does it, until the host has booted again. */
export async function reboot(host: string): Promise<void> {
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
export function lateVpn(host: string, address: string, seconds: number): void {
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

export function vpnAsBefore(host: string): void {
    on(
        host,
        `systemctl -q disable lab-vpn.service; rm -f /etc/systemd/system/lab-vpn.service /etc/systemd/network/10-late.network
         if [ -e /root/lab.network ]; then mv /root/lab.network /etc/systemd/network/10-lab.network; fi; systemctl daemon-reload`,
    );
}

/**
 * An agent talks to the API through its own haproxy. Besides that k3s keeps a tunnel to every master, in which masters reach its kubelet: one
 * connection each, which can go through no balancer (k3s 1.36.3, pkg/agent/tunnel).
 */
export function throughProxy(host: string): void {
    const pid = pidOf(host, "k3s-agent");
    const peers = on(host, `ss -Htnp state established | grep 'pid=${pid},' | awk '{ print $4 }'`)
        .stdout.trim()
        .split("\n");
    assert.ok(peers.includes("127.0.0.1:16443"), `${host}: ${peers.join(" ")}`);
    const direct = peers.filter((peer) => peer.endsWith(":6443"));
    assert.deepEqual(direct, [...new Set(direct)], `${host} has more than a tunnel to a master`);
}

/** A power cut of all these hosts; they start two seconds apart in this order, not waited for, since an agent's k3s is not ready before there is a master. */
export async function powerCut(hosts: readonly string[]): Promise<void> {
    for (const host of hosts) lab(["fault", host, "kill"]);
    const starts = [];
    for (const host of hosts) {
        starts.push(startInBackground(host));
        await new Promise((resolve) => setTimeout(resolve, 2000));
    }
    await Promise.all(starts);
}
