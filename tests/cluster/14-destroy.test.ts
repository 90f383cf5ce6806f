import assert from "node:assert/strict";
import { untouched } from "./01-first-up.test";
import { HOSTS, NET, Stack, anonymousCode, freshLab, lab, mainCluster, mainStack, mastersUp, on } from "./support";
import { differences, snapshot } from "./host-snapshot";

describe("destroy: nothing is left on the hosts", function () {
    this.timeout(600_000);

    before(async () => {
        if (untouched.size > 0) return;
        // Run by itself: the comparison needs hosts that nothing has touched.
        freshLab();
        lab(["hosts", "up"], { timeout: 300 });
        for (const host of HOSTS) untouched.set(host, snapshot(host));
        await mainCluster();
    });

    it("uninstalls agents, masters and proxies and leaves every host as it was before, also after a removal that nobody noted", () => {
        // As when the connection breaks at the end of a step, or of a host's last one: Pulumi asks for them again.
        for (const [host, step] of [
            ["agent-1", "agent"],
            ["agent-2", "prepare"],
        ] as const)
            assert.match(on(host, `sh /usr/local/lib/k3s-ha/${step}.sh remove </dev/null`).stdout, /removed/);
        const destroy = mainStack().pulumi(["destroy", "--yes", "--skip-preview"]);
        console.log(`      destroy: ${destroy.seconds.toFixed(0)} s`);
        for (const host of HOSTS) {
            const before = untouched.get(host);
            assert.ok(before, `there is no snapshot of ${host} from before the first up`);
            assert.deepEqual(differences(before, snapshot(host)), [], host);
        }
        const state = JSON.parse(mainStack().pulumi(["stack", "export"]).stdout) as {
            deployment: { resources?: unknown[] };
        };
        assert.ok((state.deployment.resources ?? []).length <= 1, "the state holds resources");
        mainStack().forget();
    });
});

describe("readiness: unauthorized", function () {
    this.timeout(600_000);

    // A new cluster in mode `scoped` is in 07-membership and 08-recovery.
    it("a cluster comes up, its proxies see the masters, anonymous clients get what they should", () => {
        const stack = new Stack(
            "mode-unauthorized",
            ["master-1", "agent-1"],
            (config) => void (config["k3s-ha:readiness"] = "unauthorized"),
        );
        stack.init().up();
        for (const host of ["master-1", "agent-1"]) assert.deepEqual(mastersUp(host), ["master-1"]);
        for (const path of ["/readyz", "/healthz", "/version"])
            assert.equal(anonymousCode(`${NET}.11`, path), "401", path);
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        stack.forget();
        assert.equal(on("master-1", "command -v haproxy k3s || true").stdout, "");
    });
});
