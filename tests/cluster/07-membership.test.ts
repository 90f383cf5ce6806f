import assert from "node:assert/strict";
import {
    Stack,
    eventually,
    kubectl,
    kubeconfig,
    lab,
    labNode,
    mainCluster,
    mainStack,
    mastersUp,
    members,
    nodeOf,
    nodesOf,
    on,
    pidOf,
    someCluster,
    underLoad,
    voters,
    whole,
    workload,
    workloadReady,
    type Config,
} from "./support";

const add =
    (...names: string[]) =>
    (config: Config): void =>
        void nodesOf(config).push(...names.map(labNode));
const remove =
    (...names: string[]) =>
    (config: Config): void =>
        void (config["k3s-ha:nodes"] = nodesOf(config).filter((n) => !names.includes(n.name)));

/** What the cluster knows of a node: its Node, its etcd member, its password. */
function traces(name: string, master: string): string[] {
    const found: string[] = [];
    const context = `dev-${master}`;
    if (kubectl(["get", "node", name, "--ignore-not-found", "-o", "name"], { context }).stdout) found.push("Node");
    if (voters(master).includes(name)) found.push("etcd member");
    const secret = kubectl(
        [
            "-n",
            "kube-system",
            "get",
            "secret",
            `${name}.node-password.k3s`,
            "--ignore-not-found",
            "-o",
            "jsonpath={.metadata.labels}",
        ],
        { context },
    ).stdout;
    if (
        kubectl(
            ["-n", "kube-system", "get", "secret", `${name}.node-password.k3s`, "--ignore-not-found", "-o", "name"],
            { context },
        ).stdout
    )
        found.push(secret.includes("k3s-ha/lost") ? "lock" : "password");
    return found;
}

/** k3s, haproxy and what belongs to them are gone from a host. */
const uninstalled = (host: string): void =>
    assert.equal(
        on(
            host,
            "command -v haproxy k3s; ls -d /etc/rancher /var/lib/rancher/k3s/server /var/lib/k3s-ha 2>/dev/null; true",
        ).stdout,
        "",
        host,
    );

describe("grow: masters and agents are added", function () {
    this.timeout(900_000);
    before(mainCluster);
    before(workload);

    it("3 to 5 masters and one more agent; every proxy knows a master before it joins", async () => {
        const pids = [pidOf("master-1", "k3s"), pidOf("agent-1", "k3s-agent")];
        let up = { stdout: "" };
        await underLoad("3 to 5 masters", () => {
            up = mainStack().upWith(add("master-4", "master-5", "agent-3"));
        });
        await whole();
        assert.deepEqual(voters("master-1"), ["master-1", "master-2", "master-3", "master-4", "master-5"]);
        assert.deepEqual(
            [pidOf("master-1", "k3s"), pidOf("agent-1", "k3s-agent")],
            pids,
            "nodes that were there are not restarted",
        );
        const at = (text: RegExp): number => up.stdout.search(text);
        for (const host of ["agent-1", "agent-2", "master-2"])
            assert.ok(
                at(new RegExp(`${host}-haproxy updated`)) < at(/master-4-server created/),
                `${host} learned master-4 late`,
            );
    });
});

describe("shrink: masters and agents are removed", function () {
    this.timeout(900_000);
    before(someCluster);
    before(async () => {
        if (!members().masters.includes("master-4")) mainStack().upWith(add("master-4", "master-5", "agent-3"));
        await workload();
    });

    it("the founding master, another one and an agent leave: proxies, Nodes, etcd, passwords and hosts know nothing of them", async () => {
        await underLoad("5 to 3 masters", () => mainStack().upWith(remove("master-1", "master-4", "agent-3")), {}, [
            "agent-1",
            "master-3",
        ]);
        kubeconfig();
        await whole();
        for (const name of ["master-1", "master-4", "agent-3"]) {
            assert.deepEqual(traces(name, "master-2"), [], name);
            uninstalled(name);
        }
        const second = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        assert.match(second.stdout, /unchanged/);
    });

    it("3 to 2 masters is refused in the preview, with the reason, unless it is allowed", () => {
        const less = remove("master-5");
        const preview = (change: (config: Config) => void): { status: number | null; text: string } => {
            const run = mainStack().pulumi(["preview", "--config-file", mainStack().changed(change)], { check: false });
            return { status: run.status, text: run.stdout + run.stderr };
        };
        const refused = preview(less);
        assert.notEqual(refused.status, 0);
        assert.match(
            refused.text,
            /would go from 3 servers to 2\. The cluster tolerates the loss of 1 today; after this change it would tolerate none/,
        );
        const allowed = preview((config) => {
            less(config);
            config["k3s-ha:allow"] = ["lessTolerance"];
        });
        assert.equal(allowed.status, 0, allowed.text);
    });

    it("a removed node comes back as a new one", async () => {
        await underLoad("master-1 comes back", () => mainStack().upWith(add("master-1")));
        mainStack().upWith(remove("master-5"), { check: false });
        // 4 to 3 keeps the tolerance, so nothing is refused.
        kubeconfig();
        await whole();
        assert.deepEqual(members().masters, ["master-1", "master-2", "master-3"]);
    });
});

