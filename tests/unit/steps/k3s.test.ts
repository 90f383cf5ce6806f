import assert from "node:assert/strict";
import { parse } from "yaml";
import { anonymousSurface } from "../../../components/model/readiness";
import { authenticationConfig, k3sFiles, k3sUnit, nodeConfig, quotedYaml } from "../../../components/steps/k3s-files";
import { lostNodesBundle } from "../../../components/steps/lost-nodes";
import { membersBundle } from "../../../components/steps/members";
import { k3sBundle } from "../../../components/steps/k3s";
import { stageBundle } from "../../../components/steps/stage";
import { haproxyBundle } from "../../../components/steps/haproxy";
import { prepareBundle } from "../../../components/steps/prepare";
import { renderBundle } from "../../../components/remote/bundle";
import { checkSpec } from "../../../components/config/check";
import type { ClusterSpec, NodeSpec } from "../../../components/model/cluster";
import { assertGolden } from "../helpers/golden";
import { CA_PEM, node, settings, spec } from "../helpers/settings";

const of = (s: ClusterSpec, name: string): NodeSpec => s.nodes.find((n) => n.name === name) as NodeSpec;

const rich = spec({
    readiness: "scoped",
    vpn: { interface: "wg0", unit: "wg-quick@wg0.service", networks: ["10.90.0.0/24"] },
    server: {
        config: { disable: ["traefik"], "kube-apiserver-arg": ["audit-log-maxage=7"], "tls-san": ["api.example.com"] },
    },
    agent: { config: { "kubelet-arg": ["max-pods=50"] } },
    kubelet: { shutdownGracePeriod: "30s" },
    registries: { mirrors: { "docker.io": { endpoint: ["https://mirror.example.com"] } } },
    kubeconfig: { server: "https://k8s.example.com:6443", context: "prod" },
    nodes: [
        node("master-1", "server", "10.90.0.11", {
            externalAddress: "192.0.2.1",
            labels: { site: "a", "example.com/rack": "1" },
        }),
        node("agent-1", "agent", "10.90.0.21", {
            taints: ["dedicated=db:NoSchedule"],
            config: { "kubelet-arg": ["v=2"], "node-external-ip": undefined },
        }),
    ].map((n) => JSON.parse(JSON.stringify(n)) as unknown),
});

