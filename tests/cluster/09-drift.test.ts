import assert from "node:assert/strict";
import {
    HOSTS,
    eventually,
    k3sUnit,
    kubectl,
    lab,
    mainCluster,
    mainStack,
    nodeOf,
    on,
    pidOf,
    underLoad,
    whole,
} from "./support";

interface Found {
    readonly findings: readonly { readonly node: string; readonly step: string; readonly what: string }[];
    readonly errors: readonly unknown[];
}

/** The command as a user types it, with its exit code. */
function drift(...args: string[]): { status: number | null; found: Found; lines: string[]; stderr: string } {
    const run = lab(
        ["exec", "--", "npm", "run", "--silent", "drift", "--", "--stack", mainStack().name, "--json", ...args],
        { check: false },
    );
    assert.notEqual(run.stdout, "", run.stderr);
    const found = JSON.parse(run.stdout) as Found;
    const lines = found.findings.map((f) => `${f.node} ${f.step} ${f.what}`);
    return { status: run.status, found, lines, stderr: run.stderr };
}

const running = (): string[] =>
    HOSTS.flatMap((host) => [k3sUnit(host), "haproxy"].map((unit) => `${host} ${unit} ${pidOf(host, unit)}`));

describe("drift: what was changed by hand is found, and the next up repairs just that", function () {
    this.timeout(600_000);
    before(mainCluster);

    it("nothing on a cluster that nobody touched", () => {
        const { status, lines, found } = drift();
        assert.deepEqual([lines, found.errors, status], [[], [], 0]);
    });

    it("haproxy.cfg, a stopped service, another k3s, a label and the ClusterRole are found, marked and repaired", async () => {
        mainStack().upWith((config) => void (nodeOf(config, "agent-2").labels = { site: "a" }));
        const before = running();
        kubectl(["label", "node", "agent-2", "site=b", "--overwrite"]);
        on("agent-1", "echo '# by hand' >>/etc/haproxy/haproxy.cfg");
        on("agent-2", "systemctl stop haproxy");
        on("agent-1", "cp /usr/local/bin/k3s /tmp/k3s && echo >>/tmp/k3s && mv /tmp/k3s /usr/local/bin/k3s");
        kubectl(["annotate", "clusterrole", "system:public-info-viewer", "--overwrite", "by-hand=yes"]);
        kubectl([
            "patch",
            "clusterrole",
            "system:public-info-viewer",
            "--type=json",
            '-p=[{"op":"replace","path":"/rules","value":[{"nonResourceURLs":["/healthz","/livez","/readyz","/version"],"verbs":["get"]}]}]',
        ]);
        const { status, lines, stderr } = drift("--mark");
        assert.equal(status, 2, stderr);
        assert.equal(lines.length, 5, lines.join("\n"));
        assert.deepEqual(lines.slice(0, 3), [
            "agent-1 haproxy /etc/haproxy/haproxy.cfg was changed",
            "agent-1 agent /usr/local/bin/k3s is another binary",
            "agent-2 haproxy haproxy.service is inactive",
        ]);
        // Seen by the cluster's speaker, which other scenarios change.
        assert.match(lines[3] ?? "", /^master-\d members Node agent-2 has no label site=a$/);
        assert.match(lines[4] ?? "", /^master-\d public-info-viewer .*"\/version"/);

        const preview = mainStack().pulumi(["preview", "--diff"]).stdout;
        const updates = [...preview.matchAll(/^ *~ \S+: \(update\)\n(?: *\[id=.*\n)? *\[urn=.*::([^:\]]+)\]/gm)].map(
            (m) => m[1],
        );
        const expected = [
            "agent-1-agent",
            "agent-1-haproxy",
            "agent-2-haproxy",
            "dev-members",
            "dev-public-info-viewer",
        ];
        assert.deepEqual(updates.sort(), expected, preview);
        assert.doesNotMatch(preview, /\((create|replace|delete)\)/);
        assert.match(preview, /- *# drift: \/etc\/haproxy\/haproxy.cfg was changed/);

        // agent-2 has been without its proxy since before the load began: after 40 s its pods, two at most, count as not ready.
        await underLoad("drift", () => void mainStack().up(), { notReady: ["agent-2"], ready: 2 });
        const changed = running().filter((line) => !before.includes(line));
        assert.deepEqual(
            changed.map((line) => line.replace(/ \d+$/, "")),
            ["agent-1 k3s-agent", "agent-2 haproxy"],
        );
        assert.equal(kubectl(["get", "node", "agent-2", "-o", "jsonpath={.metadata.labels.site}"]).stdout, "a");
        await whole();
        await eventually("no drift", 30, () => assert.deepEqual([drift().lines, drift().status], [[], 0]));
        mainStack().pulumi(["preview", "--expect-no-changes"]);
    });
});
