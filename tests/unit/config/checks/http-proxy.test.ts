/** A web proxy for k3s. */
import assert from "node:assert/strict";
import { checkSpec } from "../../../../components/config/check";
import { settings } from "../../helpers/settings";

const PROXY = "HTTPS_PROXY=http://proxy.example:3128\n";

const warned = (content: string, path = "/etc/default/k3s"): string[] =>
    checkSpec(settings({ host: { files: [{ path, content }] } })).warnings.filter((w) => w.includes("NO_PROXY"));

describe("a web proxy for k3s", () => {
    it("is warned of where it would be asked for nodes", () => {
        for (const path of ["/etc/default/k3s", "/etc/default/k3s-agent", "/etc/sysconfig/k3s"])
            assert.match(
                warned(PROXY, path).join(),
                /^\S+ \(k3s-ha:host\.files\) gives k3s a web proxy, .*\(10\.90\.0\.21, 10\.90\.0\.22, 10\.90\.0\.11, …\).*NO_PROXY=127\.0\.0\.0\/8,10\.0\.0\.0\/8;/,
            );
        assert.equal(warned(`${PROXY}NO_PROXY=localhost,10.90.0.11\n`).length, 1);
        assert.equal(warned(`https_proxy="http://p:1"\n`).length, 1);
    });

    it("is not, where NO_PROXY has the nodes, or k3s has no proxy", () => {
        for (const content of [
            `${PROXY}NO_PROXY=10.90.0.0/24,localhost\n`,
            `${PROXY}no_proxy="10.0.0.0/8"\n`,
            `${PROXY}NO_PROXY=*\n`,
            "CONTAINERD_HTTPS_PROXY=http://proxy.example:3128\n",
            "# HTTPS_PROXY=http://proxy.example:3128\n",
            "HTTPS_PROXY=\n",
        ])
            assert.deepEqual(warned(content), [], content);
        assert.deepEqual(warned(PROXY, "/etc/environment.d/x"), []);
    });
});
