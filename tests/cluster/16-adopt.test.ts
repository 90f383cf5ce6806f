/** A cluster that the Ansible role built is taken over (docs/operations.md, "Take over a running cluster"). */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { renderHaproxy, ansibleRole } from "../../components/haproxy";
import { MASTERS, NET, OLD_VERSION, Stack, eventually, lab, mastersUp, nodeOf, on, pidOf, underLoad } from "./support";

const TOKEN = "the-token-of-the-old-cluster";
/** The one that the role started first. */
const FIRST = MASTERS[0];
/** The second agent's k3s lacks what this program sets; the first one's settings are the same. */
const [SAME, OTHER] = ["agent-1", "agent-2"] as const;
/** For machines whose hosts have cgroup v1. */
const CGROUP_V1 = "fail-cgroupv1=false";
const HOSTS = [...MASTERS, SAME, OTHER] as const;
const ADDRESS: Record<string, string> = {
    "master-1": `${NET}.11`,
    "master-2": `${NET}.12`,
    "master-3": `${NET}.13`,
    [SAME]: `${NET}.21`,
    [OTHER]: `${NET}.22`,
};

function install(host: string, role: "server" | "agent", config: Record<string, unknown>): void {
    const proxy = renderHaproxy(
        ansibleRole({
            cluster: "old",
            apiServers: MASTERS.map((name) => ({ name, address: ADDRESS[name] as string, port: 6443 })),
            frontend: { port: 16443, ipv6: false },
            stats: { address: "127.0.0.1", port: 1936, allowedNetworks: [], metricsPassword: false, admin: false },
            expect: [200],
        }),
    ).replace("@@stats-password@@", "old");
    const release = `http://${NET}.1:8080/k3s-io/k3s/releases/download/${OLD_VERSION.replace("+", "%2B")}`;
    const script = readFileSync(join(__dirname, "ansible-layout.sh"), "utf8");
    on(host, "cat >/tmp/layout.sh", { input: script });
    const data = `${stringify({ token: TOKEN, "node-ip": ADDRESS[host], ...config })}---\n${proxy}`;
    on(host, `sh /tmp/layout.sh ${role} ${release}; rm -f /tmp/layout.sh /tmp/haproxy.cfg`, {
        input: data,
        timeout: 240,
    });
}

const pids = (): string[] => HOSTS.map((host) => pidOf(host, "k3s"));
const members = (): string =>
    on(FIRST, "HOME=/tmp k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml get --raw /db/info").stdout;

describe("adopt: a cluster of the Ansible role's layout", function () {
    this.timeout(600_000);
    const stack = new Stack("adopt", HOSTS, (config) => {
        config["k3s-ha:server"] = {
            config: { disable: ["traefik"], "write-kubeconfig-mode": "0600", "kubelet-arg": [CGROUP_V1] },
        };
        // As the role has it: an argument instead of a file, so that nothing differs where it ran.
        config["k3s-ha:agent"] = { config: { "kubelet-arg": [CGROUP_V1] } };
        delete config["k3s-ha:kubelet"];
    });
    const refused = (): string => {
        const before = pids();
        const up = stack.pulumi(["up", "--yes", "--skip-preview"], { check: false });
        assert.notEqual(up.status, 0, up.stdout);
        assert.deepEqual(pids(), before, "k3s was restarted");
        return up.stdout + up.stderr;
    };

    before(() => {
        lab(["hosts", "up", ...HOSTS], { timeout: 300 });
        const server = {
            disable: "traefik",
            "write-kubeconfig-mode": "0600",
            "kube-apiserver-arg": ["anonymous-auth=true"],
            "kubelet-arg": [CGROUP_V1],
        };
        const joins = { server: "https://127.0.0.1:16443", "kubelet-arg": [CGROUP_V1] };
        install(FIRST, "server", { "cluster-init": true, ...server });
        for (const master of MASTERS.slice(1)) install(master, "server", { ...joins, ...server });
        install(SAME, "agent", { ...joins, "disable-apiserver-lb": true });
        install(OTHER, "agent", joins);
        stack.init();
    });

    it("is refused where nobody asked for it, for another cluster, and with another token", () => {
        assert.match(refused(), /FAILED on node \S+, step prepare: k3s runs on this host already \(k3s\.service\)/);
        stack.set((config) => {
            config["k3s-ha:allow"] = ["adopt"];
            config["k3s-ha:caHash"] = "0".repeat(64);
        });
        assert.match(refused(), /FAILED on node \S+, step prepare: the k3s on this host is not of the cluster/);
        const hash = on(FIRST, "sha256sum </var/lib/rancher/k3s/server/tls/server-ca.crt").stdout.slice(0, 64);
        stack.set((config) => void (config["k3s-ha:caHash"] = hash));
        const text = refused();
        assert.match(
            text,
            /FAILED on node master-1, step server: the running cluster does not accept the stack's server-token/,
        );
        assert.ok(!text.includes(TOKEN));
    });

    it("runs on where nothing differs, restarts where something does and says what", async () => {
        for (const key of ["token", "agentToken"]) stack.pulumi(["config", "set", "--secret", `k3s-ha:${key}`, TOKEN]);
        const [before, etcd] = [pids(), members()];
        const kubeconfig = join(mkdtempSync(join(tmpdir(), "k3s-ha-adopt-")), "config");
        writeFileSync(kubeconfig, on(FIRST, "cat /etc/rancher/k3s/k3s.yaml").stdout, { mode: 0o600 });
        let up = "";
        await underLoad("adopt", () => void (up = stack.up().stdout), {}, [SAME, "master-3"], kubeconfig);
        const after = pids();
        [...MASTERS, SAME].forEach((host, i) => assert.equal(after[i], before[i], `${host} was restarted:\n${up}`));
        assert.notEqual(after[4], before[4]);
        assert.match(up, /agent-2: restarts for: from now on disable-apiserver-lb=true/);
        assert.equal(members(), etcd);
        for (const host of HOSTS) assert.deepEqual(mastersUp(host), [...MASTERS]);
        for (const master of MASTERS)
            assert.doesNotMatch(on(master, "cat /etc/rancher/k3s/config.yaml").stdout, /token:/);
        stack.up();
        assert.deepEqual(pids(), after);
        assert.equal(stack.pulumi(["preview", "--expect-no-changes"], { check: false }).status, 0);
    });

    it("is like any other from then on: a changed flag, a restart, the removal", async () => {
        stack.set((config) => void delete config["k3s-ha:allow"]);
        const equal = stack.pulumi(["preview"], { check: false });
        assert.match(equal.stdout + equal.stderr, /k3s-ha:agentToken: must differ from token/);
        stack.pulumi(["config", "set", "--secret", "k3s-ha:agentToken", "another-token-for-agents"]);
        stack.up();
        // A host that lost this program's notes is known by its token.
        on(SAME, "rm -rf /var/lib/k3s-ha");
        stack.upWith((config) => {
            const node = nodeOf(config, SAME);
            node.rebuilt = 1;
            node.config = { "kubelet-arg": ["max-pods=99"] };
        });
        await eventually("the agent is back", 60, () =>
            assert.match(on(SAME, "systemctl is-active k3s", { check: false }).stdout, /^active/),
        );
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
        for (const host of HOSTS)
            assert.equal(
                on(
                    host,
                    "ls -d /etc/rancher /var/lib/rancher/k3s /usr/local/bin/k3s /etc/systemd/system/k3s.service 2>/dev/null || true",
                ).stdout,
                "",
            );
    });
});
