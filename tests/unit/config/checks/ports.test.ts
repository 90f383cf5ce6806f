/** Ports that meet on a node: in the preview, with who has them. */
import assert from "node:assert/strict";
import { listenPlaces } from "../../../../components/haproxy";
import { refusesEach, type Refusal } from "../../helpers/refusals";
import { mistakes } from "../../helpers/settings";

const bind = (...listen: string[]) => ({
    proxy: {
        haproxy: {
            frontend: [{ name: "web", bind: listen.map((text) => ({ listen: text })), default_backend: "web" }],
            backend: [{ name: "web", balance: "first" }],
        },
    },
});
const config = (server: object, more: object): object => ({ server: { config: server }, ...more });

const REFUSED: readonly Refusal[] = [
    [
        "every blog's frontend",
        bind("*:6443"),
        /^k3s-ha:proxy\.haproxy\.frontend\[0\]\.bind\[0\]\.listen: "\*:6443" 6443 is used by k3s: the API/,
    ],
    ["the API on an address of its own", bind("10.90.0.100:6443"), /6443 is used by k3s/],
    ["an IPv6 wildcard", bind("[::]:10250"), /10250 is used by k3s: the kubelet/],
    ["one of several in a line", bind("127.0.0.1:8000,:2379"), /2379 is used by k3s: etcd/],
    ["a range of ports", bind("127.0.0.1:10240-10260"), /10248 is used by k3s/],
    ["ServiceLB's port", bind(":80"), /80 is taken on every node by ServiceLB.*disable: \[traefik, servicelb\]/],
    ["Traefik's port on one address", bind("10.90.0.5:443"), /443 is taken on every node by ServiceLB/],
    ["a NodePort", bind("*:30080"), /30080 lies in the range of NodePort services \(30000-32767\)/],
    [
        "a NodePort of a moved range",
        config({ "service-node-port-range": "20000-20100" }, bind("*:20050")),
        /20050 lies in the range of NodePort services \(20000-20100\)/,
    ],
    [
        "the proxy's own port",
        bind("127.0.0.1:16443"),
        /meets the bind 127\.0\.0\.1:16443 of frontend kubernetes_master_kube_api/,
    ],
    ["the stats page's port everywhere", bind("*:1936"), /meets the bind 10\.90\.0\.\d+:1936 of listen stats/],
    [
        "one bind twice",
        bind("*:8443", "10.90.0.1:8443"),
        /bind\[1\]\.listen: .* meets the bind \*:8443 of frontend web/,
    ],
    ["SSH's port", bind("*:22"), /22 is also the SSH port of a node/],
    [
        "the embedded registry's port",
        config({ "embedded-registry": true }, bind("*:5001")),
        /5001 is used by k3s: the embedded registry/,
    ],
    [
        "flannel's port",
        { proxy: { haproxy: { logforwards: [{ name: "syslog", dgram_bind: "0.0.0.0:8472" }] } } },
        /logforwards\[0\]\.dgram_bind: .*8472 is used by flannel \(vxlan\)/,
    ],
    [
        "WireGuard's port",
        config({ "flannel-backend": "wireguard-native" }, bind("quic4@*:51820")),
        /51820 is used by flannel/,
    ],
    [
        "the stats page on a taken port",
        { proxy: { stats: { port: 443 } } },
        /^k3s-ha:proxy\.stats\.port: 443 is taken on every node by ServiceLB/,
    ],
    [
        "the proxy in a moved range",
        config({ "service-node-port-range": "16000-17000" }, {}),
        /^k3s-ha:proxy\.port: 16443 lies in the range of NodePort services/,
    ],
    [
        "a range that is none",
        config({ "service-node-port-range": "30000" }, {}),
        /service-node-port-range: "30000" must be two ports/,
    ],
    [
        "the kubelet's own port",
        { kubelet: { readOnlyPort: 1936 } },
        /proxy\.stats\.port: 1936 is also kubelet\.readOnlyPort/,
    ],
];

describe("ports", () => {
    refusesEach(REFUSED);

    for (const [what, settings] of [
        ["ports that nobody has", bind("*:8443", "127.0.0.1:9000", "/run/x.sock", "quic4@:8443")],
        ["80 and 443 without ServiceLB", config({ disable: ["servicelb"] }, bind("*:80", "*:443"))],
        ["80 and 443 without Traefik", config({ disable: "traefik,metrics-server" }, bind("*:80", "*:443"))],
        ["a former NodePort", config({ "service-node-port-range": "20000-20100" }, bind("*:30080"))],
        [
            "an own frontend in the place of the preset's",
            {
                proxy: {
                    haproxy: {
                        frontend: [
                            {
                                name: "kubernetes_master_kube_api",
                                bind: [{ listen: "127.0.0.1:16443" }],
                                default_backend: "dev-kube-api",
                            },
                        ],
                    },
                },
            },
        ],
        ["one port on two addresses", bind("127.0.0.1:8443", "10.90.0.1:8443")],
        ["vxlan's port where flannel is another one", config({ "flannel-backend": "host-gw" }, bind("udp@:8472"))],
    ] as const)
        it(`accepts ${what}`, () => assert.deepEqual(mistakes(settings), []));

    it("tells binds beside all other mistakes", () => {
        const lines = mistakes({ ...bind("*:6443"), token: "K10abcdefghijkl" });
        assert.ok(
            ["k3s-ha:token", "k3s-ha:proxy.haproxy.frontend[0]"].every((p) => lines.some((l) => l.startsWith(p))),
            lines.join("\n"),
        );
    });

    it("reads haproxy's forms of addresses", () => {
        const places = (text: string): string[] =>
            listenPlaces(text).map((p) => `${p.address} ${p.from}-${p.to}${p.udp ? " udp" : ""}`);
        assert.deepEqual(places(":443,*:80"), ["* 443-443", "* 80-80"]);
        assert.deepEqual(places("[::1]:80"), ["::1 80-80"]);
        assert.deepEqual(places(":::8000-8010"), [":: 8000-8010"]);
        assert.deepEqual(places("ipv6@:443"), [":: 443-443"]);
        assert.deepEqual(places("quic4@0.0.0.0:443"), ["* 443-443 udp"]);
        for (const text of ["/run/a.sock", "unix@/run/a:80", "abns@x:1", "fd@5", "a", ""])
            assert.deepEqual(places(text), []);
    });
});
