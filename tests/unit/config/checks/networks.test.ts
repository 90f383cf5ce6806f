/** Networks that may not meet, their forms and families: all in the preview. */
import assert from "node:assert/strict";
import { defaultDns, overlap, parseNetwork } from "../../../../components/model/networks";
import { refusesEach, type Refusal } from "../../helpers/refusals";
import { mistakes, node } from "../../helpers/settings";

const config = (server: object, more: object = {}): object => ({ server: { config: server }, ...more });
const one = (address: string, more: object = {}): object => ({ nodes: [node("a", "server", address, more)] });

const REFUSED: readonly Refusal[] = [
    [
        "a node in the pods' own network",
        one("10.42.7.1"),
        /^k3s-ha:nodes\[0\]\.address: "10\.42\.7\.1" lies in the pods' network 10\.42\.0\.0\/16 \(k3s's own cluster-cidr\)/,
    ],
    [
        "a node in the services' own network",
        one("10.43.7.1"),
        /nodes\[0\]\.address: .*services' network 10\.43\.0\.0\/16/,
    ],
    ["an IPv6 node in k3s's own network", one("fd00:42::7"), /nodes\[0\]\.address: .*pods' network fd00:42::\/56/],
    [
        "a node in a network of the user's",
        config({ "cluster-cidr": "10.90.0.0/16" }),
        /nodes\[0\]\.address: .*\(k3s-ha:server\.config\.cluster-cidr\)/,
    ],
    [
        "an SSH host there",
        one("10.0.0.1", { ssh: { host: "10.42.0.9", hostKey: "ssh-ed25519 AAAA" } }),
        /nodes\[0\]\.ssh\.host: "10\.42\.0\.9" lies in/,
    ],
    [
        "a bastion there",
        { ssh: { bastion: { host: "10.43.0.9", hostKey: "ssh-ed25519 AAAA" } } },
        /ssh\.bastion\.host: .*SSH from it/,
    ],
    ["an external address there", one("10.0.0.1", { externalAddress: "10.42.1.1" }), /nodes\[0\]\.externalAddress: /],
    ["a stats page there", { proxy: { stats: { address: "10.42.1.1" } } }, /proxy\.stats\.address: /],
    [
        "pods in the services' own network",
        config({ "cluster-cidr": "10.43.0.0/17" }),
        /server\.config\.cluster-cidr: .* meets the services' network 10\.43\.0\.0\/16 \(k3s's own/,
    ],
    [
        "services in the pods' own network",
        config({ "service-cidr": "10.42.0.0/20" }),
        /server\.config\.service-cidr: .* meets the pods' network/,
    ],
    [
        "pods and services in one network",
        config({ "cluster-cidr": "10.50.0.0/16", "service-cidr": "10.50.0.0/16" }),
        /cluster-cidr: .* meets/,
    ],
    [
        "pods in the VPN",
        config({ "cluster-cidr": "10.8.128.0/17" }, { vpn: { networks: ["10.8.0.0/16"] } }),
        /vpn\.networks\[0\]: "10\.8\.0\.0\/16" meets the pods' network/,
    ],
    ["a VPN in the pods' own network", { vpn: { networks: ["10.42.9.0/24"] } }, /vpn\.networks\[0\]: /],
    ["an empty network", config({ "service-cidr": "" }), /server\.config\.service-cidr: "" must be a network/],
    ["no network", config({ "cluster-cidr": "ten" }), /server\.config\.cluster-cidr: "ten" must be a network/],
    [
        "an address for a network",
        config({ "service-cidr": "10.50.0.1" }),
        /service-cidr: "10\.50\.0\.1" must be a network/,
    ],
    [
        "pods' networks for two nodes of five",
        config({ "cluster-cidr": "10.50.0.0/23" }),
        /cluster-cidr: .*room for 2 nodes, each with a \/24, and the stack has 5/,
    ],
    ["services without a tenth address", config({ "service-cidr": "10.50.0.0/29" }), /service-cidr: .*is too small/],
    [
        "a DNS outside of the services",
        config({ "cluster-dns": "10.96.0.10" }),
        /cluster-dns: "10\.96\.0\.10" lies outside of the services' network 10\.43\.0\.0\/16/,
    ],
    ["a DNS at the API's address", config({ "cluster-dns": "10.43.0.1" }), /cluster-dns: .*that of Service kubernetes/],
    [
        "services' network that an older kube-apiserver does not take",
        { version: "v1.33.4+k3s1", server: { config: { "service-cidr": "10.96.0.0/11" } } },
        /service-cidr: "10\.96\.0\.0\/11" is too large: the kube-apiserver of v1\.33\.4.*take a \/12 or smaller/,
    ],
    [
        "a pods' network of IPv6 that the controller manager does not take",
        config({ "cluster-cidr": "fd00:50::/47" }, one("fd12::1")),
        /cluster-cidr: .*is too large.*take a \/48 or smaller/,
    ],
    [
        "an external address that is the host's own",
        one("10.0.0.1", { externalAddress: "127.0.0.1" }),
        /nodes\[0\]\.externalAddress: "127\.0\.0\.1" is no address at which others reach/,
    ],
    [
        "a link-local external address",
        one("10.0.0.1", { externalAddress: "169.254.3.4" }),
        /nodes\[0\]\.externalAddress: .*is no address/,
    ],
    [
        "an API for users there",
        { kubeconfig: { server: "https://10.43.9.9:6443" } },
        /^k3s-ha:kubeconfig\.server: "10\.43\.9\.9" lies in the services' network/,
    ],
    ["a DNS that is none", config({ "cluster-dns": "dns" }), /cluster-dns: "dns" must be an address/],
    [
        "a domain that is none",
        config({ "cluster-domain": "Cluster Local" }),
        /cluster-domain: .*must be a lower-case DNS name/,
    ],
    [
        "dual-stack networks",
        config({ "cluster-cidr": "10.50.0.0/16,fd00:50::/56" }),
        /cluster-cidr: .*both families, .*dual-stack is not supported/,
    ],
    [
        "a network of another family",
        config({ "service-cidr": "fd00:50::/112" }),
        /service-cidr: .*is IPv6 and the nodes' addresses are IPv4/,
    ],
    [
        "two networks of one family",
        config({ "cluster-cidr": ["10.50.0.0/16", "10.51.0.0/16"] }),
        /several networks of one family/,
    ],
    [
        "nodes of two families",
        { nodes: [node("a", "server", "10.0.0.1"), node("b", "server", "fd12::2")] },
        /nodes\[1\]\.address: "fd12::2" is IPv6 and nodes\[0\]\.address/,
    ],
    ["a link-local address of IPv6", one("fe80::1"), /nodes\[0\]\.address: "fe80::1" is a link-local address/],
    ["a link-local address of IPv4", one("169.254.3.4"), /is a link-local address/],
    ["an IPv4 address as IPv6", one("::ffff:10.0.0.1"), /in the form of IPv6/],
    [
        "a flag beside the setting",
        config({ "kube-apiserver-arg": ["service-cluster-ip-range=10.50.0.0/16"] }),
        /kube-apiserver-arg\[0\]: .*write k3s-ha:server\.config\.service-cidr/,
    ],
];

