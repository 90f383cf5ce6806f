import assert from "node:assert/strict";
import { checkSpec } from "../../../components/config/check";
import type { ClusterSpec } from "../../../components/model/cluster";
import { knownHostKey } from "../../../components/config/known-hosts";
import { durationMs, isCidr, nodeNetworks, parseK3sVersion } from "../../../components/values";
import { refusesEach, type Refusal } from "../helpers/refusals";
import { CA_PEM, mistakes, node, settings, spec } from "../helpers/settings";

/** Each mistake in these settings, as one line that names path, value and what is allowed. */
const refused: readonly Refusal[] = [
    [
        "two nodes of one name",
        { nodes: [node("a", "server", "10.0.0.1"), node("a", "agent", "10.0.0.2")] },
        /^k3s-ha:nodes\[1\]\.name: "a" is also the name of nodes\[0\]/,
    ],
    [
        "two nodes of one address",
        { nodes: [node("a", "server", "10.0.0.1"), node("b", "agent", "10.0.0.1")] },
        /^k3s-ha:nodes\[1\]\.address: "10\.0\.0\.1" is also the address of nodes\[0\]/,
    ],
    [
        "one IPv6 address in two spellings",
        { nodes: [node("a", "server", "fd00::1"), node("b", "agent", "fd00:0::1")] },
        /^k3s-ha:nodes\[1\]\.address: "fd00:0::1" is also the address/,
    ],
    ["no server", { nodes: [node("a", "agent", "10.0.0.1")] }, /^k3s-ha:nodes: has no node with role server/],
    [
        "no server that is not lost",
        { nodes: [node("a", "server", "10.0.0.1", { lost: true })] },
        /^k3s-ha:nodes: has no node with role server \(that is not lost\)/,
    ],
    [
        "SQLite for several servers",
        { server: { datastore: "sqlite" } },
        /^k3s-ha:server\.datastore: "sqlite" is for a single server and the stack has 3/,
    ],
    [
        "an allowance that does not exist",
        { allow: ["everything"] },
        /^k3s-ha:allow\[0\]: "everything" must be lessTolerance, /,
    ],
    ["no agents at a time", { rollout: { agents: 0 } }, /^k3s-ha:rollout\.agents: 0 must be 1 or more/],
    [
        "a schedule that is none",
        { snapshots: { schedule: "daily" } },
        /^k3s-ha:snapshots\.schedule: "daily" must be a cron schedule/,
    ],
    [
        "a snapshot setting in two places",
        { snapshots: { retention: 3 }, server: { config: { "etcd-snapshot-retention": 4 } } },
        /^k3s-ha:server\.config\.etcd-snapshot-retention: 4 is set by k3s-ha:snapshots/,
    ],
    [
        "a restore without the old cluster's token",
        { snapshots: { restore: "/root/old.db" } },
        /^k3s-ha:token: is missing: a snapshot can be read only with the server token/,
    ],
    [
        "a snapshot's path that leaves its folder",
        { snapshots: { restore: "/root/../etc/shadow" } },
        /^k3s-ha:snapshots\.restore: .* must be the absolute path/,
    ],
    [
        "one key of two for S3",
        { snapshots: { s3: { bucket: "b" } }, s3AccessKey: "abcdef" },
        /^k3s-ha:s3SecretKey: is missing, and the other one is set/,
    ],
    [
        "an S3 key with a quote",
        { snapshots: { s3: { bucket: "b" } }, s3AccessKey: 'a"b', s3SecretKey: "c" },
        /^k3s-ha:s3AccessKey: must be|^k3s-ha:s3AccessKey: 1 to 256|s3AccessKey.* must be 1 to 256 printable/,
    ],
    [
        "a CA for S3 that is a file's name",
        { snapshots: { s3: { bucket: "b", endpointCa: "/etc/ssl/ca.pem" } } },
        /^k3s-ha:snapshots\.s3\.endpointCa: "\/etc\/ssl\/ca\.pem" must be one or more certificates in PEM form/,
    ],
    [
        "a CA for S3 that is no certificate",
        { snapshots: { s3: { bucket: "b", endpointCa: CA_PEM.replace("MII", "AAA") } } },
        /^k3s-ha:snapshots\.s3\.endpointCa: .* must be one or more certificates in PEM form/,
    ],
    [
        "a key beside the CA for S3",
        {
            snapshots: {
                s3: {
                    bucket: "b",
                    endpointCa: `${CA_PEM}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`,
                },
            },
        },
        /^k3s-ha:snapshots\.s3\.endpointCa: .* and nothing else/,
    ],
    [
        "a CA for S3 over plain HTTP",
        { snapshots: { s3: { bucket: "b", endpointCa: CA_PEM, insecure: true } } },
        /^k3s-ha:snapshots\.s3\.endpointCa: is of no use with snapshots\.s3\.insecure/,
    ],
    [
        "a lookup that S3 does not have",
        { snapshots: { s3: { bucket: "b", lookup: "virtual" } } },
        /^k3s-ha:snapshots\.s3\.lookup: "virtual" must be auto, path or dns/,
    ],
    [
        "S3 keys in k3s's own settings",
        { server: { config: { "etcd-s3-access-key": "x" } } },
        /use the secret k3s-ha:s3AccessKey/,
    ],
    ["no node", { nodes: [] }, /^k3s-ha:nodes: \[\] must list at least one node/],
    [
        "an unknown role",
        { nodes: [node("a", "master", "10.0.0.1")] },
        /^k3s-ha:nodes\[0\]\.role: "master" must be server or agent/,
    ],
    ["an unknown key", { verison: "v1.36.3+k3s1" }, /^k3s-ha:verison: "v1\.36\.3\+k3s1" is not a known setting/],
    [
        "an unknown key of a node",
        { nodes: [node("a", "server", "10.0.0.1", { adress: 1 })] },
        /^k3s-ha:nodes\[0\]\.adress: 1 is not a known setting/,
    ],
    [
        "a malformed address",
        { nodes: [node("a", "server", "10.0.0.300")] },
        /^k3s-ha:nodes\[0\]\.address: "10\.0\.0\.300" must be an IPv4 or IPv6 address/,
    ],
    [
        "a loopback address",
        { nodes: [node("a", "server", "127.0.0.1")] },
        /nodes\[0\]\.address: "127\.0\.0\.1" is a loopback/,
    ],
    [
        "an upper-case node name",
        { nodes: [node("Master", "server", "10.0.0.1")] },
        /nodes\[0\]\.name: "Master" must be a lower-case DNS name/,
    ],
    [
        "a malformed version",
        { version: "1.36.3" },
        /^k3s-ha:version: "1\.36\.3" must be a k3s release such as v1\.36\.3\+k3s1/,
    ],
    [
        "a version that may split the cluster",
        { version: "v1.28.8+k3s1" },
        /^k3s-ha:version: "v1\.28\.8\+k3s1" is too old/,
    ],
    [
        "scoped on an old version",
        { version: "v1.31.14+k3s1", readiness: "scoped" },
        /^k3s-ha:readiness: "scoped" needs k3s v1\.32\.5/,
    ],
    [
        "an unknown readiness",
        { readiness: "open" },
        /^k3s-ha:readiness: "open" must be unauthorized, anonymous or scoped/,
    ],
    [
        "anonymous-auth=false by hand",
        { server: { config: { "kube-apiserver-arg": ["anonymous-auth=false"] } } },
        /kube-apiserver-arg\[0\]: "anonymous-auth=false" contradicts readiness "anonymous"/,
    ],
    [
        "anonymous-auth=true in another mode",
        { readiness: "scoped", server: { config: { "kube-apiserver-arg": ["anonymous-auth=true"] } } },
        /contradicts readiness "scoped"/,
    ],
    [
        "authentication-config by hand",
        { server: { config: { "kube-apiserver-arg": "authentication-config=/x" } } },
        /contradicts readiness/,
    ],
    ["a frontend on k3s's port", { proxy: { port: 6443 } }, /^k3s-ha:proxy\.port: 6443 is used by k3s/],
    ["a frontend on the agents' balancer", { proxy: { port: 6444 } }, /^k3s-ha:proxy\.port: 6444 is used by k3s/],
    [
        "stats on the frontend's port",
        { proxy: { stats: { port: 16443 } } },
        /^k3s-ha:proxy\.stats\.port: 16443 is also the port of the API frontend/,
    ],
    ["stats on the SSH port", { proxy: { stats: { port: 22 } } }, /is also the SSH port of nodes\[0\]/],
    [
        "a balancing that the seed does not have",
        { proxy: { preset: "ansible-role", balance: "leastconn" } },
        /^k3s-ha:proxy\.balance: has no effect with proxy\.preset: ansible-role/,
    ],
    [
        "a password for the seed's metrics",
        { proxy: { preset: "ansible-role", stats: { port: 1937, metricsPassword: true } } },
        /^k3s-ha:proxy\.stats\.metricsPassword: has no effect with proxy\.preset: ansible-role/,
    ],
    ["a NodePort", { proxy: { port: 30443 } }, /lies in the range of NodePort/],
    [
        "an lb-server-port on the frontend's port",
        { agent: { config: { "lb-server-port": 16443 } } },
        /is also k3s-ha:agent\.config\.lb-server-port/,
    ],
    [
        "a malformed network",
        { vpn: { networks: ["10.0.0.0/33"] } },
        /^k3s-ha:vpn\.networks\[0\]: "10\.0\.0\.0\/33" must be a network/,
    ],
    [
        "a malformed duration",
        { proxy: { check: { interval: "1 second" } } },
        /^k3s-ha:proxy\.check\.interval: "1 second" must be a duration/,
    ],
    ["a number as duration", { timeouts: { server: 300 } }, /^k3s-ha:timeouts\.server: 300 must be text/],
    [
        "an agent key on a server",
        { server: { config: { "disable-apiserver-lb": true } } },
        /^k3s-ha:server\.config\.disable-apiserver-lb: true is a setting of k3s agents only/,
    ],
    [
        "a server key on an agent",
        { agent: { config: { "tls-san": ["x"] } } },
        /^k3s-ha:agent\.config\.tls-san: \["x"\] is a setting of k3s servers only; k3s agents die of it/,
    ],
    [
        "an unknown k3s key",
        { nodes: [node("a", "server", "10.0.0.1", { config: { "node-labels": ["a=b"] } })] },
        /nodes\[0\]\.config\.node-labels: \["a=b"\] is not a k3s setting/,
    ],
    [
        "a managed k3s key",
        { server: { config: { "cluster-init": true } } },
        /server\.config\.cluster-init: true cannot be set by hand/,
    ],
    [
        "a key that servers must share",
        { nodes: [node("a", "server", "10.0.0.1", { config: { "cluster-cidr": "10.1.0.0/16" } })] },
        /must be equal on all servers/,
    ],
    [
        "a mode that YAML read as a number",
        { server: { config: { "write-kubeconfig-mode": 420 } } },
        /write-kubeconfig-mode: 420 must be text, in quotes/,
    ],
    [
        "a text for a boolean",
        { server: { config: { debug: "yes" } } },
        /server\.config\.debug: "yes" must be true or false/,
    ],
    [
        "an unpinned host",
        { nodes: [{ name: "a", role: "server", address: "10.0.0.1" }] },
        /^k3s-ha:nodes\[0\]\.ssh\.hostKey: is missing .*ssh-keyscan -t ed25519 10\.0\.0\.1/,
    ],
    [
        "a malformed host key",
        { nodes: [node("a", "server", "10.0.0.1", { ssh: { hostKey: "abc" } })] },
        /nodes\[0\]\.ssh\.hostKey: "abc" must be a public host key/,
    ],
    ["a newline in a name", { nodes: [node("a\nb", "server", "10.0.0.1")] }, /nodes\[0\]\.name: "a\\nb" must be/],
    ["a shell word as sysctl", { host: { sysctl: { "a; reboot": 1 } } }, /host\.sysctl/],
    ["a short token", { token: "abc" }, /^k3s-ha:token: 12 to 256|^k3s-ha:token: must be 12 to 256/],
    ["a full token", { token: `K10${"a".repeat(64)}::server:abcdefghijkl` }, /^k3s-ha:token: must be a plain password/],
    [
        "one token for both roles",
        { token: "abcdefghijklmn", agentToken: "abcdefghijklmn" },
        /^k3s-ha:agentToken: must differ/,
    ],
    [
        "a label that Kubernetes refuses",
        { nodes: [node("a", "server", "10.0.0.1", { labels: { site: "a b" } })] },
        /nodes\[0\]\.labels\.site: "a b" must be a Kubernetes label value/,
    ],
    [
        "a taint without effect",
        { nodes: [node("a", "server", "10.0.0.1", { taints: ["a=b"] })] },
        /taints\[0\]: "a=b" must be a taint/,
    ],
    [
        "kubelet settings on an old version",
        { version: "v1.31.9+k3s1", kubelet: { maxPods: 50 } },
        /^k3s-ha:kubelet: .*needs k3s v1\.32/,
    ],
];

