import assert from "node:assert/strict";
import {
    HOSTS,
    MASTERS,
    AGENTS,
    clusterIsUp,
    kubectl,
    lab,
    mainStack,
    mastersUp,
    on,
    voters,
    whole,
    eventually,
    freshLab,
    NET,
} from "./support";
import { throughProxy } from "./boot";
import { snapshot, type Snapshot } from "./host-snapshot";

/** How the hosts were before the first `up`, for the comparison after destroy. */
export const untouched = new Map<string, Snapshot>();

const sshSessions = (): number =>
    HOSTS.reduce(
        (sum, host) =>
            sum +
            Number(
                on(
                    host,
                    "journalctl -u ssh -u ssh.service --no-pager -o cat | grep -c 'Accepted publickey' || true",
                ).stdout.trim(),
            ),
        0,
    );

describe("first up", function () {
    this.timeout(900_000);

    before(() => {
        freshLab();
        lab(["hosts", "up"], { timeout: 180 });
        for (const host of HOSTS) untouched.set(host, snapshot(host));
    });

    it("killed in the middle, the next up carries on and ends well", async () => {
        const child = mainStack().start(["up", "--yes", "--skip-preview"]);
        const gone = new Promise((resolve) => child.on("close", resolve));
        // Killed while the first master founds the cluster: the moment that leaves the most behind.
        await eventually("the first master starts", 240, () =>
            assert.equal(
                on("master-1", "systemctl is-active k3s; test -d /var/lib/rancher/k3s/server/db", { check: false })
                    .status,
                0,
            ),
        );
        process.kill(-(child.pid as number), "SIGKILL");
        await gone;
        mainStack().pulumi(["cancel", "--yes"], { check: false });
        const up = mainStack().up();
        console.log(`      up after the kill: ${up.seconds.toFixed(0)} s`);
        clusterIsUp();
        await whole();
    });

    it("every proxy sees three servers up, and health on its stats port", () => {
        for (const host of HOSTS) {
            assert.deepEqual(mastersUp(host), [...MASTERS]);
        }
        const targets = JSON.parse(
            mainStack().pulumi(["stack", "output", "prometheusTargets", "--json"]).stdout,
        ) as Record<string, { targets: string[] }>;
        assert.deepEqual(Object.keys(targets), [...HOSTS].sort());
        for (const target of Object.values(targets)) {
            const metrics = lab(["exec", "--", "curl", "-sf", `http://${target.targets[0]}/metrics`]).stdout;
            assert.match(metrics, /haproxy_backend_active_servers\{proxy="dev-kube-api"\} 3/);
            assert.equal(
                lab([
                    "exec",
                    "--",
                    "curl",
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    `http://${target.targets[0]}/`,
                ]).stdout,
                "401",
            );
            assert.equal(
                lab([
                    "exec",
                    "--",
                    "curl",
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    `http://${target.targets[0]}/healthz`,
                ]).stdout,
                "200",
            );
        }
    });

    it("the stats page opens with the password of the outputs", () => {
        const password = mainStack().output("statsPassword").trim();
        const pages = JSON.parse(mainStack().pulumi(["stack", "output", "statsEndpoints", "--json"]).stdout) as Record<
            string,
            string
        >;
        const page = lab(["exec", "--", "curl", "-sf", "-K", "-", pages["agent-1"] as string], {
            input: `user = "admin:${password}"\n`,
        }).stdout;
        assert.match(page, /Statistics Report/);
    });

    it("all masters are etcd voters and all Nodes run the configured version", () => {
        assert.deepEqual(voters("master-2"), [...MASTERS]);
        const nodes = kubectl([
            "get",
            "nodes",
            "-o",
            'jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion}{"\\n"}{end}',
        ]).stdout;
        const version = mainStack().config()["k3s-ha:version"] as string;
        for (const host of HOSTS)
            assert.match(nodes, new RegExp(`^${host} ${version.replaceAll(".", "\\.").replace("+", "\\+")}$`, "m"));
    });

    it("the kubeconfig works as it is, by each of its contexts", () => {
        for (const context of ["dev", ...MASTERS.map((m) => `dev-${m}`)]) {
            assert.match(kubectl(["get", "nodes", "--no-headers"], { context }).stdout, /agent-2 +Ready/);
        }
    });

    it("an agent's connections to the API all go through its own proxy", () => {
        for (const host of AGENTS) throughProxy(host);
    });

    it("masters' certificates are verified by every proxy", () => {
        for (const host of HOSTS) {
            assert.match(
                on(host, "cat /etc/haproxy/haproxy.cfg").stdout,
                /verify required ca-file \/etc\/haproxy\/dev-server-ca\.crt/,
            );
        }
    });

    it("no master would found a cluster again: each would join through its proxy", () => {
        for (const host of MASTERS) {
            assert.equal(
                on(host, "cat /etc/rancher/k3s/config.yaml.d/*.yaml").stdout.trim(),
                '"server": "https://127.0.0.1:16443"',
            );
        }
    });

    it("a second up changes nothing and opens no SSH session", () => {
        const sessions = sshSessions();
        const up = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        console.log(`      second up: ${up.seconds.toFixed(1)} s`);
        assert.match(up.stdout, /unchanged/);
        assert.equal(sshSessions(), sessions);
        assert.ok(sessions > 0, "the count of sessions must see the first up");
    });

    it("a preview of no change says so", () => {
        assert.equal(mainStack().pulumi(["preview", "--expect-no-changes"]).status, 0);
    });

    it("the lab's addresses are what the outputs name", () => {
        assert.deepEqual(
            JSON.parse(mainStack().pulumi(["stack", "output", "apiEndpoints", "--json"]).stdout),
            Object.fromEntries(MASTERS.map((name, i) => [name, `https://${NET}.${11 + i}:6443`])),
        );
    });
});
