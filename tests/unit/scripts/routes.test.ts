/** routes.sh: networks that only a host knows are compared with the pods' and services', before its first k3s. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBundle } from "../../../components/steps/prepare";
import { kitFolder } from "../helpers/kit-folder";
import { node, spec } from "../helpers/settings";

describe("networks of a host", () => {
    let dir: string;
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "k3s-ha-routes-"));
        mkdirSync(join(dir, "work"));
        writeFileSync(join(dir, "work/set.network"), "pods 10.42.0.0/16\nservices 10.43.0.0/16\n");
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    function check(routes: string, more = "", dns = "nameserver 10.90.0.1\nnameserver fd00::1"): string {
        writeFileSync(join(dir, "routes"), `${routes}\n`);
        writeFileSync(join(dir, "resolv.conf"), `${dns}\n`);
        const script = `KIT=${kitFolder()} STATE=${dir}; . $KIT/lib.sh; WORK=${dir}/work NODE=agent-1 STEP=prepare RESOLV_CONF=${dir}/resolv.conf K3S_AGENT=${dir}/agent
. $KIT/routes.sh; ip() { cat ${dir}/routes; }; ${more}
check_routes; echo "goes on"`;
        const { stdout, stderr } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
        return stdout + stderr;
    }

    const USUAL = `default via 192.0.2.1 dev eth0 proto dhcp
10.0.0.0/8 dev wg0 proto static scope link
10.90.0.0/24 dev wg0 proto kernel scope link src 10.90.0.21
local 10.90.0.21 dev wg0 table local proto kernel scope host src 10.90.0.21
broadcast 192.0.2.255 dev eth0 table local proto kernel scope link src 192.0.2.7
172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1`;

    for (const [what, route, told] of [
        [
            "docker's bridge",
            "10.42.7.0/24 dev docker0 proto kernel scope link src 10.42.7.1",
            /this host has a route to 10\.42\.7\.0\/24 dev docker0, and the pods' network 10\.42\.0\.0\/16 has that in it.*\n.*next: .*server\.config\.cluster-cidr .*default-address-pools/,
        ],
        [
            "a site behind the VPN",
            "10.43.0.0/16 via 10.90.0.1 dev wg0 table 52",
            /route to 10\.43\.0\.0\/16 via 10\.90\.0\.1 dev wg0, and the services' network.*\n.*server\.config\.service-cidr/,
        ],
        [
            "an address of its own",
            "local 10.42.255.255 dev lo table local proto kernel",
            /10\.42\.255\.255 dev lo, and the/,
        ],
        ["a blackhole", "blackhole 10.43.8.0/22", /route to 10\.43\.8\.0\/22, and the services' network/],
    ] as const)
        it(`${what} in the pods' or services' network is refused`, () =>
            assert.match(check(`${USUAL}\n${route}`), told));

    it("a DNS server in it is refused", () =>
        assert.match(
            check(USUAL, "", "nameserver 10.43.0.10"),
            /the DNS server 10\.43\.0\.10 \(\S+resolv\.conf\), and/,
        ));

    it("wider and other networks, and what a pod network has left, are no obstacle", () => {
        assert.equal(check(USUAL), "goes on\n");
        assert.equal(check(`${USUAL}\n10.42.0.0/15 dev wg0\n10.44.0.0/16 dev wg0`), "goes on\n");
        assert.equal(check("10.42.1.0/24 dev cni0\n10.42.2.0/24 via 10.42.2.0 dev flannel.1 onlink"), "goes on\n");
        assert.equal(check(USUAL, "ip() { return 1; }"), "goes on\n");
    });

    it("a host on which k3s has been is not looked at, nor one that is taken over", () => {
        const route = "10.42.7.0/24 dev docker0";
        for (const more of [
            "echo agent >$STATE/k3s-role",
            "rm $STATE/k3s-role; mkdir $K3S_AGENT",
            "echo 'agent ab' >$WORK/set.adopt",
        ])
            assert.equal(check(route, more), "goes on\n", more);
    });

    it("the step is given them as k3s will have them; of IPv6 none", () => {
        const given = (more: object): unknown => {
            const cluster = spec(more);
            return prepareBundle(cluster, cluster.nodes[0]!, "id", {}).settings["network"];
        };
        assert.deepEqual(given({}), ["pods 10.42.0.0/16", "services 10.43.0.0/16"]);
        assert.deepEqual(given({ server: { config: { "cluster-cidr": "10.52.0.0/16" } } }), [
            "pods 10.52.0.0/16",
            "services 10.43.0.0/16",
        ]);
        assert.deepEqual(given({ nodes: [node("a", "server", "fd12::1")] }), []);
    });
});
