/** Ports that meet on a node: in the preview, with who has them. */
import assert from "node:assert/strict";
import { listenPlaces } from "../../../../components/haproxy";
import { refusesEach, type Refusal } from "../../helpers/refusals";
import { checkSpec } from "../../../../components/config/check";
import { mistakes, node, settings } from "../../helpers/settings";

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
        /proxy\.stats\.port: 1936 is also k3s-ha:kubelet\.readOnlyPort/,
    ],
    [
        "each of the kubelet's ports",
        { kubelet: { port: 10250, healthzPort: 16443 } },
        /proxy\.port: 16443 is also k3s-ha:kubelet\.healthzPort/,
    ],
    [
        "a flag's port",
        config({ "kube-proxy-arg": ["metrics-bind-address=0.0.0.0:1936"] }, {}),
        /proxy\.stats\.port: 1936 is also k3s-ha:server\.config\.kube-proxy-arg\[0\]/,
    ],
    [
        "one of etcd's own",
        config({ "etcd-arg": "listen-metrics-urls=http://127.0.0.1:2381,http://10.0.0.1:8405" }, bind("*:8405")),
        /8405 is also k3s-ha:server\.config\.etcd-arg\[0\]/,
    ],
    [
        "a balancer of a server's agent",
        config({ "lb-server-port": 16443 }, {}),
        /proxy\.port: 16443 is also k3s-ha:server\.config\.lb-server-port/,
    ],
    [
        "a port of k3s's moved onto another one",
        { agent: { config: { "kubelet-arg": ["healthz-port=10250"] } } },
        /^k3s-ha:agent\.config\.kubelet-arg\[0\]: "healthz-port=10250" takes port 10250, which is used by k3s: the kubelet/,
    ],
    [
        "a port of k3s's among the NodePorts",
        { kubelet: { readOnlyPort: 31000 } },
        /^k3s-ha:kubelet\.readOnlyPort: 31000 takes port 31000, which lies in the range of NodePort/,
    ],
    [
        "sshd where Traefik's rule takes it",
        { ssh: { port: 443 } },
        /^k3s-ha:ssh\.port: 443 is taken on every node by ServiceLB.*could not log in any more\. Let sshd/,
    ],
    [
        "sshd among the NodePorts",
        { nodes: [node("a", "server", "10.0.0.1", { ssh: { port: 30022, hostKey: "ssh-ed25519 AAAA" } })] },
        /^k3s-ha:nodes\[0\]\.ssh\.port: 30022 lies in the range of NodePort services/,
    ],
    [
        "a bind in a line that the model does not know",
        {
            proxy: {
                haproxy: {
                    frontend: [
                        { name: "web", bind: [{ listen: "127.0.0.1:8000" }], raw_options: ["bind *:10250 ssl crt /x"] },
                    ],
                },
            },
        },
        /^k3s-ha:proxy\.haproxy\.frontend\[0\]\.raw_options\[0\]: "\*:10250" 10250 is used by k3s/,
    ],
    [
        "haproxy's own socket in such a line",
        { proxy: { haproxy: { global: { raw_options: ["stats socket ipv4@127.0.0.1:2381 level admin"] } } } },
        /proxy\.haproxy\.global\.raw_options\[0\]: .*2381 is used by k3s: etcd/,
    ],
    [
        "haproxy's peers",
        {
            proxy: {
                haproxy: { global: { peers: [{ name: "p", peers: [{ name: "a", listen: "10.90.0.11:10256" }] }] } },
            },
        },
        /proxy\.haproxy\.global\.peers\[0\]\.peers\[0\]\.listen: .*10256 is used by k3s/,
    ],
    [
        "an own frontend that takes the API's place away",
        {
            proxy: {
                haproxy: {
                    frontend: [
                        {
                            name: "kubernetes_master_kube_api",
                            bind: [{ listen: "127.0.0.1:8443" }],
                            default_backend: "dev-kube-api",
                        },
                    ],
                },
            },
        },
        /^k3s-ha:proxy\.haproxy: leaves nothing that listens at 127\.0\.0\.1:16443, .*default_backend dev-kube-api/,
    ],
    [
        "an own frontend there with another backend",
        {
            proxy: {
                haproxy: {
                    frontend: [
                        {
                            name: "kubernetes_master_kube_api",
                            bind: [{ listen: "127.0.0.1:16443" }],
                            default_backend: "other",
                        },
                    ],
                    backend: [{ name: "other", balance: "first" }],
                },
            },
        },
        /^k3s-ha:proxy\.haproxy\.frontend\[0\]\.default_backend: must be dev-kube-api for what listens/,
    ],
    [
        "an own stats section at another port than the outputs name",
        { proxy: { haproxy: { listen: [{ name: "stats", bind: [{ listen: "*:8404" }] }] } } },
        /^k3s-ha:proxy\.haproxy: leaves nothing that listens at 10\.90\.0\.\d+:1936, .*set k3s-ha:proxy\.stats/,
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
        ["sshd at 443 without ServiceLB", config({ disable: ["servicelb"] }, { ssh: { port: 443 } })],
        ["k3s's own ports written out", { kubelet: { port: 10250, readOnlyPort: 0 } }],
        [
            "metrics for Prometheus",
            config(
                {
                    "etcd-arg": ["listen-metrics-urls=http://0.0.0.0:2381"],
                    "kube-proxy-arg": "metrics-bind-address=0.0.0.0:10249",
                },
                {},
            ),
        ],
        ["one port on two addresses", bind("127.0.0.1:8443", "10.90.0.1:8443")],
        ["vxlan's port where flannel is another one", config({ "flannel-backend": "host-gw" }, bind("udp@:8472"))],
    ] as const)
        it(`accepts ${what}`, () => assert.deepEqual(mistakes(settings), []));

    it("warns where it cannot know", () => {
        const warned = (more: object): string => checkSpec(settings(more)).warnings.join("\n");
        const forwarded = node("a", "server", "10.0.0.1", {
            ssh: { host: "203.0.113.7", port: 443, hostKey: "ssh-ed25519 AAAA" },
        });
        assert.match(
            warned({ nodes: [forwarded] }),
            /nodes\[0\]\.ssh\.port: 443 is taken on every node by ServiceLB.*not one that is forwarded/,
        );
        const wireguard = { server: { config: { "flannel-backend": "wireguard-native" } } };
        assert.match(
            warned({ ...wireguard, vpn: { unit: "wg-quick@wg0.service" } }),
            /takes UDP 51820 .*usual port of wg-quick@wg0\.service.*another ListenPort/,
        );
        assert.equal(warned({ ...wireguard, vpn: { unit: "tailscaled.service" } }), "");
    });

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
