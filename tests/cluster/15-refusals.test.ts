import assert from "node:assert/strict";
import { join } from "node:path";
import { LAB_DIR, NET, Stack, anonymousCode, nodeOf, on, type Result } from "./support";

/** A stack of one host, whose `up` is expected to fail. */
function failingUp(
    name: string,
    change: (config: Record<string, unknown>, node: Record<string, unknown>) => void,
    env: Record<string, string> = {},
): { result: Result; text: string } {
    const stack = new Stack(name, ["agent-1"], (config) => {
        const node = nodeOf(config, "agent-1") as unknown as Record<string, unknown>;
        node["role"] = "server";
        config["k3s-ha:ssh"] = { ...(config["k3s-ha:ssh"] as object), dialErrorLimit: 2 };
        change(config, node);
    });
    try {
        stack.init();
        const result = stack.pulumi(["up", "--yes", "--skip-preview"], { check: false, timeout: 180, env });
        return { result, text: result.stdout + result.stderr };
    } finally {
        stack.forget();
    }
}

describe("refusals: an error that names the host and what to do", function () {
    this.timeout(240_000);

    it("a user without sudo", () => {
        const { result, text } = failingUp("nosudo", (_, node) => (node["ssh"] = { user: "nosudo" }));
        assert.notEqual(result.status, 0);
        assert.match(
            text,
            /user nosudo on agent-1 is not root and cannot run 'sudo -n' \(it says: .*\): let it use sudo without a password/,
        );
    });

    it("no key", () => {
        const { result, text } = failingUp("wrongkey", () => undefined, { SSH_AUTH_SOCK: "" });
        assert.notEqual(result.status, 0);
        assert.match(text, /node agent-1: SSH to root@[0-9.]+:22 failed: no key was offered/);
    });

    it("a closed port", () => {
        const { result, text } = failingUp("closed", (_, node) => {
            node["ssh"] = {
                port: 2222,
                hostKey: on("agent-1", "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").stdout.trim(),
            };
        });
        assert.notEqual(result.status, 0);
        assert.match(text, /node agent-1: SSH to root@[0-9.]+:2222 failed: nothing listens there/);
    });

    it("another host key than the pinned one", () => {
        const { result, text } = failingUp("hostkey", (_, node) => {
            node["ssh"] = { hostKey: on("agent-2", "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").stdout.trim() };
        });
        assert.notEqual(result.status, 0);
        assert.match(text, /node agent-1: SSH to .* failed: its host key is not the pinned one/);
    });

    it("an unpinned host, before anything is touched", () => {
        const { result, text } = failingUp("unpinned", (config) => (config["k3s-ha:ssh"] = {}));
        assert.notEqual(result.status, 0);
        assert.match(text, /k3s-ha:nodes\[0\]\.ssh\.hostKey: is missing/);
        assert.match(text, /no host was touched/);
    });

    it("a host that holds etcd data of another cluster", () => {
        on("agent-1", "mkdir -p /var/lib/rancher/k3s/server/db/etcd/member");
        try {
            const { result, text } = failingUp("foreign", () => undefined);
            assert.notEqual(result.status, 0);
            assert.match(text, /FAILED on node agent-1, step prepare: .*holds etcd data of another cluster/);
        } finally {
            on("agent-1", "rm -rf /var/lib/rancher/k3s/server; sh /usr/local/lib/k3s-ha/prepare.sh remove");
        }
    });

    it("founding a cluster while another master answers", () => {
        on("agent-2", "systemd-run -q --unit=somebody /usr/sbin/sshd -D -p 6443");
        try {
            const { result, text } = failingUp("second", (config) => {
                const other = { name: "agent-2", role: "server", address: `${NET}.22` };
                config["k3s-ha:nodes"] = [...(config["k3s-ha:nodes"] as object[]), other];
            });
            assert.notEqual(result.status, 0);
            assert.match(
                text,
                /FAILED on node agent-1, step server: agent-2 answers on the API or etcd port, so a cluster may exist and none is founded/,
            );
            assert.equal(on("agent-1", "ls /var/lib/rancher/k3s/server/db 2>/dev/null || true").stdout, "");
        } finally {
            on("agent-2", "systemctl stop somebody");
            for (const host of ["agent-1", "agent-2"]) on(host, "sh /usr/local/lib/k3s-ha/prepare.sh remove");
        }
    });

    it("a k3s under a unit of another name, which is not touched", () => {
        // A process whose binary and command line are k3s's, and whose work is to sleep.
        on(
            "agent-1",
            "cp /bin/bash /usr/local/bin/k3s-own; printf '%s\\n' '[Service]' \"ExecStart=@/usr/local/bin/k3s-own 'k3s server' -c 'while :; do sleep 60; done'\" >/etc/systemd/system/k3s-node.service; systemctl daemon-reload; systemctl start k3s-node",
        );
        try {
            const { result, text } = failingUp("unit", () => undefined);
            assert.notEqual(result.status, 0);
            assert.match(
                text,
                /FAILED on node agent-1, step prepare: k3s runs on this host already \(k3s-node\.service\)/,
            );
            assert.equal(on("agent-1", "systemctl is-active k3s-node").stdout.trim(), "active");
        } finally {
            on(
                "agent-1",
                "systemctl stop k3s-node; rm -f /etc/systemd/system/k3s-node.service /usr/local/bin/k3s-own; systemctl daemon-reload; sh /usr/local/lib/k3s-ha/prepare.sh remove",
            );
        }
    });

    it("a host with a route into the pods' network, as docker's bridge is", () => {
        on(
            "agent-1",
            "ip link add docker0 type bridge; ip address add 10.42.7.1/24 dev docker0; ip link set docker0 up",
        );
        try {
            const { result, text } = failingUp("route", () => undefined);
            assert.notEqual(result.status, 0);
            assert.match(
                text,
                /FAILED on node agent-1, step prepare: this host has a route to 10\.42\.7\.\S+ dev docker0, and the pods' network/,
            );
        } finally {
            on("agent-1", "ip link delete docker0; sh /usr/local/lib/k3s-ha/prepare.sh remove");
        }
    });

    it("an haproxy that is started with a file of its own", () => {
        on(
            "agent-1",
            "apt-get -qq update; apt-get -qq install haproxy >/dev/null; printf '%s\\n' 'frontend website' '    bind *:8000' '    mode http' '    timeout client 5s' '    http-request return status 200' >/etc/haproxy/own.cfg; echo 'EXTRAOPTS=\"-S /run/haproxy-master.sock -f /etc/haproxy/own.cfg\"' >>/etc/default/haproxy; systemctl restart haproxy",
        );
        try {
            const { result, text } = failingUp("files", () => undefined);
            assert.notEqual(result.status, 0);
            assert.match(
                text,
                /step prepare: haproxy on this host is started with files of its own .*own\.cfg with frontend website/,
            );
        } finally {
            on(
                "agent-1",
                "apt-get -qq purge haproxy >/dev/null; rm -rf /etc/haproxy /etc/default/haproxy; sh /usr/local/lib/k3s-ha/prepare.sh remove",
            );
        }
    });

    it("a binary whose sum is not the pinned one", () => {
        const { result, text } = failingUp("sum", (config) => {
            config["k3s-ha:download"] = { ...(config["k3s-ha:download"] as object), sha256: { amd64: "0".repeat(64) } };
        });
        assert.notEqual(result.status, 0);
        assert.match(text, /FAILED on node agent-1, step stage: http:\S+ has SHA-256 [0-9a-f]{64} and not 0{64}/);
        assert.equal(on("agent-1", "ls /var/lib/k3s-ha/bin/*/k3s.new 2>/dev/null || true").stdout, "");
        on("agent-1", "for s in stage haproxy prepare; do sh /usr/local/lib/k3s-ha/$s.sh remove; done");
    });

    it("the deployer's key file works in place of the agent, for a user with sudo", () => {
        const stack = new Stack("sudo", ["agent-1"], (config) => {
            Object.assign(nodeOf(config, "agent-1"), { role: "server", ssh: { user: "deploy" } });
            config["k3s-ha:ssh"] = {
                ...(config["k3s-ha:ssh"] as object),
                privateKeyFile: join(LAB_DIR, "ssh/id_ed25519"),
            };
            config["k3s-ha:readiness"] = "scoped";
        });
        stack.init().pulumi(["up", "--yes", "--skip-preview"], { env: { SSH_AUTH_SOCK: "" }, timeout: 300 });
        assert.deepEqual(
            ["/readyz", "/livez", "/healthz", "/version", "/api"].map((path) => anonymousCode(`${NET}.21`, path)),
            ["200", "200", "200", "401", "401"],
        );
        stack.pulumi(["destroy", "--yes", "--skip-preview"], { env: { SSH_AUTH_SOCK: "" }, timeout: 300 });
        stack.forget();
    });
});