describe("networks", () => {
    refusesEach(REFUSED);

    for (const [what, settings] of [
        [
            "networks beside each other",
            config({ "cluster-cidr": "10.52.0.0/16", "service-cidr": "10.53.0.0/16", "cluster-dns": "10.53.0.10" }),
        ],
        ["nodes in k3s's own network when it is moved", config({ "cluster-cidr": "10.52.0.0/16" }, one("10.42.0.1"))],
        ["a whole private range as trusted network", { vpn: { networks: ["10.0.0.0/8"] } }],
        ["pods that may read the metrics", { proxy: { stats: { allowedNetworks: ["10.42.0.0/16", "10.90.0.0/24"] } } }],
        ["a DNS of one's own", config({ disable: ["coredns"], "cluster-dns": "169.254.20.10" })],
        [
            "smaller parts of the pods' network",
            config({ "cluster-cidr": "10.52.0.0/23", "kube-controller-manager-arg": ["node-cidr-mask-size=26"] }),
        ],
        ["many Services with a release that takes them", config({ "service-cidr": "10.96.0.0/11" })],
        ["a cluster of IPv6", config({ "cluster-cidr": "fd00:50::/56" }, one("fd12::1"))],
    ] as const)
        it(`accepts ${what}`, () => assert.deepEqual(mistakes(settings), []));

    it("counts addresses of both families", () => {
        const meet = (a: string, b: string): boolean => overlap(parseNetwork(a)!, parseNetwork(b)!);
        assert.ok(meet("10.0.0.0/8", "10.255.0.0/16") && meet("10.42.3.4/16", "10.42.200.1"));
        assert.ok(!meet("10.42.0.0/16", "10.43.0.0/16") && !meet("::/0", "10.0.0.1"));
        assert.ok(meet("fd00:42::/56", "fd00:42:0:ff::1") && !meet("fd00:42::/56", "fd00:42:0:100::1"));
        assert.deepEqual(["10.43.0.0/16", "fd00:43::/112", "10.0.0.0/30"].map(defaultDns), [
            "10.43.0.10",
            "fd00:43::a",
            undefined,
        ]);
    });
});
