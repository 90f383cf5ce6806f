/**
 * A running cluster that an older commit of this program made is taken over by today's, under load. What the preview of such a state shows
 * is in tests/integration/states.test.ts. The older program comes from the git history, as a work tree with its own node_modules.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT, Stack, kubeconfigOf, lab, nodesOf, on, pidOf, underLoad } from "../cluster/support";

/** Commits, what this program has changed since, and how the cluster is taken over: by a whole `up`, or by one that was cut off before. */
const OLD: readonly (readonly [commit: string, was: string, by: "up" | "cut"])[] = [
    ["5a9f976", "scripts in the secret stdin of step prepare", "up"],
    ["6074251", "a component per step, and other names of steps", "up"],
    ["6074251", "and the first up is cut off", "cut"],
];

/** Hosts that the main cluster has not. */
const [SERVER, LEAVES, AGENT] = ["master-5", "master-4", "agent-3"] as const;
const ALL = [SERVER, LEAVES, AGENT];
const UNITS = [
    [SERVER, "k3s"],
    [LEAVES, "k3s"],
    [AGENT, "k3s-agent"],
    ...ALL.map((host) => [host, "haproxy"] as const),
] as const;

function run(command: string, args: readonly string[], cwd = ROOT): void {
    const { status, error, stderr } = spawnSync(command, args, {
        cwd,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
    });
    assert.equal(status, 0, `${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
}

/** Process of each unit. */
const processes = (hosts: readonly string[] = ALL): string[] =>
    UNITS.filter(([host]) => hosts.includes(host)).map(([host, unit]) => `${host} ${unit} ${pidOf(host, unit)}`);

/** The worker of each haproxy, which a reload changes. */
const workers = (): string[] => ALL.map((host) => `${host} ${on(host, "pgrep -n -x haproxy").stdout.trim()}`);

const traces = (host: string): string =>
    on(host, "ls -d /usr/local/bin/k3s /usr/local/lib/k3s-ha /var/lib/rancher/k3s/server 2>/dev/null || true").stdout;

for (const [commit, was, by] of OLD)
    describe(`old state: a cluster that ${commit} made, ${was}`, function () {
        this.timeout(1_800_000);
        const folder = mkdtempSync(join(tmpdir(), "k3s-ha-old-"));
        const tree = join(folder, "tree");
        const stack = new Stack("old", ALL, (config) => void (config["k3s-ha:cluster"] = "old"));

        before(() => {
            const known = spawnSync("git", ["cat-file", "-e", `${commit}^{commit}`], { cwd: ROOT }).status === 0;
            assert.ok(
                known,
                `commit ${commit} is not in ${ROOT}: this test needs a clone with its history (git fetch --unshallow)`,
            );
            run("git", ["worktree", "add", "--detach", tree, commit]);
            run("npm", ["ci", "--no-audit", "--no-fund"], tree);
            // Whatever a scenario before left on them.
            lab(["hosts", "down", ...ALL], { check: false });
            lab(["hosts", "up", ...ALL], { timeout: 300 });
            stack.init();
            const up = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", stack.name];
            const inTree = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", tree];
            lab(["exec", "--", ...inTree, ...up, "--config-file", stack.file], { timeout: 600 });
        });

        after(() => {
            stack.forget();
            for (const host of ALL) lab(["reset", host], { check: false });
            if (existsSync(tree)) run("git", ["worktree", "remove", "--force", tree]);
            rmSync(folder, { recursive: true, force: true });
        });

        /** All of it at once. */
        const whole = (): void => {
            it("up restarts no k3s, reloads no haproxy, and no request fails", async () => {
                const before = [...processes(), ...workers()];
                const upgrade = (): void => {
                    stack.up();
                    assert.deepEqual([...processes(), ...workers()], before);
                };
                await underLoad("old state taken over", upgrade, {}, [AGENT, SERVER], kubeconfigOf(stack));
            });
        };

        const cut = (): void => {
            it("an up that ends after step prepare restarts and reloads nothing", () => {
                const before = [...processes(), ...workers()];
                const prepare = ALL.flatMap((host) => [
                    "--target",
                    `**::${host}-kit`,
                    "--target",
                    `**::${host}-prepare`,
                ]);
                stack.pulumi(["up", "--yes", "--skip-preview", ...prepare]);
                assert.deepEqual([...processes(), ...workers()], before);
            });

            // The state names its removal as the older commit called it, and the host has today's scripts already.
            it("a server that is removed then is uninstalled, and its etcd member is gone", async () => {
                stack.set((config) => {
                    config["k3s-ha:nodes"] = nodesOf(config).filter((n) => n.name !== LEAVES);
                    config["k3s-ha:allow"] = ["lessTolerance"];
                });
                const before = processes([SERVER, AGENT]);
                const remove = (): void => {
                    stack.up();
                    assert.deepEqual(processes([SERVER, AGENT]), before);
                };
                await underLoad("old state taken over", remove, {}, [AGENT, SERVER], kubeconfigOf(stack));
                assert.equal(traces(LEAVES), "");
                const members = on(SERVER, "k3s kubectl get --raw /db/info").stdout;
                assert.match(members, new RegExp(`"name":"${SERVER}-`));
                assert.doesNotMatch(members, new RegExp(`"name":"${LEAVES}-`));
            });
        };

        if (by === "up") whole();
        else cut();

        it("a second up changes nothing", () => {
            stack.pulumi(["preview", "--expect-no-changes"]);
        });

        it("destroy uninstalls the hosts", () => {
            stack.pulumi(["destroy", "--yes", "--skip-preview"]);
            for (const host of ALL) assert.equal(traces(host), "");
        });
    });
