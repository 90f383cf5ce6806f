import assert from "node:assert/strict";
import {
    HOSTS,
    MASTERS,
    NET,
    anonymousCode,
    eventually,
    kubectl,
    mainCluster,
    mainStack,
    on,
    pidOf,
    whole,
} from "./support";

const PATHS = {
    "/healthz": 200,
    "/livez": 200,
    "/readyz": 200,
    "/version": 403,
    "/api": 403,
    "/metrics": 403,
} as const;

describe("who may see what", function () {
    this.timeout(300_000);
    before(mainCluster);

    const surface = (): void => {
        for (const n of [11, 12, 13]) {
            for (const [path, code] of Object.entries(PATHS))
                assert.equal(anonymousCode(`${NET}.${n}`, path), String(code), `${path} on ${NET}.${n}`);
        }
    };

    it("anonymous clients read the three health paths of every master and nothing else", surface);

    it("still so after every apiserver has started again", async () => {
        const before = MASTERS.map((host) => pidOf(host, "k3s"));
        for (const host of MASTERS) on(host, "systemctl restart --no-block k3s");
        await eventually("all of them have started again", 60, () =>
            MASTERS.forEach((host, i) => assert.notEqual(pidOf(host, "k3s"), before[i], host)),
        );
        await whole();
        surface();
        const role = kubectl([
            "get",
            "clusterrole",
            "system:public-info-viewer",
            "-o",
            "jsonpath={.rules} {.metadata.annotations}",
        ]).stdout;
        assert.match(
            role,
            /^\[\{"nonResourceURLs":\["\/healthz","\/livez","\/readyz"\],"verbs":\["get"\]\}\] .*"rbac.authorization.kubernetes.io\/autoupdate":"false"/,
        );
    });

    it("no token, password or key is in argv, logs, world-readable files or the plain state", () => {
        const state = mainStack().pulumi(["stack", "export"]).stdout;
        const plain = JSON.parse(mainStack().pulumi(["stack", "export", "--show-secrets"]).stdout) as unknown;
        const secrets = new Map<string, string>([["stats password", mainStack().output("statsPassword").trim()]]);
        for (const [what, file] of [
            ["server token", "/etc/rancher/k3s/token"],
            ["agent token", "/etc/rancher/k3s/agent-token"],
        ] as const) {
            secrets.set(what, on("master-1", `sed 's/.*://' ${file}`).stdout.trim());
        }
        secrets.set("client key", /client-key-data: (\S+)/.exec(mainStack().output("kubeconfig"))?.[1] ?? "");
        const whole = JSON.stringify(plain);
        for (const [what, secret] of secrets) {
            assert.ok(secret.length >= 20, `${what} was not found: ${secret.length}`);
            assert.ok(!state.includes(secret), `the plain state holds the ${what}`);
            assert.ok(whole.includes(secret) || what === "client key", `the search would not find the ${what}`);
        }
        const patterns = [...secrets.values()].join("\n");
        for (const host of HOSTS) {
            // -f reads the patterns from stdin, so that the search itself does not put them into argv.
            const search = (line: string): string =>
                on(host, line, { input: patterns, check: false, timeout: 180 }).stdout;
            assert.equal(
                search(
                    "cat > /run/patterns; for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -lF -f /run/patterns >/dev/null && echo $p $(tr '\\0' ' ' <$p/cmdline | cut -c 1-60); done; true",
                ),
                "",
                `argv on ${host}`,
            );
            assert.equal(
                search(
                    "cat > /run/patterns; for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ 2>/dev/null | grep -qF -f /run/patterns && echo $p; done; true",
                ),
                "",
                `environment on ${host}`,
            );
            assert.equal(
                search(
                    "cat > /run/patterns; journalctl --no-pager -o cat | grep -cF -f /run/patterns | grep -v '^0$' || true",
                ),
                "",
                `journal of ${host}`,
            );
            assert.equal(
                search(
                    "cat > /run/patterns; find / -xdev -type f -perm /o=r -not -path '/proc/*' -not -path '/sys/*' -size -2M -print0 2>/dev/null | xargs -0 grep -lF -f /run/patterns 2>/dev/null; true",
                ),
                "",
                `world-readable files on ${host}`,
            );
            assert.notEqual(
                search(
                    "cat > /run/patterns; grep -rlF -f /run/patterns /var/lib/k3s-ha /etc/rancher 2>/dev/null; rm /run/patterns",
                ),
                "",
                `the search must find them in their own files on ${host}`,
            );
        }
    });

    it("an agent knows the agent token only", () => {
        const server = on("master-1", "sed 's/.*://' /etc/rancher/k3s/token").stdout.trim();
        const found = on(
            "agent-1",
            "cat >/run/patterns; grep -rlF -f /run/patterns /var/lib/k3s-ha /etc/rancher /var/lib/rancher; rm /run/patterns",
            { input: server, check: false },
        ).stdout;
        assert.equal(found, "");
        const token = on("agent-1", "cat /etc/rancher/k3s/token").stdout;
        assert.match(token, /^K10[0-9a-f]{64}::node:/);
        assert.equal(/^K10([0-9a-f]{64})/.exec(token)?.[1], mainStack().output("caHash").trim());
    });

    it("metrics and stats are refused to sources outside the allowed networks", async () => {
        // A second address of the host itself is not in the VPN's network: loopback and the VPN may, others may not.
        on("agent-1", "ip address add 192.0.2.7/32 dev lo");
        try {
            await eventually("the address is there", 5, () => {
                const code = on(
                    "agent-1",
                    `curl -s -o /dev/null -w '%{http_code}' --interface 192.0.2.7 http://${NET}.21:1936/metrics`,
                    { check: false },
                ).stdout;
                assert.equal(code, "403");
            });
            assert.equal(
                on("agent-1", `curl -s -o /dev/null -w '%{http_code}' http://${NET}.21:1936/metrics`).stdout,
                "200",
            );
        } finally {
            on("agent-1", "ip address del 192.0.2.7/32 dev lo");
        }
    });
});
