/**
 * A running cluster that an older commit of this program made is taken over by today's, under load. What the preview of such a state shows
 * is in tests/integration/states.test.ts. The older program comes from the git history, as a work tree with its own node_modules.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT, Stack, kubeconfigOf, lab, on, pidOf, underLoad } from "../cluster/support";

/** The last commit before the scripts became a file: step prepare has them in its secret stdin. */
const OLD = "5a9f976";
/** Hosts that the main cluster has not. */
const [SERVER, AGENT] = ["master-5", "agent-3"] as const;
const UNITS = [
    [SERVER, "k3s"],
    [AGENT, "k3s-agent"],
    [SERVER, "haproxy"],
    [AGENT, "haproxy"],
] as const;

function run(command: string, args: readonly string[], cwd = ROOT): void {
    const { status, error, stderr } = spawnSync(command, args, {
        cwd,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
    });
    assert.equal(status, 0, `${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
}

/** Process of each unit, and the worker of each haproxy, which a reload changes. */
const processes = (): string[] => [
    ...UNITS.map(([host, unit]) => `${host} ${unit} ${pidOf(host, unit)}`),
    ...[SERVER, AGENT].map((host) => `${host} worker ${on(host, "pgrep -n -x haproxy").stdout.trim()}`),
];

describe("old state: a cluster that an older commit made", function () {
    this.timeout(1_800_000);
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-old-"));
    const tree = join(folder, "tree");
    const stack = new Stack("old", [SERVER, AGENT], (config) => void (config["k3s-ha:cluster"] = "old"));

    before(() => {
        const known = spawnSync("git", ["cat-file", "-e", `${OLD}^{commit}`], { cwd: ROOT }).status === 0;
        assert.ok(
            known,
            `commit ${OLD} is not in ${ROOT}: this test needs a clone with its history (git fetch --unshallow)`,
        );
        run("git", ["worktree", "add", "--detach", tree, OLD]);
        run("npm", ["ci", "--no-audit", "--no-fund"], tree);
        // Whatever a scenario before left on them.
        lab(["hosts", "down", SERVER, AGENT], { check: false });
        lab(["hosts", "up", SERVER, AGENT], { timeout: 300 });
        stack.init();
        const up = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", stack.name];
        const inTree = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", tree];
        lab(["exec", "--", ...inTree, ...up, "--config-file", stack.file], { timeout: 600 });
    });

    after(() => {
        stack.forget();
        for (const host of [SERVER, AGENT]) lab(["reset", host], { check: false });
        if (existsSync(tree)) run("git", ["worktree", "remove", "--force", tree]);
        rmSync(folder, { recursive: true, force: true });
    });

    it("up restarts no k3s, reloads no haproxy, and no request fails", async () => {
        const before = processes();
        const upgrade = (): void => {
            stack.up();
            assert.deepEqual(processes(), before);
        };
        await underLoad("old state taken over", upgrade, {}, [AGENT, SERVER], kubeconfigOf(stack));
    });

    it("a second up changes nothing", () => {
        stack.pulumi(["preview", "--expect-no-changes"]);
    });

    it("destroy uninstalls both hosts", () => {
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        for (const host of [SERVER, AGENT])
            assert.equal(on(host, "ls -d /usr/local/bin/k3s /usr/local/lib/k3s-ha 2>/dev/null || true").stdout, "");
    });
});