describe("lost: hosts that are gone for good", function () {
    this.timeout(900_000);
    before(mainCluster);
    before(workload);

    it("a dead master and a dead agent are forgotten without asking their hosts, and stay out when they come back", async () => {
        for (const host of ["master-2", "agent-2"]) lab(["fault", host, "kill"]);
        for (const host of ["agent-1", "master-3"])
            await eventually(`${host} sees it`, 20, () => assert.ok(!mastersUp(host).includes("master-2")));
        let seconds = 0;
        await underLoad(
            "two nodes lost",
            () => {
                seconds = mainStack().upWith((config) => {
                    for (const name of ["master-2", "agent-2"]) nodeOf(config, name).lost = true;
                }).seconds;
            },
            { notReady: ["master-2", "agent-2"] },
        );
        console.log(`      up: ${seconds.toFixed(0)} s`);
        assert.ok(seconds < 90, `up took ${seconds} s`);
        kubeconfig();
        await whole();
        assert.deepEqual(voters("master-1"), ["master-1", "master-3"]);
        for (const name of ["master-2", "agent-2"]) assert.deepEqual(traces(name, "master-1"), ["lock"], name);

        for (const host of ["master-2", "agent-2"]) lab(["fault", host, "power"]);
        // etcd on it finds out. k3s notes that (tombstone) and goes on without etcd, or has missed it and waits for etcd: then every start is so.
        const journal = (): string => on("master-2", "journalctl -u k3s -b --no-pager -o cat").stdout;
        await eventually("the master sees that it was removed", 90, () =>
            assert.match(journal(), /the member has been permanently removed from the cluster/),
        );
        on("master-2", "systemctl restart --no-block k3s");
        await eventually("it stays out after a restart", 60, () => {
            assert.match(
                journal(),
                /was removed from its cluster and does not join again|(permanently removed from the cluster[^]*){2}/,
            );
            assert.doesNotMatch(on("master-2", "systemctl is-active k3s || true").stdout, /^active/);
        });
        await eventually("the agent is refused", 60, () =>
            assert.match(
                on("agent-2", "journalctl -u k3s-agent --no-pager -o cat -b | tail -n 40").stdout,
                /[Nn]ode password|403|hash/,
            ),
        );
        assert.deepEqual(voters("master-1"), ["master-1", "master-3"]);
        for (const name of ["master-2", "agent-2"]) assert.deepEqual(traces(name, "master-1"), ["lock"], name);
    });

    it("taken out of the stack file, their resources go without a session", () => {
        for (const host of ["master-2", "agent-2"]) lab(["fault", host, "kill"]);
        const file = mainStack().changed(remove("agent-2"));
        const preview = mainStack().pulumi(["preview", "--diff", "--config-file", file]).stdout;
        assert.match(preview, /agent-2-agent/);
        const up = mainStack().upWith(remove("agent-2"));
        console.log(`      up: ${up.seconds.toFixed(0)} s`);
        assert.ok(up.seconds < 60, `up took ${up.seconds} s`);
        const { deployment } = JSON.parse(mainStack().pulumi(["stack", "export"]).stdout) as {
            deployment: { resources: { urn: string }[] };
        };
        assert.deepEqual(
            deployment.resources.map((r) => r.urn).filter((urn) => /::agent-2(-|$)/.test(urn)),
            [],
        );
    });

    it("the master comes back with its old disk once the stack says so, the agent with an empty one", async () => {
        lab(["reset", "agent-2"], { timeout: 180 });
        lab(["fault", "master-2", "power"]);
        // What k3s may not have noted.
        on("master-2", "rm -f /var/lib/rancher/k3s/server/db/etcd/tombstone; systemctl restart --no-block k3s");
        mainStack().set((config) => void delete nodeOf(config, "master-2").lost);
        const preview = mainStack().pulumi(["preview"], { check: false });
        assert.notEqual(preview.status, 0);
        assert.match(preview.stdout + preview.stderr, /k3s-ha:nodes \(master-2\)\.rebuilt.* must be above \d+/);
        await workloadReady(180);
        await underLoad("replacements", () =>
            mainStack().upWith((config) => {
                const master = nodeOf(config, "master-2");
                master.rebuilt = (master.rebuilt ?? 0) + 1;
                nodesOf(config).push(labNode("agent-2"));
            }),
        );
        await whole();
        for (const name of ["master-2", "agent-2"]) assert.ok(!traces(name, "master-1").includes("lock"), name);
        assert.ok(traces("agent-2", "master-1").includes("password"));
        assert.deepEqual(voters("master-1"), ["master-1", "master-2", "master-3"]);
    });

    it("a stack whose hosts are partly gone is destroyed: what lives is uninstalled, nobody waits for the rest", () => {
        const stack = new Stack("partly", ["master-4", "agent-3"], (config) => {
            config["k3s-ha:cluster"] = "partly";
            config["k3s-ha:readiness"] = "scoped";
        }).init();
        stack.up();
        lab(["fault", "agent-3", "kill"]);
        stack.upWith((config) => void (nodeOf(config, "agent-3").lost = true));
        const destroy = stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        assert.ok(destroy.seconds < 90, `destroy took ${destroy.seconds} s`);
        uninstalled("master-4");
        stack.forget();
        lab(["reset", "agent-3"], { timeout: 180 });
    });
});