describe("spec", () => {
    refusesEach(refused);

    it("lists all mistakes at once", () => {
        const lines = mistakes({
            version: "latest",
            readiness: "open",
            nodes: [node("a", "server", "10.0.0.1"), node("a", "agent", "10.0.0.1", { port: 1 })],
        });
        for (const part of [
            "k3s-ha:version:",
            "k3s-ha:readiness:",
            "k3s-ha:nodes[1].port:",
            "k3s-ha:nodes[1].name:",
            "k3s-ha:nodes[1].address:",
        ]) {
            assert.ok(
                lines.some((l) => l.startsWith(part)),
                `${part} is missing in:\n${lines.join("\n")}`,
            );
        }
    });

    it("never shows a secret's value", () => {
        const text = [
            ...mistakes({ token: "K10hunter2hunter2" }),
            ...mistakes({ statsPassword: "hunter2 hunter2" }),
        ].join("\n");
        assert.match(text, /k3s-ha:token/);
        assert.match(text, /k3s-ha:statsPassword/);
        assert.ok(!text.includes("hunter2"), text);
    });

    it("warns about an even number of servers, with the reason", () => {
        const two = settings({ nodes: [node("a", "server", "10.0.0.1"), node("b", "server", "10.0.0.2")] });
        assert.match(
            checkSpec(two).warnings.join("\n"),
            /2 servers: etcd needs a majority, so 2 tolerate the loss of 0/,
        );
        assert.deepEqual(checkSpec(settings()).warnings, []);
    });

    it("says so in every run when host keys are not verified", () => {
        const open = settings({
            ssh: { insecureIgnoreHostKey: true },
            nodes: [{ name: "a", role: "server", address: "10.0.0.1" }],
        });
        const { spec: s, warnings } = checkSpec(open);
        assert.match(warnings.join("\n"), /insecureIgnoreHostKey is true/);
        assert.equal(s.nodes[0]?.ssh.hostKey, undefined);
    });

    it("says so in every run when snapshots go to the bucket unprotected", () => {
        const warnings = (more: object): string => checkSpec(settings(more)).warnings.join("\n");
        assert.match(
            warnings({ snapshots: { s3: { bucket: "b", insecure: true } } }),
            /snapshots\.s3\.insecure is true/,
        );
        assert.equal(warnings({ snapshots: { s3: { bucket: "b", endpointCa: CA_PEM } } }), "");
        assert.match(
            warnings({ server: { config: { "etcd-s3": true, "etcd-s3-skip-ssl-verify": true } } }),
            /etcd-s3-skip-ssl-verify is true/,
        );
    });

    it("fills in the defaults and freezes the result", () => {
        const s = spec();
        assert.equal(s.readiness, "anonymous");
        assert.equal(s.proxy.port, 16443);
        assert.equal(s.proxy.stats.port, 1936);
        assert.equal(s.kubeconfig.server, "https://10.90.0.11:6443");
        assert.equal(s.nodes[0]?.throughProxy, true);
        assert.throws(() => ((s.nodes as unknown[])[0] = undefined));
    });

    it("does not depend on the order of nodes, but for who founds", () => {
        const nodes = settings()["nodes"] as unknown[];
        const a = spec();
        const b = spec({ nodes: [nodes[0], ...nodes.slice(1).reverse()] });
        assert.deepEqual(a, b);
    });

    it("the first server: the first listed one that is neither lost nor rebuilt, else the first living one", () => {
        const of = (...marks: object[]): string =>
            spec({ nodes: marks.map((more, i) => node(`m${i}`, "server", `10.0.0.${i + 1}`, more)) }).firstServer;
        assert.equal(of({}, {}, {}), "m0");
        assert.equal(of({ lost: true }, {}, {}), "m1");
        assert.equal(of({ rebuilt: 1 }, {}, {}), "m1");
        assert.equal(of({ rebuilt: 1 }, { rebuilt: 1 }), "m0");
        assert.equal(of({ lost: true }, { rebuilt: 1 }), "m1");
    });

    it("takes host keys from known_hosts, also hashed ones and other ports", () => {
        const text = [
            "# comment",
            "@revoked 10.0.0.1 ssh-ed25519 BAD",
            "10.0.0.1,a.example ssh-rsa RSA",
            "10.0.0.1 ssh-ed25519 ED",
            "[10.0.0.2]:2222 ssh-ed25519 PORT",
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 HASHED",
        ].join("\n");
        assert.equal(knownHostKey(text, "10.0.0.1", 22), "ssh-ed25519 ED");
        assert.equal(knownHostKey(text, "a.example", 22), "ssh-rsa RSA");
        assert.equal(knownHostKey(text, "10.0.0.2", 22), undefined);
        assert.equal(knownHostKey(text, "10.0.0.2", 2222), "ssh-ed25519 PORT");
        // ssh-keygen -H of this line, from the manual page of sshd(8).
        assert.equal(knownHostKey(text, "192.168.1.61", 22), "ssh-ed25519 HASHED");
    });

    it("lets the private networks of the nodes read the metrics by default, the same ones when a node is added", () => {
        assert.deepEqual(spec().proxy.stats.allowedNetworks, ["10.0.0.0/8"]);
        assert.deepEqual(nodeNetworks(["100.64.3.4", "fd12::1", "203.0.113.5", "172.31.0.1", "172.32.0.1"]), [
            "100.64.0.0/10",
            "172.16.0.0/12",
            "172.32.0.1/32",
            "203.0.113.5/32",
            "fc00::/7",
        ]);
    });

    it("takes encrypted values only where they stay secret, and says which setting has one that does not", () => {
        const check = (key: string): ClusterSpec => checkSpec(settings(), { encrypted: new Set([key, "token"]) }).spec;
        assert.deepEqual(
            ["registries", "kubelet", "server", "agent", "host", "token"].map((key) => check(key).confidential),
            [true, true, true, true, false, false],
        );
        for (const key of ["nodes", "proxy", "snapshots", "cluster"])
            assert.throws(() => check(key), new RegExp(`k3s-ha:${key}: holds an encrypted value`));
    });

    it("understands durations, networks and versions", () => {
        assert.deepEqual(["500ms", "2s", "4h", "0s", "1", "-1s"].map(durationMs), [
            500,
            2000,
            14_400_000,
            undefined,
            undefined,
            undefined,
        ]);
        assert.deepEqual(["10.0.0.0/8", "fd00::/8", "10.0.0.0", "fd00::/129"].map(isCidr), [true, true, false, false]);
        assert.deepEqual(parseK3sVersion("v1.36.3+k3s2"), {
            text: "v1.36.3+k3s2",
            major: 1,
            minor: 36,
            patch: 3,
            release: 2,
        });
    });
});