describe("k3s plan", () => {
    for (const name of ["master-1", "agent-1"]) {
        it(`what ${name} of the default stack is given`, () => {
            const s = spec();
            assertGolden(renderBundle(k3sBundle(s, of(s, name))), `k3s-${name}.txt`);
        });
        it(`what ${name} of a stack with many settings is given`, () => {
            assertGolden(renderBundle(k3sBundle(rich, of(rich, name))), `k3s-rich-${name}.txt`);
        });
    }

    it("what the steps prepare, haproxy and stage are given", () => {
        const s = spec({
            host: {
                sysctl: { "net.ipv4.ip_forward": 1 },
                packages: ["nfs-common"],
                files: [{ path: "/etc/motd", content: "hello\n" }],
            },
            download: { sha256: { amd64: "a".repeat(64) } },
        });
        const steps = [
            renderBundle(prepareBundle(s, of(s, "agent-1"), "0011223344556677", { "agent-token": "SECRET" })),
            renderBundle(haproxyBundle(s, of(s, "agent-1"))),
            renderBundle(stageBundle(s, of(s, "agent-1"))),
        ];
        assertGolden(steps.join("----\n"), "host-agent-1.txt");
    });

    it("each readiness mode sets its flags and nothing else", () => {
        const args = (readiness: string): unknown =>
            nodeConfig(spec({ readiness }), of(spec({ readiness }), "master-1"))["kube-apiserver-arg"];
        assert.equal(args("unauthorized"), undefined);
        assert.deepEqual(args("anonymous"), ["anonymous-auth=true"]);
        assert.deepEqual(args("scoped"), ["authentication-config=/etc/rancher/k3s/authn.yaml"]);
    });

    it("a flag that the user repeats stands once", () => {
        const s = spec({ server: { config: { "kube-apiserver-arg": ["anonymous-auth=true", "v=1"] } } });
        assert.deepEqual(nodeConfig(s, of(s, "master-1"))["kube-apiserver-arg"], ["anonymous-auth=true", "v=1"]);
    });

    it("the anonymous section is never left out, and the version fits the release", () => {
        for (const [version, api] of [
            ["v1.33.1+k3s1", "v1beta1"],
            ["v1.34.0+k3s1", "v1"],
            ["v1.36.3+k3s1", "v1"],
        ] as const) {
            const config = parse(authenticationConfig(version)) as { apiVersion: string; anonymous: unknown };
            assert.equal(config.apiVersion, `apiserver.config.k8s.io/${api}`);
            assert.deepEqual(config.anonymous, {
                enabled: true,
                conditions: [{ path: "/healthz" }, { path: "/livez" }, { path: "/readyz" }],
            });
        }
    });

    it("text stays text for a YAML 1.1 reader", () => {
        const values = {
            mode: "0644",
            no: "no",
            exp: "1e3",
            date: "2026-11-22",
            sexagesimal: "1:30",
            nul: "null",
            tilde: "~",
            colon: "a: b",
            hash: "# x",
        };
        const text = quotedYaml(values);
        for (const line of text.trim().split("\n")) assert.match(line, /^"?[a-z]+"?: "/);
        assert.deepEqual(parse(text, { version: "1.1" }), values);
    });

    it("an agent that shall not stay behind its proxy uses k3s's own balancer", () => {
        const s = spec({ agent: { throughProxy: false } });
        assert.equal("disable-apiserver-lb" in nodeConfig(s, of(s, "agent-1")), false);
        assert.equal(nodeConfig(spec(), of(spec(), "agent-1"))["disable-apiserver-lb"], true);
        const one = settings();
        Object.assign((one["nodes"] as { name: string }[]).find((n) => n.name === "agent-1") as object, {
            throughProxy: false,
        });
        const { spec: mixed } = checkSpec(one);
        assert.equal("disable-apiserver-lb" in nodeConfig(mixed, of(mixed, "agent-1")), false);
        assert.equal(nodeConfig(mixed, of(mixed, "agent-2"))["disable-apiserver-lb"], true);
    });

    it("units carry k3s's names and come after the proxy and the VPN", () => {
        const unit = k3sUnit(rich, of(rich, "agent-1"));
        assert.equal(unit.path, "/etc/systemd/system/k3s-agent.service");
        assert.match(unit.content, /^After=network-online\.target haproxy\.service wg-quick@wg0\.service$/m);
    });

    it("no file of a node depends on another node but for the proxies' masters", () => {
        const more = settings();
        (more["nodes"] as unknown[]).push(node("agent-9", "agent", "10.90.0.29"));
        const grown = spec({ nodes: more["nodes"] });
        for (const name of ["master-1", "master-2", "agent-1"]) {
            assert.deepEqual(k3sFiles(grown, of(grown, name)), k3sFiles(spec(), of(spec(), name)));
            assert.deepEqual(
                renderBundle(k3sBundle(grown, of(grown, name))),
                renderBundle(k3sBundle(spec(), of(spec(), name))),
            );
        }
    });

    it("the anonymous surface of each mode", () => {
        const codes = (mode: "unauthorized" | "anonymous" | "scoped"): Record<string, number> =>
            Object.fromEntries(anonymousSurface(mode));
        assert.deepEqual([codes("anonymous")["/readyz"], codes("anonymous")["/version"]], [200, 403]);
        assert.deepEqual([codes("scoped")["/readyz"], codes("scoped")["/version"]], [200, 401]);
        assert.deepEqual([codes("unauthorized")["/readyz"], codes("unauthorized")["/version"]], [401, 401]);
    });

    it("snapshot settings are k3s's own, and credentials are in no public file", () => {
        const s = spec({
            snapshots: {
                schedule: "0 */6 * * *",
                retention: 7,
                s3: {
                    bucket: "backups",
                    endpoint: "s3.example.com",
                    folder: "prod",
                    endpointCa: CA_PEM,
                    lookup: "path",
                    retention: 12,
                },
            },
            s3AccessKey: "AKIA-SECRET",
            s3SecretKey: "SECRET/+key",
        });
        const config = nodeConfig(s, of(s, "master-2"));
        assert.deepEqual(Object.fromEntries(Object.entries(config).filter(([k]) => k.startsWith("etcd-"))), {
            "etcd-snapshot-schedule-cron": "0 */6 * * *",
            "etcd-snapshot-retention": 7,
            "etcd-s3": true,
            "etcd-s3-bucket": "backups",
            "etcd-s3-endpoint": "s3.example.com",
            "etcd-s3-folder": "prod",
            "etcd-s3-endpoint-ca": Buffer.from(CA_PEM).toString("base64"),
            "etcd-s3-bucket-lookup-type": "path",
            "etcd-s3-retention": 12,
        });
        // What the scripts on a master look for (snapshot-lib.sh).
        assert.match(renderBundle(k3sBundle(s, of(s, "master-2"))), /^ {4}etcd-s3: true$/m);
        assert.ok(!Object.keys(nodeConfig(s, of(s, "agent-1"))).some((k) => k.startsWith("etcd-")));
        for (const n of s.nodes) assert.ok(!renderBundle(k3sBundle(s, n)).includes("SECRET"), n.name);
    });

    it("a lost node is no master for the proxies, no member, and is fenced", () => {
        const s = spec({
            nodes: [
                node("master-1", "server", "10.90.0.11", { lost: true }),
                node("master-2", "server", "10.90.0.12"),
                node("agent-1", "agent", "10.90.0.21", { lost: true, labels: { a: "b" } }),
                node("agent-2", "agent", "10.90.0.22", { labels: { c: "d" }, taints: ["k=v:NoSchedule"] }),
            ],
        });
        const live = of(s, "master-2");
        assert.doesNotMatch(renderBundle(haproxyBundle(s, live)), /10\.90\.0\.11/);
        assert.equal(
            renderBundle(lostNodesBundle(s, live)),
            "node: master-2\nlost: agent-1\nlost: master-1\nend: yes\n",
        );
        assert.equal(
            renderBundle(membersBundle(s, live)),
            "node: master-2\nleave-seconds: 300\nmember: agent-2 agent\nmember: master-2 server\nlabel: agent-2 c=d\ntaint: agent-2 k=v:NoSchedule\nend: yes\n",
        );
        assert.notEqual(
            renderBundle(membersBundle(spec({ nodes: [node("a", "server", "10.0.0.1", { rebuilt: 1 })] }), live)),
            renderBundle(membersBundle(spec({ nodes: [node("a", "server", "10.0.0.1")] }), live)),
            "a rebuilt host has a new Node, which is marked anew",
        );
    });

    it("only the first master of the chain snapshots and rotates; drains are asked of all or none", () => {
        const s = spec({ rollout: { drain: true, drainTimeout: "90s" } });
        const lines = (name: string): string => renderBundle(k3sBundle(s, of(s, name)));
        assert.match(lines("master-1"), /^snapshot: before-upgrade\nrotates: yes\ndrain-seconds: 90$/m);
        assert.doesNotMatch(lines("master-2"), /^(snapshot|rotates):/m);
        assert.match(lines("agent-1"), /^drain-seconds: 90$/m);
        assert.doesNotMatch(renderBundle(k3sBundle(spec(), of(spec(), "agent-1"))), /drain-seconds/);
        const none = spec({ snapshots: { beforeUpgrade: false } });
        assert.doesNotMatch(renderBundle(k3sBundle(none, of(none, "master-1"))), /^snapshot:/m);
    });
});
