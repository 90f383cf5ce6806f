/** hardening: what hosts are given, and what cannot stand beside it. Nothing of it is run here. */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { renderBundle } from "../../../../components/remote/bundle";
import { k3sBundle } from "../../../../components/steps/k3s";
import { k3sFiles, nodeConfig } from "../../../../components/steps/k3s-files";
import { prepareBundle } from "../../../../components/steps/prepare";
import type { ClusterSpec, NodeSpec } from "../../../../components/model/cluster";
import { refusesEach } from "../../helpers/refusals";
import { mistakes, spec } from "../../helpers/settings";
import { shell } from "../../helpers/step-shell";

const of = (s: ClusterSpec, name: string): NodeSpec => s.nodes.find((n) => n.name === name) as NodeSpec;
const cis = (more: object = {}): object => ({ hardening: "cis", readiness: "scoped", ...more });
const args = (s: ClusterSpec, name: string, key: string): string[] => nodeConfig(s, of(s, name))[key] as string[];

describe("hardening: cis", () => {
    refusesEach([
        [
            "readiness anonymous",
            { hardening: "cis" },
            /^k3s-ha:hardening: "cis" cannot be set together with readiness "anonymous".*scoped/,
        ],
        ["another profile", { hardening: "stig" }, /^k3s-ha:hardening: "stig" must be cis/],
        [
            "another sysctl",
            cis({ host: { sysctl: { "vm/panic_on_oom": 1 } } }),
            /host\.sysctl\["vm\/panic_on_oom"\]: 1 must be 0 with hardening/,
        ],
        [
            "its switch turned off",
            cis({ agent: { config: { "protect-kernel-defaults": false } } }),
            /agent\.config\.protect-kernel-defaults: false contradicts k3s-ha:hardening/,
        ],
        [
            "its files in host.files",
            { host: { files: [{ path: "/etc/rancher/k3s/cis-audit.yaml", content: "a" }] } },
            /is written from k3s-ha:hardening/,
        ],
    ]);

    it("readiness unauthorized and the same sysctl are fine", () => {
        assert.deepEqual(mistakes(cis({ readiness: "unauthorized", host: { sysctl: { "vm.panic_on_oom": 0 } } })), []);
    });

    it("servers get audit log and policy, admission and kubelet settings, before the user's arguments", () => {
        const own = { config: { "kube-apiserver-arg": ["audit-log-maxage=90"], "kubelet-arg": ["max-pods=50"] } };
        const s = spec(cis({ server: own }));
        const api = args(s, "master-1", "kube-apiserver-arg");
        for (const arg of [
            "enable-admission-plugins=NodeRestriction,EventRateLimit",
            "admission-control-config-file=/etc/rancher/k3s/cis-admission.yaml",
            "audit-policy-file=/etc/rancher/k3s/cis-audit.yaml",
            "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log",
            "service-account-extend-token-expiration=false",
            "authentication-config=/etc/rancher/k3s/authn.yaml",
        ])
            assert.ok(api.includes(arg), arg);
        assert.ok(api.indexOf("audit-log-maxage=30") < api.indexOf("audit-log-maxage=90"));
        assert.equal(args(s, "master-1", "kubelet-arg").at(-1), "max-pods=50");
        assert.deepEqual(args(s, "master-1", "kube-controller-manager-arg"), ["terminated-pod-gc-threshold=100"]);
        const file = (name: string): Record<string, unknown> =>
            parse(k3sFiles(s, of(s, "master-1")).find(({ path }) => path.endsWith(name))!.content) as Record<
                string,
                unknown
            >;
        assert.deepEqual(file("cis-audit.yaml")["rules"], [{ level: "Metadata" }]);
        const plugins = file("cis-admission.yaml")["plugins"] as {
            name: string;
            configuration: { defaults: object };
        }[];
        assert.deepEqual(
            plugins.map(({ name }) => name),
            ["PodSecurity", "EventRateLimit"],
        );
        assert.equal((plugins[0]!.configuration.defaults as { enforce: string }).enforce, "restricted");
    });

    it("agents get the kubelet's part, and every host the kernel's", () => {
        const s = spec(cis({ host: { sysctl: { "net.ipv4.ip_forward": 1 } } }));
        const config = nodeConfig(s, of(s, "agent-1"));
        assert.equal(config["protect-kernel-defaults"], true);
        assert.match(
            (config["kubelet-arg"] as string[]).join(" "),
            /streaming-connection-idle-timeout=5m tls-cipher-suites=TLS_ECDHE/,
        );
        assert.equal("kube-apiserver-arg" in config || "kube-controller-manager-arg" in config, false);
        assert.equal(
            k3sFiles(s, of(s, "agent-1")).some(({ path }) => path.includes("cis-")),
            false,
        );
        const sysctl = prepareBundle(s, of(s, "agent-1"), "id", {}).files[0];
        assert.equal(
            sysctl?.content,
            "kernel.panic = 10\nkernel.panic_on_oops = 1\nnet.ipv4.ip_forward = 1\nvm.overcommit_memory = 1\nvm.panic_on_oom = 0",
        );
    });

    it("without it nothing of it is there", () => {
        for (const n of spec().nodes)
            assert.doesNotMatch(renderBundle(k3sBundle(spec(), n)), /cis-|protect-kernel|audit/);
    });

    it("its files go when it is switched off, with a restart", async () => {
        const { text } = await shell(
            "put_unit() { :; }; bundle_file() { return 1; }; REGISTRATION=$STATE/none; install_files; echo $RESTART; ls $CONF",
            { "etc/cis-audit.yaml": "a\n", "etc/cis-admission.yaml": "a\n" },
        );
        assert.equal(text.trim(), "1\nconfig.yaml");
    });
});
