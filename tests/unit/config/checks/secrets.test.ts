/** Secrets in clear in the stack file: one rule for every setting that can hold one. */
import assert from "node:assert/strict";
import { checkSpec } from "../../../../components/config/check";
import { mistakes, node, settings } from "../../helpers/settings";

const SECRET = "hunter2hunter2";
const KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
const file = (content: string): object => ({ host: { files: [{ path: "/etc/x", content }] } });
const own = (section: object): object => ({
    proxy: { haproxy: { backend: [{ name: "b", balance: "first", ...section }] } },
});

const REFUSED: readonly (readonly [what: string, settings: object, path: string])[] = [
    [
        "a registry's password",
        { registries: { configs: { "r.example": { auth: { username: "u", password: SECRET } } } } },
        'registries.configs["r.example"].auth.password',
    ],
    [
        "a registry's token",
        { registries: { configs: { r: { auth: { identity_token: SECRET } } } } },
        "registries.configs.r.auth.identity_token",
    ],
    [
        "a registry's auth",
        { registries: { configs: { r: { auth: { auth: SECRET } } } } },
        "registries.configs.r.auth.auth",
    ],
    [
        "a password in a mirror's URL",
        { registries: { mirrors: { "docker.io": { endpoint: [`https://u:${SECRET}@m.example`] } } } },
        'registries.mirrors["docker.io"].endpoint[0]',
    ],
    [
        "the bucket's session token",
        { server: { config: { "etcd-s3-session-token": SECRET } } },
        "server.config.etcd-s3-session-token",
    ],
    [
        "a proxy with a password",
        { server: { config: { "etcd-s3-proxy": `http://u:${SECRET}@p.example:3128` } } },
        "server.config.etcd-s3-proxy",
    ],
    [
        "a key of a VPN",
        { agent: { config: { "vpn-auth": `name=tailscale,joinKey=${SECRET}` } } },
        "agent.config.vpn-auth",
    ],
    [
        "a flag that is one",
        { server: { config: { "kube-apiserver-arg": [`oidc-client-secret=${SECRET}`] } } },
        "server.config.kube-apiserver-arg[0]",
    ],
    [
        "one at a node",
        { nodes: [node("a", "server", "10.0.0.1", { config: { "vpn-auth": SECRET } })] },
        "nodes[0].config.vpn-auth",
    ],
    [
        "a datastore with a password",
        { server: { config: { "datastore-endpoint": `postgres://u:${SECRET}@db/k3s` } } },
        "server.config.datastore-endpoint",
    ],
    [
        "a header of the kubelet",
        { kubelet: { staticPodURLHeader: { Authorization: [`Basic ${SECRET}`] } } },
        "kubelet.staticPodURLHeader.Authorization[0]",
    ],
    ["a private key in a file", file(KEY), "host.files[0].content"],
    ["a proxy's password in a file", file(`HTTPS_PROXY=http://u:${SECRET}@p.example:3128\n`), "host.files[0].content"],
    [
        "a header in a line of haproxy",
        own({ raw_options: [`http-request set-header Authorization "Basic ${SECRET}"`] }),
        "proxy.haproxy.backend[0].raw_options[0]",
    ],
    [
        "a password in a line of haproxy",
        own({ raw_options: [`stats auth admin:${SECRET}`] }),
        "proxy.haproxy.backend[0].raw_options[0]",
    ],
    [
        "a header in a check of haproxy",
        own({ http_check: [`send meth GET uri / hdr Authorization "Bearer ${SECRET}"`] }),
        "proxy.haproxy.backend[0].http_check[0]",
    ],
];

describe("secrets in clear", () => {
    for (const [what, more, path] of REFUSED)
        it(`refuses ${what}, and does not show it`, () => {
            const lines = mistakes(more);
            assert.ok(
                lines.some((line) => line.startsWith(`k3s-ha:${path}: `)),
                lines.join("\n"),
            );
            assert.ok(!lines.join("\n").includes(SECRET) && !lines.join("\n").includes("AAAA"), lines.join("\n"));
        });

    it("does not show one that stands where the program has a place for it", () => {
        for (const key of ["token", "agent-token", "etcd-s3-secret-key"])
            assert.ok(
                !mistakes({ server: { config: { [key]: SECRET } } })
                    .join("\n")
                    .includes(SECRET),
                key,
            );
    });

    it("does not show one in another mistake of its value", () => {
        for (const more of [
            { server: { config: { "etcd-s3-proxy": [`http://u:${SECRET}@p.example`] } } },
            { readiness: "scoped", server: { config: { "kube-apiserver-arg": [`oidc-client-secret=${SECRET}`] } } },
            { kubeconfig: { server: `https://u:${SECRET}@10.0.0.1:6443` } },
            { download: { baseUrl: `https://u:${SECRET}@mirror.example` } },
        ]) {
            const lines = mistakes(more);
            assert.ok(lines.length > 0 && !lines.join("\n").includes(SECRET), lines.join("\n"));
        }
    });

    it("takes them where they are encrypted", () => {
        for (const [what, more] of REFUSED) {
            const [key = ""] = Object.keys(more);
            if (["nodes", "proxy"].includes(key) || what.startsWith("a datastore")) continue;
            assert.doesNotThrow(() => checkSpec(settings(more), { encrypted: new Set([key]) }), what);
        }
    });

    it("takes what is none", () => {
        const args = [
            "enable-bootstrap-token-auth=true",
            "token-auth-file=/etc/x",
            "service-account-max-token-expiration=24h",
        ];
        for (const more of [
            { server: { config: { "kube-apiserver-arg": args } } },
            {
                registries: {
                    mirrors: { "docker.io": { endpoint: ["https://mirror.example.com:5000"] } },
                    configs: { r: { tls: { ca_file: "/etc/ssl/x.pem" } } },
                },
            },
            own({
                raw_options: [
                    "http-request set-header Authorization %[var(txn.auth)]",
                    "stats auth admin:@@stats-password@@",
                ],
            }),
            file("tokenRequest: {}\nmax-token-expiration: 24h\nkey: /etc/x.pem\n"),
        ])
            assert.deepEqual(mistakes(more), []);
    });

    it("warns of a file that only looks like it", () => {
        const { warnings } = checkSpec(settings(file(`user: a\npassword: ${SECRET}\n`)));
        assert.match(warnings.join("\n"), /k3s-ha:host\.files\[0\]\.content \(\/etc\/x\) looks as if it held a secret/);
        assert.ok(!warnings.join("\n").includes(SECRET));
        assert.deepEqual(
            checkSpec(settings(file(`user: a\npassword: ${SECRET}\n`)), { encrypted: new Set(["host"]) }).warnings,
            [],
        );
        assert.deepEqual(checkSpec(settings(file("PASSWORD=$FROM_ELSEWHERE\ntoken: /run/token\n"))).warnings, []);
    });
});
