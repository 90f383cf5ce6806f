/** Secrets that etcd has encrypted: founded with that, a new key under load, and what is refused. docs/operations.md, "Encrypt Secrets". */
import assert from "node:assert/strict";
import { NEW_VERSION, Stack, kubeconfigOf, lab, nodesOf, on, pidOf, underLoad, type Config } from "../cluster/support";

// None of the main cluster's hosts.
const FIRST = "master-4";
const SERVERS = [FIRST, "master-5", "agent-3"] as const;
const VALUE = "a-value-that-is-nowhere-else";
const kube = (host: string, line: string, check = true): ReturnType<typeof on> =>
    on(host, `k3s kubectl ${line}`, { check });
const status = (host: string): string => on(host, "k3s secrets-encrypt status").stdout;
const activeKey = (host: string): string => /^ \* +\S+ +(\S+)$/m.exec(status(host))?.[1] ?? "";
const rotate = (config: Config): void => {
    const now = (config["k3s-ha:rotate"] ?? {}) as { secretsEncryption?: number };
    config["k3s-ha:rotate"] = { ...now, secretsEncryption: (now.secretsEncryption ?? 0) + 1 };
};

describe("encryption: Secrets in etcd, and a new key for them", function () {
    this.timeout(900_000);
    const stack = new Stack("en", SERVERS, (config) => {
        config["k3s-ha:cluster"] = "en";
        for (const node of nodesOf(config)) node.role = "server";
        config["k3s-ha:server"] = { config: { "secrets-encryption": true } };
    });
    before(() => {
        lab(["hosts", "up", ...SERVERS], { timeout: 300 });
        stack.init();
    });
    after(() => {
        stack.pulumi(["destroy", "--yes", "--skip-preview"], { check: false });
        stack.forget();
    });

    it("is founded with it: all servers have the key, and no value lies in etcd in clear", () => {
        stack.up();
        for (const host of SERVERS) {
            assert.match(
                status(host),
                /Encryption Status: Enabled\nCurrent Rotation Stage: start\nServer Encryption Hashes: All hashes match/,
            );
            assert.equal(activeKey(host), "aescbckey");
        }
        kube("master-5", `create secret generic before --from-literal=a=${VALUE}`);
        const found = on(FIRST, `grep -rl ${VALUE} /var/lib/rancher/k3s/server/db/etcd`, { check: false });
        assert.deepEqual([found.status, found.stdout], [1, ""]);
    });

    it("a raised counter makes a new key under load, without a failed request; the first server is not restarted", async () => {
        const before = SERVERS.map((host) => pidOf(host, "k3s"));
        let text = "";
        // Somebody writes Secrets all the time, through each server.
        for (const host of SERVERS) on(host, "rm -f /tmp/stop /tmp/written");
        for (const host of SERVERS)
            on(
                host,
                `nohup sh -c 'i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); k3s kubectl create secret generic w-${host}-$i --from-literal=a=${VALUE} >/dev/null 2>>/tmp/refused && echo w-${host}-$i >>/tmp/written; sleep 1; done' >/dev/null 2>&1 &`,
            );
        try {
            await underLoad(
                "a new key of Secrets",
                () => {
                    const { stdout, stderr } = stack.upWith(rotate);
                    text = stdout + stderr;
                },
                {},
                ["agent-3", "master-5"],
                kubeconfigOf(stack),
            );
        } finally {
            for (const host of SERVERS) on(host, "touch /tmp/stop; sleep 3");
        }
        assert.match(text, /master-4: Secrets have a new key: AES-CBC aescbckey-/);
        for (const host of SERVERS)
            assert.match(
                status(host),
                /Current Rotation Stage: reencrypt_finished\nServer Encryption Hashes: All hashes match/,
            );
        assert.equal(new Set(SERVERS.map(activeKey)).size, 1);
        assert.notEqual(activeKey(FIRST), "aescbckey");
        const after = SERVERS.map((host) => pidOf(host, "k3s"));
        assert.equal(after[0], before[0]);
        assert.notEqual(after[1], before[1]);
        assert.notEqual(after[2], before[2]);
        // Writes were refused meanwhile, and every one that was taken can be read on every server.
        const written = SERVERS.flatMap((host) => on(host, "cat /tmp/written").stdout.trim().split("\n"));
        assert.ok(written.length > 10, String(written.length));
        assert.match(
            SERVERS.map((host) => on(host, "cat /tmp/refused").stdout).join(""),
            /the keys of Secrets are being rotated/,
        );
        for (const host of SERVERS) {
            const names = new Set(kube(host, "get secrets -o name").stdout.trim().split("\n"));
            for (const name of ["before", ...written]) assert.ok(names.has(`secret/${name}`), `${host}: ${name}`);
        }
        assert.equal(kube(FIRST, "get validatingadmissionpolicies -o name").stdout, "");
    });

    it("a second up changes nothing, and Secrets can be written again", () => {
        stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        for (const host of SERVERS) kube(host, `create secret generic after-${host} --from-literal=a=b`);
    });

    it("refuses a rotation beside another change, and without encryption, in the preview", () => {
        const told = (change: (config: Config) => void): string => {
            const {
                status: code,
                stdout,
                stderr,
            } = stack.pulumi(["preview", "--config-file", stack.changed(change)], { check: false });
            assert.notEqual(code, 0);
            return stdout + stderr;
        };
        assert.match(
            told((config) => {
                rotate(config);
                config["k3s-ha:version"] = NEW_VERSION;
            }),
            /rotate\.secretsEncryption: 2 asks for a new key of Secrets in the same up as another change.*version/,
        );
        assert.match(
            told((config) => {
                rotate(config);
                config["k3s-ha:server"] = { config: { "secrets-encryption": true, disable: ["traefik"] } };
            }),
            /same up as another change of the servers: settings that restart servers/,
        );
        assert.match(
            told((config) => void (config["k3s-ha:server"] = {})),
            /rotate\.secretsEncryption: 1 needs k3s-ha:server\.config\.secrets-encryption: true/,
        );
    });
});
