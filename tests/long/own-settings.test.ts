/**
 * What people set on a first day beside the defaults, and what the program accepts of it, works on hosts: own networks, ports, names with
 * dots, files, lists of role and node, an own CNI and cloud controller; then a change of the pods' network with `allow`.
 */
import assert from "node:assert/strict";
import { NET, Stack, eventually, lab, nodeOf, nodesOf, on, pidOf, type Config } from "../cluster/support";

const HOSTS = ["master-1", "master-2", "master-3", "agent-1"] as const;
const AUDIT = "/var/lib/rancher/k3s/server/audit.yaml";
const policy = (level: string): string => `apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: ${level}\n`;
/** Names of the Nodes; those of the hosts are the lab's. */
const named = (host: string): string => `${host}.example.com`;
const unit = (host: string): string => (host.startsWith("master") ? "k3s" : "k3s-agent");
const kube = (line: string): string => on("master-1", `k3s kubectl ${line}`).stdout;
const pids = (hosts: readonly string[]): string[] => hosts.map((host) => pidOf(host, unit(host)));
const own = (config: Config): Record<string, unknown> =>
    (config["k3s-ha:server"] as { config: Record<string, unknown> }).config;

describe("own settings: what is accepted works on hosts", function () {
    this.timeout(900_000);
    const stack = new Stack("own", HOSTS, (config) => {
        for (const host of HOSTS) Object.assign(nodeOf(config, host), { name: named(host) });
        config["k3s-ha:vpn"] = { ...(config["k3s-ha:vpn"] as object), unit: "dummy-vpn.service" };
        config["k3s-ha:readiness"] = "scoped";
        config["k3s-ha:authentication"] = {
            jwt: [
                {
                    issuer: { url: "https://login.example.org", audiences: ["k8s"] },
                    claimMappings: { username: { claim: "email", prefix: "oidc:" } },
                },
            ],
        };
        config["k3s-ha:server"] = {
            config: {
                "cluster-cidr": "10.52.0.0/16",
                "service-cidr": "10.53.0.0/16",
                "cluster-dns": "10.53.0.53",
                "cluster-domain": "lab.example.com",
                disable: ["traefik", "servicelb"],
                "service-node-port-range": "20000-20100",
                "tls-san": "api.example.com",
                "kube-apiserver-arg": [`audit-policy-file=${AUDIT}`, "audit-log-path=-"],
                "disable-cloud-controller": true,
                "flannel-backend": "none",
            },
        };
        nodesOf(config)[0]!["config"] = { "tls-san": ["first.example.com"] };
        config["k3s-ha:host"] = { files: [{ path: AUDIT, content: policy("None") }] };
        config["k3s-ha:proxy"] = {
            haproxy: {
                frontend: [
                    {
                        name: "website",
                        bind: [{ listen: "*:80" }, { listen: "*:30080" }],
                        mode: "http",
                        raw_options: [
                            "timeout client 5s",
                            "http-request return status 200 content-type text/plain string own",
                        ],
                    },
                ],
            },
        };
    });
    before(() => {
        lab(["hosts", "up", ...HOSTS], { timeout: 300 });
        // A VPN's unit that does nothing: what its restart does to k3s is what counts.
        for (const host of HOSTS)
            on(
                host,
                "printf '%s\\n' '[Service]' Type=oneshot RemainAfterExit=yes ExecStart=/bin/true '[Install]' WantedBy=multi-user.target >/etc/systemd/system/dummy-vpn.service; systemctl daemon-reload; systemctl -q enable --now dummy-vpn",
            );
        stack.init();
    });
    after(() => {
        stack.pulumi(["destroy", "--yes", "--skip-preview"], { check: false });
        stack.forget();
    });

    it("a first up waits for no CNI and no cloud controller, and says whose they are", () => {
        const { stdout, stderr } = stack.up();
        assert.match(stdout + stderr, /not waited for: node-ready \(.*your CNI/);
        assert.match(stdout + stderr, /not waited for: node-initialized \(.*your cloud controller/);
        assert.deepEqual(
            kube("get nodes -o name").trim().split("\n").sort(),
            HOSTS.map((host) => `node/${named(host)}`).sort(),
        );
    });

    it("networks, names and lists are those of the stack file", () => {
        assert.equal(kube("get service kubernetes -o jsonpath={.spec.clusterIP}").trim(), "10.53.0.1");
        for (const name of ["api.example.com", "first.example.com"])
            on(
                "master-1",
                `openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -checkhost ${name} | grep -q 'does match'`,
            );
        const code = on("master-2", `curl -sk -o /dev/null -w '%{http_code}' https://${NET}.11:6443/readyz`).stdout;
        assert.equal(code, "200");
    });

    it("haproxy serves its own frontends where ServiceLB is off and the NodePorts are elsewhere", () => {
        for (const host of HOSTS)
            for (const port of [80, 30080])
                assert.equal(on(host, `curl -sS --max-time 5 http://127.0.0.1:${port}/`).stdout, "own", host);
    });

    it("a changed file that k3s reads restarts the servers that read it, and no agent", () => {
        const [servers, agents] = [pids(HOSTS.slice(0, 3)), pids(["agent-1"])];
        stack.upWith(
            (config) => void (config["k3s-ha:host"] = { files: [{ path: AUDIT, content: policy("Metadata") }] }),
        );
        assert.deepEqual(pids(["agent-1"]), agents);
        pids(HOSTS.slice(0, 3)).forEach((pid, i) => assert.notEqual(pid, servers[i]));
        assert.equal(stack.pulumi(["preview", "--expect-no-changes"], { check: false }).status, 0);
    });

    it("a restart of the VPN's unit takes k3s with it, on a server after it was drained", async () => {
        for (const host of ["agent-1", "master-2"]) {
            const [pid] = pids([host]);
            on(host, "systemctl restart dummy-vpn", { timeout: 120 });
            await eventually(`${host} is back`, 120, () => {
                assert.notEqual(pids([host])[0], pid);
                assert.match(kube(`get node ${named(host)}`), / Ready/);
            });
        }
        const served = on("master-2", "ls /var/lib/rancher/k3s/server/static/k3s-ha/serving");
        assert.match(served.stdout, /serving/);
    });

    it("what the founding fixes and what splits the pods' network is refused; the latter with allow goes to every node", () => {
        const all = pids(HOSTS);
        const change = (to: Record<string, unknown>) => stack.changed((config) => void Object.assign(own(config), to));
        for (const [to, told] of [
            [{ "cluster-cidr": "10.54.0.0/16" }, /server\.config\.cluster-cidr: .*fixes it when a cluster is founded/],
            [{ "flannel-backend": "vxlan" }, /server\.config\.flannel-backend: .*allow: \[podNetwork\]/],
        ] as const) {
            const preview = stack.pulumi(["preview", "--config-file", change(to)], { check: false });
            assert.notEqual(preview.status, 0);
            assert.match(preview.stdout + preview.stderr, told);
        }
        assert.deepEqual(pids(HOSTS), all, "k3s was restarted");
        const up = stack.upWith((config) => {
            own(config)["cluster-domain"] = "other.example.com";
            config["k3s-ha:allow"] = ["podNetwork"];
        });
        assert.match(up.stdout + up.stderr, /cluster-domain \(lab\.example\.com → other\.example\.com\) changes/);
        pids(HOSTS).forEach((pid, i) => assert.notEqual(pid, all[i], HOSTS[i]));
        assert.equal(stack.pulumi(["preview", "--expect-no-changes"], { check: false }).status, 0);
    });
});
