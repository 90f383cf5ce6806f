import assert from "node:assert/strict";
import {
    HOSTS,
    MASTERS,
    NEW_VERSION,
    OLD_VERSION,
    kubectl,
    mainCluster,
    mainStack,
    on,
    underLoad,
    voters,
    whole,
    workload,
} from "./support";

const versions = (): Record<string, string> =>
    Object.fromEntries(
        kubectl([
            "get",
            "nodes",
            "-o",
            'jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion}{"\\n"}{end}',
        ])
            .stdout.trim()
            .split("\n")
            .map((line) => line.split(" ") as [string, string]),
    );

describe("upgrade: a new version goes through the cluster", function () {
    this.timeout(900_000);
    before(mainCluster);
    before(workload);

    it("a skipped minor and a downgrade are refused in the preview, before any host is touched", () => {
        for (const [version, words] of [
            ["v1.38.0+k3s1", /skips a minor release: the cluster runs v1\.36\.2\+k3s1/],
            ["v1.35.9+k3s1", /is older than v1\.36\.2\+k3s1/],
        ] as const) {
            const preview = mainStack().pulumi(
                [
                    "preview",
                    "--config-file",
                    mainStack().changed((config) => void (config["k3s-ha:version"] = version)),
                ],
                { check: false },
            );
            assert.notEqual(preview.status, 0);
            assert.match(preview.stdout + preview.stderr, words);
            assert.match(preview.stdout + preview.stderr, /no host was touched/);
        }
    });

    it("the first failure stops the roll with the rest still serving; the next up resumes", async () => {
        on("master-3", "printf 'not: [yaml\\n' > /etc/rancher/k3s/config.yaml.d/99-broken.yaml");
        await underLoad(
            "upgrade that fails at master-3",
            () => {
                mainStack().set((config) => {
                    config["k3s-ha:version"] = NEW_VERSION;
                    config["k3s-ha:rollout"] = { agents: 1, drain: true, drainTimeout: "2m" };
                });
                const up = mainStack().pulumi(["up", "--yes", "--skip-preview"], { check: false });
                assert.notEqual(up.status, 0);
                assert.match(up.stdout + up.stderr, /FAILED on node master-3, step server/);
                assert.match(up.stdout + up.stderr, /etcd snapshot before-v1\.36\.3-k3s1\S* taken/);
            },
            { notReady: ["master-3"] },
        );
        assert.deepEqual(
            HOSTS.filter((host) => versions()[host] === NEW_VERSION),
            ["master-1", "master-2"],
        );
        on("master-3", "rm /etc/rancher/k3s/config.yaml.d/99-broken.yaml");
        let stdout = "";
        await underLoad(
            "upgrade resumed",
            () => {
                stdout = mainStack().up().stdout;
            },
            { notReady: ["master-3"] },
        );
        await whole();
        assert.deepEqual([...new Set(Object.values(versions()))], [NEW_VERSION]);
        assert.deepEqual(voters("master-1"), [...MASTERS]);
        assert.match(stdout, /agent-1: drained/);
        assert.notEqual(OLD_VERSION, NEW_VERSION);
        const snapshots = MASTERS.map((master) => on(master, "k3s etcd-snapshot ls 2>/dev/null").stdout).join("");
        assert.match(snapshots, /before-v1\.36\.3-k3s1/);
        for (const host of HOSTS)
            assert.equal(
                kubectl(["get", "node", host, "-o", "jsonpath={.spec.unschedulable}"]).stdout,
                "",
                `${host} is cordoned`,
            );
    });
});
