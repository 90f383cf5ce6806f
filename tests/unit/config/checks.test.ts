/** Authentication, own files, lists, names and what the steps wait for: settings against what is written and waited for. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { authenticationConfig, k3sFiles, k3sUnit, nodeConfig } from "../../../components/steps/k3s-files";
import { k3sBundle } from "../../../components/steps/k3s";
import { haproxyConfig } from "../../../components/model/proxy";
import { renderBundle } from "../../../components/remote/bundle";
import { scriptText } from "../../../components/remote/kit";
import { checkSpec } from "../../../components/config/check";
import type { ClusterSpec, NodeSpec } from "../../../components/model/cluster";
import { mistakes, node, settings, spec } from "../helpers/settings";
import { shell } from "../helpers/step-shell";

const of = (s: ClusterSpec, name: string): NodeSpec => s.nodes.find((n) => n.name === name) as NodeSpec;
const data = (more: object, name: string): string => {
    const s = spec(more);
    return renderBundle(k3sBundle(s, of(s, name)));
};
const told = (more: object, line: RegExp): void => {
    const lines = mistakes(more);
    assert.ok(
        lines.some((l) => line.test(l)),
        lines.join("\n"),
    );
};

const ISSUER = {
    issuer: { url: "https://login.example.com", audiences: ["kubernetes"] },
    claimMappings: { username: { claim: "email", prefix: "" } },
};
const args = (...list: string[]): object => ({ config: { "kube-apiserver-arg": list } });

describe("who may log in", () => {
    it("refuses oidc flags beside readiness scoped, which the kube-apiserver does not survive", () => {
        told(
            { readiness: "scoped", server: args("v=1", "oidc-issuer-url=https://login.example.com") },
            /^k3s-ha:server\.config\.kube-apiserver-arg\[1\]: .*cannot be set together with readiness "scoped".*authentication\.jwt/,
        );
        assert.deepEqual(mistakes({ server: args("oidc-issuer-url=https://login.example.com") }), []);
    });

    it("puts the user's own issuers into the file of readiness scoped", () => {
        const s = spec({ readiness: "scoped", authentication: { jwt: [ISSUER] } });
        const file = k3sFiles(s, of(s, "master-1")).find((f) => f.path.endsWith("/authn.yaml"));
        const content = parse(file?.content ?? "") as { jwt: unknown; anonymous: object };
        assert.deepEqual(content.jwt, [ISSUER]);
        assert.ok("conditions" in content.anonymous);
        assert.ok(!("jwt" in (parse(authenticationConfig("v1.36.3+k3s1")) as object)));
    });

    it("refuses issuers that no file takes, and those that the kube-apiserver would not start with", () => {
        told(
            { authentication: { jwt: [ISSUER] } },
            /^k3s-ha:authentication\.jwt: goes into the file of readiness "scoped"/,
        );
        const bad = (issuer: object): object => ({ readiness: "scoped", authentication: { jwt: [issuer] } });
        told(
            bad({ ...ISSUER, issuer: { url: "http://x", audiences: ["a"] } }),
            /jwt\[0\]\.issuer\.url: .* must be an https/,
        );
        told(
            bad({ ...ISSUER, issuer: { url: "https://x", audiences: [] } }),
            /jwt\[0\]\.issuer\.audiences: .*at least one audience/,
        );
        told(
            bad({ ...ISSUER, claimMappings: { username: { claim: "sub" } } }),
            /claimMappings\.username: .*claim and prefix/,
        );
    });

    it("takes a flag that says what readiness says", () => {
        assert.deepEqual(mistakes({ readiness: "unauthorized", server: args("anonymous-auth=false") }), []);
        assert.deepEqual(mistakes({ server: args("anonymous-auth=true") }), []);
        told(
            { readiness: "unauthorized", server: args("anonymous-auth=true") },
            /contradicts readiness "unauthorized"/,
        );
        told({ readiness: "scoped", server: args("anonymous-auth=false") }, /contradicts readiness "scoped"/);
    });
});

describe("lists of a role and of a node", () => {
    it("are joined, however each is written", () => {
        const config = (shared: unknown, own: unknown): unknown => {
            const s = spec({
                server: { config: { "tls-san": shared } },
                nodes: [node("a", "server", "10.0.0.1", { config: { "tls-san": own } })],
            });
            return nodeConfig(s, of(s, "a"))["tls-san"];
        };
        for (const shared of ["x", ["x"]])
            for (const own of ["y", ["y"]]) assert.deepEqual(config(shared, own), ["x", "y"]);
        const agents = spec({
            agent: { config: { "kubelet-arg": "max-pods=50", "pause-image": "a" } },
            nodes: [
                node("a", "server", "10.0.0.1"),
                node("b", "agent", "10.0.0.2", { config: { "kubelet-arg": ["v=2"], "pause-image": "b" } }),
            ],
        });
        assert.deepEqual(of(agents, "b").config, { "kubelet-arg": ["max-pods=50", "v=2"], "pause-image": "b" });
    });
});

const files = (...paths: string[]): object => ({ host: { files: paths.map((path) => ({ path, content: "a\n" })) } });

describe("files of the user's", () => {
    it("may lie in k3s's folders where nobody else writes them", () => {
        for (const path of [
            "/etc/rancher/k3s/apiserver-tracing.yaml",
            "/etc/rancher/k3s/audit.yaml",
            "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
            "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/60-own.conf",
            "/var/lib/rancher/k3s/server/manifests/traefik-config.yaml",
            "/var/lib/rancher/k3s/server/manifests/traefik.yaml.skip",
            "/var/lib/rancher/k3s/agent/pod-manifests/own.yaml",
            "/etc/rancher/node-notes",
            "/etc/systemd/system/k3s.service.d/limits.conf",
            "/etc/default/k3s",
            // Where the CIS guide puts them.
            "/var/lib/rancher/k3s/server/audit.yaml",
            "/var/lib/rancher/k3s/server/psa.yaml",
            "/var/lib/rancher/credentialprovider/config.yaml",
        ])
            assert.deepEqual(mistakes(files(path)), [], path);
    });

    for (const [path, why] of [
        ["/etc/rancher/k3s/config.yaml", /use k3s-ha:server\.config/],
        ["/etc/rancher/k3s/config.yaml.d/99-own.yaml", /use k3s-ha:server\.config/],
        ["/etc/rancher/k3s/registries.yaml", /is written from k3s-ha:registries/],
        ["/etc/rancher/k3s/token", /is written by the step server or agent, or by k3s itself/],
        ["/etc/rancher/node/password", /is written by the step server or agent, or by k3s itself/],
        ["/var/lib/rancher/k3s/server/manifests/coredns.yaml", /by k3s at every start; turn it off/],
        ["/var/lib/rancher/k3s/server/static/k3s-ha/serving", /is k3s's own data/],
        ["/var/lib/rancher/k3s/server/tls/server-ca.crt", /is k3s's own data/],
        ["/var/lib/rancher/k3s/server/token", /is k3s's own data/],
        ["/var/lib/rancher/k3s/agent/etc/containerd/config.toml", /for containerd a template/],
        ["/var/lib/rancher/k3s/agent/kubelet.kubeconfig", /is k3s's own data/],
        ["/etc/systemd/system/k3s.service", /is written by the step server or agent/],
        ["/var/lib/k3s-ha/secrets/server-token", /is the program's own/],
        ["/etc/haproxy/haproxy.cfg", /use k3s-ha:proxy/],
        ["/etc/sysctl.d/90-k3s-ha.conf", /k3s-ha:host\.sysctl/],
        ["/var/lib/rancher/k3s/server/db/etcd/config", /is k3s's own data/],
        ["/etc/rancher", /is a folder on a host/],
        ["/var/lib/rancher/k3s/server/manifests", /is a folder on a host/],
    ] as const)
        it(`may not be ${path}, with the true reason`, () =>
            told(files(path), new RegExp(`^k3s-ha:host\\.files\\[0\\]\\.path: "${path}" .*${why.source}`)));

    it("may not be a folder of another one, nor a list of haproxy's", () => {
        told(
            files("/etc/x", "/etc/x/y"),
            /^k3s-ha:host\.files\[0\]\.path: "\/etc\/x" is the folder of host\.files\[1\]/,
        );
        assert.deepEqual(mistakes(files("/etc/x", "/etc/xy")), []);
        told(
            {
                ...files("/etc/haproxy/l"),
                proxy: { haproxy: { acl_files: [{ dest: "/etc/haproxy/l", content: ["a"] }] } },
            },
            /host\.files\[0\]\.path: .* is written from k3s-ha:proxy\.haproxy\.acl_files/,
        );
    });

    it("restart k3s where it reads them at its start, on the nodes that do", () => {
        const more = {
            ...files(
                "/etc/motd",
                "/etc/k3s/audit.yaml",
                "/etc/k3s/psa.yaml",
                "/etc/k3s/psa-inner.yaml",
                "/etc/ssl/r.pem",
                "/etc/default/k3s",
                "/var/lib/rancher/k3s/server/manifests/a.yaml",
            ),
            server: args("audit-policy-file=/etc/k3s/audit.yaml", "admission-control-config-file=/etc/k3s/psa.yaml"),
            registries: { configs: { r: { tls: { ca_file: "/etc/ssl/r.pem" } } } },
        };
        const inner = more as unknown as { host: { files: { path: string; content: string }[] } };
        inner.host.files[2]!.content = "plugins: [{ path: /etc/k3s/psa-inner.yaml }]\n";
        const reads = (name: string): string[] =>
            [...data(more, name).matchAll(/^reads: (\S+) [0-9a-f]{64}$/gm)].map((m) => m[1]!);
        assert.deepEqual(reads("master-1"), [
            "/etc/default/k3s",
            "/etc/k3s/audit.yaml",
            "/etc/k3s/psa-inner.yaml",
            "/etc/k3s/psa.yaml",
            "/etc/ssl/r.pem",
        ]);
        assert.deepEqual(reads("agent-1"), ["/etc/default/k3s", "/etc/ssl/r.pem"]);
        const folder = {
            ...files(
                "/etc/kubelet.d/1.conf",
                "/etc/kubelet.d-notes",
                "/var/lib/rancher/credentialprovider/config.yaml",
            ),
            agent: { config: { "kubelet-arg": "config-dir=/etc/kubelet.d/" } },
        };
        assert.deepEqual(
            [...data(folder, "agent-1").matchAll(/^reads: (\S+)/gm)].map((m) => m[1]),
            ["/etc/kubelet.d/1.conf", "/var/lib/rancher/credentialprovider/config.yaml"],
        );
        const before = data(more, "master-1");
        inner.host.files[1]!.content = "b\n";
        assert.notEqual(data(more, "master-1"), before);
    });

    it("that changed are not what k3s was started with", async () => {
        const folder = mkdtempSync(join(tmpdir(), "k3s-ha-reads-"));
        writeFileSync(join(folder, "audit.yaml"), "a\n");
        const { text } = await shell(
            `systemctl() { echo "systemctl $*"; }
start_digest >"$STARTED"; note_missed_restart; echo "same $RESTART"
echo b >${folder}/audit.yaml; note_missed_restart; echo "other $RESTART"`,
            { "work/set.version": "v1\n", "bin/v1/sha256": "x\n", "work/set.reads": `${folder}/audit.yaml 00\n` },
        );
        rmSync(folder, { recursive: true });
        assert.match(text, /^same 0\nsystemctl daemon-reload\nother 1$/m);
    });

    it("whose digests are sent make those data secret where the files are encrypted", () => {
        const encrypted = new Set(["host"]);
        assert.equal(checkSpec(settings(files("/etc/default/k3s")), { encrypted }).spec.confidential, true);
        assert.equal(checkSpec(settings({ host: { packages: ["jq"] } }), { encrypted }).spec.confidential, false);
    });
});

describe("what a step waits for", () => {
    it("is what somebody brings before it", () => {
        assert.match(
            data({ server: { config: { "flannel-backend": "none" } } }, "agent-1"),
            /^no-node-ready: .*your CNI/m,
        );
        assert.match(
            data({ server: { config: { "flannel-backend": "none" } } }, "master-2"),
            /^no-node-ready: .*your CNI/m,
        );
        assert.match(
            data({ server: { config: { "disable-cloud-controller": true } } }, "agent-1"),
            /^no-node-initialized: .*your cloud controller/m,
        );
        assert.doesNotMatch(data({}, "agent-1"), /^no-node/m);
    });

    for (const [what, settings, refused] of [
        [
            "no Node",
            { agent: { config: { "kubelet-arg": ["register-node=false"] } } },
            /^k3s-ha:agent\.config\.kubelet-arg\[0\]: "register-node=false" keeps the kubelet from making its Node/,
        ],
        [
            "no Node, in the kubelet's file",
            { kubelet: { registerNode: false } },
            /^k3s-ha:kubelet\.registerNode: false /,
        ],
        [
            "a Node of another name",
            { server: { config: { "kubelet-arg": "--hostname-override=x" } } },
            /kubelet-arg\[0\]: .*use nodes\[\]\.name/,
        ],
        [
            "Nodes without a part of the pods' network",
            { server: { config: { "kube-controller-manager-arg": ["allocate-node-cidrs=false"] } } },
            /kube-controller-manager-arg\[0\]: .*flannel waits for/,
        ],
        [
            "no controller manager",
            { server: { config: { "disable-controller-manager": true } } },
            /^k3s-ha:server\.config\.disable-controller-manager: true cannot be set for all servers/,
        ],
        [
            "none on the first server",
            { nodes: [node("a", "server", "10.0.0.1", { config: { "disable-controller-manager": true } })] },
            /^k3s-ha:nodes\[0\]\.config\.disable-controller-manager: true cannot be set here: the first server comes up alone/,
        ],
    ] as const)
        it(`is refused where a setting keeps it away: ${what}`, () => told(settings, refused));

    it("may be missing where a CNI of one's own or another server brings it", () => {
        const args = { "flannel-backend": "none", "kube-controller-manager-arg": ["allocate-node-cidrs=false"] };
        assert.deepEqual(mistakes({ server: { config: args } }), []);
        const second = node("b", "server", "10.0.0.2", { config: { "disable-controller-manager": true } });
        assert.deepEqual(mistakes({ nodes: [node("a", "server", "10.0.0.1"), second] }), []);
    });

    const waits = async (reason?: string): Promise<string> => {
        const kube = `kube() { case "$*" in *Ready*) echo 'x v1 False' ;; *) printf '2026-01-01T00:00:00Z v1' ;; esac; }`;
        const { text } = await shell(
            `${kube}; reported() { :; }; stage_wait() { what=$1; shift; if "$@"; then echo "$what: yes"; else echo "$what: no"; fi; }; wait_for_node`,
            {
                "work/set.version": "v1\n",
                ...(reason === undefined ? {} : { "work/set.no-node-ready": `${reason}\n` }),
            },
        );
        return text;
    };
    it("a Node that nobody has made Ready yet is enough where the CNI comes later, and the step says whose it is", async () => {
        assert.match(await waits(), /^Node Ready: no$/m);
        const text = await waits("your CNI");
        // Two streams, in either order.
        assert.match(text, /not waited for: node-ready \(your CNI\)$/m);
        assert.match(text, /^Node there: yes$/m);
    });
});

describe("names with dots", () => {
    const name = "node1.example.com";
    const more = {
        nodes: [
            node(name, "server", "10.0.0.1"),
            node("node1xexample.com", "server", "10.0.0.2"),
            node("a.b", "agent", "10.0.0.3"),
        ],
    };

    it("are taken everywhere", () => {
        assert.deepEqual(mistakes(more), []);
        const s = spec(more);
        assert.match(haproxyConfig(s, of(s, name)), /^ {2}server node1\.example\.com 10\.0\.0\.1:6443$/m);
        assert.match(k3sUnit(s, of(s, name)).content, /drain\.sh begin node1\.example\.com 10\.0\.0\.1/);
        assert.equal(nodeConfig(s, of(s, name))["node-name"], name);
    });

    it("are refused where Kubernetes refuses them", () => {
        for (const wrong of ["a..b", ".a", "a.", "-a.b", "a.-b", "A.b", "a_b", `${"a".repeat(60)}.bcd`])
            told(
                { nodes: [node(wrong, "server", "10.0.0.1")] },
                /^k3s-ha:nodes\[0\]\.name: .* must be a lower-case DNS name/,
            );
        told({ cluster: "a.b" }, /^k3s-ha:cluster: "a\.b" must be a lower-case DNS label/);
    });

    it("mean just themselves to the scripts", async () => {
        const { text } = await shell(`pattern a.b; printf 'axb|1\\na.b|2\\n' | grep "^$(pattern a.b)|"`);
        assert.equal(text, "a\\.b\na.b|2\n");
    });
});

describe("a checkout with CR LF", () => {
    it("sends the same scripts", () => {
        const file = join(mkdtempSync(join(tmpdir(), "k3s-ha-crlf-")), "step.sh");
        writeFileSync(file, "#!/bin/sh\r\n# comment\r\necho a\r\n");
        assert.equal(scriptText(file), "#!/bin/sh\n# comment\necho a\n");
        rmSync(dirname(file), { recursive: true });
    });
});
