/** server.environment and agent.environment: refused names, the file as systemd reads it, and what a change restarts. */
import assert from "node:assert/strict";
import { checkSpec } from "../../../../components/config/check";
import { renderBundle } from "../../../../components/remote/bundle";
import { k3sBundle } from "../../../../components/steps/k3s";
import { k3sFiles, k3sUnit } from "../../../../components/steps/k3s-files";
import type { ClusterSpec, NodeSpec } from "../../../../components/model/cluster";
import { refusesEach } from "../../helpers/refusals";
import { mistakes, settings, spec } from "../../helpers/settings";
import { shell } from "../../helpers/step-shell";

const of = (s: ClusterSpec, name: string): NodeSpec => s.nodes.find((n) => n.name === name) as NodeSpec;
const server = (environment: object): object => ({ server: { environment } });
const agent = (environment: object): object => ({ agent: { environment } });
const FILE = "/etc/rancher/k3s/k3s-ha.env";

describe("environment of k3s", () => {
    refusesEach([
        ["a token", server({ K3S_TOKEN: "a" }), /server\.environment\.K3S_TOKEN: cannot be set.*secret k3s-ha:token/],
        ["an agent's token", agent({ K3S_AGENT_TOKEN_FILE: "/a" }), /use the secret k3s-ha:agentToken/],
        ["another way to the cluster", agent({ K3S_URL: "https://a" }), /K3S_URL: .*its own proxy/],
        ["k3s's settings", agent({ K3S_NODE_NAME: "a" }), /K3S_NODE_NAME: .*agent\.config/],
        ["keys of the bucket", server({ AWS_ACCESS_KEY_ID: "a" }), /AWS_ACCESS_KEY_ID: .*k3s-ha:s3AccessKey/],
        ["what systemd sets", server({ NOTIFY_SOCKET: "/a" }), /NOTIFY_SOCKET: cannot be set: it is set by systemd/],
        ["PATH", server({ PATH: "/a" }), /PATH: cannot be set: it is set by k3s itself/],
        ["a library of all programs", agent({ LD_PRELOAD: "/a.so" }), /LD_PRELOAD/],
        ["a name with an equals sign", server({ "A=B": "a" }), /has a key that must be a name of letters/],
        ["a second line", server({ A: "a\nB=b" }), /server\.environment\.A: .*one line/],
        ["a list", server({ A: ["a"] }), /server\.environment\.A: .*must be text/],
        ["a password in clear", server({ REGISTRY_PASSWORD: "hunter2hunter2" }), /holds a secret in clear; encrypt it/],
        ["one in a URL", agent({ HTTPS_PROXY: "http://u:hunter2@p:1" }), /holds a password in a URL in clear/],
        [
            "its file in host.files",
            { host: { files: [{ path: FILE, content: "a" }] } },
            /is written from k3s-ha:server/,
        ],
    ]);

    it("an agent may have a cloud's keys, and what is encrypted may be a secret", () => {
        assert.deepEqual(mistakes(agent({ AWS_ACCESS_KEY_ID: "a" })), []);
        const { spec: s } = checkSpec(settings(server({ REGISTRY_PASSWORD: "hunter2hunter2" })), {
            encrypted: new Set(["server"]),
        });
        assert.equal(s.confidential, true);
    });

    it("is a file of its role that only root reads, and a line of the unit only where there is one", () => {
        const s = spec(server({ B: 'a "b" $c `d` \\e', A: 1, T: true, E: "" }));
        const file = k3sFiles(s, of(s, "master-1")).find(({ path }) => path === FILE);
        assert.deepEqual(file, {
            path: FILE,
            mode: "0600",
            content: 'A="1"\nB="a \\"b\\" \\$c \\`d\\` \\\\e"\nE=""\nT="true"\n',
        });
        assert.match(
            k3sUnit(s, of(s, "master-1")).content,
            /service\.env\nEnvironmentFile=-\/etc\/rancher\/k3s\/k3s-ha\.env\nKillMode/,
        );
        for (const name of ["agent-1", "agent-2"])
            assert.equal(renderBundle(k3sBundle(s, of(s, name))), renderBundle(k3sBundle(spec(), of(spec(), name))));
    });

    it("a shell reads the file's values as they were written", async () => {
        const s = spec(agent({ A: 'a "b" $c `d` \\e $(f)' }));
        const file = k3sFiles(s, of(s, "agent-1")).find(({ path }) => path === FILE)!;
        const { text } = await shell(". $STATE/file; printf '%s' \"$A\"", { file: file.content });
        assert.equal(text, 'a "b" $c `d` \\e $(f)');
    });

    it("a change or its end restarts k3s; a digest of before does not change where there is none", async () => {
        const run = async (commands: string, files: Record<string, string>): Promise<string> =>
            (await shell(`put_unit() { :; }; registration=none\n${commands}`, files)).text.trim();
        const install = "(bundle_file() { return 1; }; install_files; echo $RESTART; ls $CONF)";
        assert.equal(await run(install, { "etc/k3s-ha.env": "A=1\n" }), "1\nconfig.yaml");
        assert.equal(await run(install, {}), "0\nconfig.yaml");
        const digests = await run(
            `setting() { echo v1; }; mkdir -p $STATE/bin/v1; echo a >$STATE/bin/v1/sha256; start_digest
echo A=1 >$CONF/k3s-ha.env; start_digest; rm $CONF/k3s-ha.env; start_digest`,
            {},
        );
        const [before, within, after] = digests.split("\n");
        assert.equal(after, before);
        assert.notEqual(within, before);
    });

    it("a web proxy that the nodes are not excepted from gives a warning", () => {
        const proxy = (more: object): readonly string[] =>
            checkSpec(settings(agent({ HTTPS_PROXY: "http://proxy:3128", ...more }))).warnings;
        assert.match(proxy({}).join("\n"), /k3s-ha:agent\.environment gives k3s a web proxy/);
        assert.doesNotMatch(proxy({ NO_PROXY: "10.0.0.0/8" }).join("\n"), /web proxy/);
    });
});
