/** Hosts as people have them: login shells, noise, proxies in the environment, mounts, an haproxy of their own. LAB_SUITE chooses the Debian. */
import assert from "node:assert/strict";
import { differences, snapshot, type Snapshot } from "../cluster/host-snapshot";
import {
    MASTERS,
    NEW_VERSION,
    Stack,
    eventually,
    kubeconfigOf,
    lab,
    mastersUp,
    nodeOf,
    on,
    underLoad,
    voters,
} from "../cluster/support";

const HOSTS = [...MASTERS, "agent-1", "agent-2"] as const;
const NOISE = "echo this is the start file of a login shell; echo and its errors >&2";

/** What makes each host special, and the user that the program logs in as. */
const PECULIAR: Readonly<Record<(typeof HOSTS)[number], { readonly user: string; readonly script: string }>> = {
    "master-1": {
        user: "deploy",
        script: `chsh -s /usr/bin/zsh deploy; printf '%s\\n' '${NOISE}' 'alias test=false' >/home/deploy/.zshenv`,
    },
    "master-2": {
        user: "deploy",
        script: `chsh -s /usr/bin/fish deploy; mkdir -p /home/deploy/.config/fish; printf '%s\\n' '${NOISE}' >/home/deploy/.config/fish/config.fish; chown -R deploy: /home/deploy`,
    },
    // A proxy that is not there: a step that asked a server through it would fail.
    "master-3": {
        user: "root",
        script: `printf '%s\\n' http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 no_proxy=${process.env["LAB_NET"]}.1 >>/etc/environment; printf '%s\\n' '${NOISE}' >/root/.bashrc`,
    },
    // /var/lib/rancher is a file system of its own here: official k3s runs programs from there.
    "agent-1": {
        user: "deploy",
        script: `mount --bind /var /var && mount -o remount,bind,noexec /var; chsh -s /bin/tcsh deploy; printf '%s\\n' 'echo this is tcsh' >/home/deploy/.tcshrc`,
    },
    "agent-2": {
        user: "root",
        script: `apt-get -qq install haproxy >/dev/null; printf '%s\\n' 'frontend website' '    bind *:8000' '    mode http' '    timeout client 5s' '    http-request return status 200 content-type text/plain string kept' >/etc/haproxy/haproxy.cfg; systemctl restart haproxy; mkdir -p /srv/rancher /var/lib/rancher/k3s; mount --bind /srv/rancher /var/lib/rancher/k3s`,
    },
};

const website = (host: string): string =>
    on(host, "curl -sS --noproxy '*' --max-time 5 http://127.0.0.1:8000/", { check: false }).stdout;

describe(`hosts as people have them (${process.env["LAB_SUITE"] ?? "bookworm"})`, function () {
    this.timeout(1_200_000);

    const stack = new Stack("hosts", HOSTS, (config) => {
        for (const host of HOSTS) {
            const node = nodeOf(config, host);
            node.ssh = { ...node.ssh, user: PECULIAR[host].user };
        }
    });
    const untouched = new Map<string, Snapshot>();

    before(() => {
        lab(["hosts", "up", ...HOSTS], { timeout: 300 });
        for (const host of HOSTS) {
            if (PECULIAR[host].user === "deploy")
                on(host, "apt-get -qq update && apt-get -qq install zsh fish tcsh >/dev/null");
            else on(host, "apt-get -qq update");
            on(host, `set -e; ${PECULIAR[host].script}`);
            untouched.set(host, snapshot(host));
        }
        stack.init();
    });

    after(() => stack.forget());

    it("an haproxy of the host's own is refused, with its sections, before anything is changed there", () => {
        const up = stack.pulumi(["up", "--yes", "--skip-preview"], { check: false });
        assert.notEqual(up.status, 0);
        assert.match(up.stdout + up.stderr, /FAILED on node agent-2, step prepare: .*haproxy\.cfg.*frontend website/);
        assert.equal(website("agent-2"), "kept");
    });

    it("the first cluster comes up after its sections moved to proxy.haproxy", () => {
        on("agent-2", "mv /etc/haproxy/haproxy.cfg /etc/haproxy/haproxy.cfg.before-k3s-ha");
        stack.upWith((config) => {
            config["k3s-ha:proxy"] = {
                haproxy: {
                    frontend: [
                        {
                            name: "website",
                            bind: [{ listen: "*:8000" }],
                            mode: "http",
                            raw_options: [
                                "timeout client 5s",
                                "http-request return status 200 content-type text/plain string kept",
                            ],
                        },
                    ],
                },
            };
        });
        for (const host of HOSTS) {
            assert.deepEqual(mastersUp(host), [...MASTERS], host);
            assert.equal(website(host), "kept", host);
        }
        assert.deepEqual(voters("master-1"), [...MASTERS]);
    });

    it("a second up changes nothing", () => {
        assert.equal(stack.pulumi(["preview", "--expect-no-changes"], { check: false }).status, 0);
    });

    it("an upgrade loses no request", async () => {
        await underLoad(
            "upgrade",
            () => stack.upWith((config) => void (config["k3s-ha:version"] = NEW_VERSION)),
            {},
            ["agent-1", "master-3"],
            kubeconfigOf(stack),
        );
        for (const host of HOSTS)
            assert.match(on(host, "k3s --version").stdout, new RegExp(NEW_VERSION.replace("+", "\\+")));
    });

    it("destroy leaves every host as it was, the haproxy of its own with it", async () => {
        stack.pulumi(["destroy", "--yes", "--skip-preview"]);
        await eventually("the website is served again", 20, () => assert.equal(website("agent-2"), "kept"));
        for (const host of HOSTS) {
            const was = untouched.get(host);
            assert.ok(was);
            const left = differences(was, snapshot(host)).filter((line) => !/haproxy\.cfg\.before-k3s-ha/.test(line));
            assert.deepEqual(left, [], host);
        }
    });
});
