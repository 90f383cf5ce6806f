import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const root = resolve(__dirname, "../..");

/** A lab of its own: other name, network, folder and stack file than the one people work with. */
class Lab {
    readonly name: string;
    readonly directory: string;
    private readonly folder: string;
    private readonly env: NodeJS.ProcessEnv;

    constructor(suffix: string, net: string) {
        this.name = `test-${process.pid}-${suffix}`;
        this.folder = mkdtempSync(`/var/tmp/lab-${suffix}-`);
        this.directory = join(this.folder, "state");
        const stackFile = join(this.folder, "Pulumi.stack.yaml");
        writeFileSync(
            stackFile,
            `config:
    k3s-ha:nodes:
        - { name: master-1, role: server, address: 10.90.0.11 }
        - { name: agent-1, role: agent, address: 10.90.0.21 }
    k3s-ha:ssh: { knownHosts: .lab/ssh/known_hosts }
`,
        );
        const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith("LAB_") || key === "LAB_CACHE");
        this.env = {
            ...Object.fromEntries(inherited),
            LAB_NAME: this.name,
            LAB_NET: net,
            LAB_DIR: this.directory,
            LAB_STACK_FILE: stackFile,
        };
    }

    run(args: string[], input: string | Buffer = "") {
        const result = spawnSync(join(root, "lab/lab"), args, { env: this.env, input, maxBuffer: 1 << 26 });
        return {
            code: result.status,
            out: result.stdout.toString(),
            raw: result.stdout,
            err: result.stderr.toString(),
        };
    }

    ok(...args: string[]): string {
        const { code, out, err } = this.run(args);
        assert.equal(code, 0, `lab/lab ${args.join(" ")}: ${err}`);
        return out;
    }

    on(host: string, script: string): string {
        return this.ok("exec", host, "--", "sh", "-c", script).trim();
    }

    states(): Record<string, string> {
        const list: { name: string; state: string }[] = JSON.parse(this.ok("hosts", "list", "--json"));
        return Object.fromEntries(list.map(({ name, state }) => [name, state]));
    }

    /** Whether sshd of the host answers to the deployer within two seconds. */
    answers(address: string): boolean {
        const probe = `exec 3<>/dev/tcp/${address}/22 && head -c 4 <&3`;
        return this.run(["exec", "--", "timeout", "2", "bash", "-c", probe]).out === "SSH-";
    }

    start(...args: string[]) {
        return spawn(join(root, "lab/lab"), args, { env: this.env, stdio: "ignore" });
    }

    /** Everything on this machine that carries the lab's name or folder. */
    traces(): string[] {
        const lines = (command: string, ...args: string[]) => spawnSync(command, args).stdout.toString().split("\n");
        const folders = (path: string) => (existsSync(path) ? readdirSync(path) : []);
        const hierarchies = readFileSync("/proc/self/mountinfo", "utf8")
            .split("\n")
            .filter((line) => / - cgroup2? /.test(line))
            .map((line) => line.split(" ")[4] ?? "");
        const processes = readdirSync("/proc")
            .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
            .map((pid) => {
                try {
                    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
                } catch {
                    return ""; // ended meanwhile
                }
            });
        return [
            ...readFileSync("/proc/self/mountinfo", "utf8").split("\n"),
            ...lines("losetup", "--all"),
            ...lines("ip", "netns", "list"),
            ...hierarchies.flatMap((path) => folders(path).map((name) => join(path, name))),
            ...processes,
            ...["propagate", "unix-export"].flatMap((name) => folders(`/run/systemd/nspawn/${name}`)),
            ...readdirSync(root),
            ...folders(this.directory).map((name) => join(this.directory, name)),
        ].filter((line) => line.includes(this.name) || line.includes(this.directory));
    }

    remove(): void {
        this.run(["down"]);
        rmSync(this.folder, { recursive: true, force: true });
    }
}

describe("lab hosts", function () {
    this.timeout(300_000);
    let lab: Lab;
    let other: Lab;
    const [master, agent] = ["10.97.1.11", "10.97.1.21"];

    before(() => {
        lab = new Lab("a", "10.97.1");
        other = new Lab("b", "10.97.2");
        assert.deepEqual(lab.traces(), []);
        lab.ok("hosts", "up");
    });
    after(() => {
        lab?.remove();
        other?.remove();
    });

    it("starts the hosts of the stack file and leaves running ones alone", () => {
        assert.deepEqual(JSON.parse(lab.ok("hosts", "list", "--json")), [
            { name: "master-1", role: "server", address: master, state: "running" },
            { name: "agent-1", role: "agent", address: agent, state: "running" },
        ]);
        const boot = "cat /proc/1/stat | cut -d' ' -f22";
        const before = lab.on("agent-1", boot);
        lab.ok("hosts", "up");
        assert.equal(lab.on("agent-1", boot), before);
        assert.equal(lab.on("agent-1", "systemctl is-system-running"), "running");
    });

    it("gives every host cgroups of its own", () => {
        for (const host of ["master-1", "agent-1"]) {
            const paths = spawnSync("find", [
                "/sys/fs/cgroup",
                "-path",
                `*/lab-${lab.name}/${host}/payload/init.scope`,
            ]);
            const found = paths.stdout.toString().trim();
            assert.notEqual(found, "", `init of ${host} is not below lab-${lab.name}/${host}`);
            assert.match(lab.on(host, "systemctl restart ssh && systemctl is-active ssh"), /^active$/);
        }
    });

    it("gives the hosts more weight than a deployer, which would starve them on the same machine", () => {
        const weights = spawnSync("find", [
            "/sys/fs/cgroup",
            "-path",
            `*/lab-${lab.name}/cpu.*`,
            "(",
            "-name",
            "cpu.shares",
            "-o",
            "-name",
            "cpu.weight",
            ")",
        ]);
        const files = weights.stdout.toString().trim().split("\n");
        assert.ok(files[0], "no CPU controller");
        for (const file of files)
            assert.equal(readFileSync(file, "utf8").trim(), file.endsWith("shares") ? "8192" : "800", file);
    });

    it("passes input, output, errors, arguments and exit code through exec", () => {
        const data = randomBytes(1 << 20);
        const { raw } = lab.run(["exec", "agent-1", "--", "sha256sum"], data);
        assert.equal(raw.toString().slice(0, 64), createHash("sha256").update(data).digest("hex"));
        const echo = lab.run(["exec", "agent-1", "--", "cat"], data);
        assert.ok(echo.raw.equals(data));
        const result = lab.run([
            "exec",
            "agent-1",
            "--",
            "sh",
            "-c",
            'echo "$1|$2"; echo oops >&2; exit 42',
            "sh",
            "a b",
            "$'*",
        ]);
        assert.deepEqual([result.code, result.out, result.err], [42, "a b|$'*\n", "oops\n"]);
        assert.equal(lab.run(["exec", "nobody", "--", "true"]).code, 125);
        assert.equal(lab.on("agent-1", "id -un; hostname; pwd").replaceAll("\n", " "), "root agent-1 /root");
    });

    it("runs the deployer inside the lab's network, with the environment of lab/lab env", () => {
        assert.match(lab.ok("exec", "--", "ip", "-brief", "address", "show", "lo"), /10\.97\.1\.1\/32/);
        assert.equal(lab.ok("exec", "--", "printenv", "PULUMI_BACKEND_URL"), `file://${lab.directory}/state\n`);
        assert.match(lab.ok("env"), new RegExp(`^export SSH_AUTH_SOCK=${lab.directory}/ssh/agent.sock$`, "m"));
        const derived = readFileSync(join(root, `Pulumi.${lab.ok("stack").trim()}.yaml`), "utf8");
        assert.match(derived, new RegExp(`address: ${agent} `));
        assert.match(derived, new RegExp(`knownHosts: ${lab.directory}/ssh/known_hosts`));
    });

    it("lets root and two users in by key, with pinned host keys", () => {
        const ssh = (user: string, command: string) =>
            lab.run([
                "exec",
                "--",
                "ssh",
                ...["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"],
                ...["-o", `UserKnownHostsFile=${lab.directory}/ssh/known_hosts`, `${user}@${agent}`, command],
            ]);
        assert.equal(ssh("root", "id -u").out, "0\n");
        assert.equal(ssh("deploy", "id -u; sudo -n id -u").out, "1000\n0\n");
        assert.notEqual(ssh("nosudo", "sudo -n id -u").code, 0);
        assert.equal(ssh("nosudo", "id -un").out, "nosudo\n");
        const known = readFileSync(join(lab.directory, "ssh/known_hosts"), "utf8").trim().split("\n");
        assert.deepEqual(known.map((line) => line.split(" ")[0]).sort(), [master, agent]);
    });

    it("routes between the hosts, which share no link", () => {
        assert.match(lab.on("agent-1", "ping -c 1 -W 2 master-1"), /ttl=63/);
        assert.equal(lab.on("agent-1", "ip -brief -4 address show host0").split(/\s+/)[2], `${agent}/32`);
        assert.equal(lab.run(["exec", "agent-1", "--", "ping", "-c", "1", "-W", "1", "10.97.1.99"]).code, 1);
    });

    it("keeps a host's sysctl settings from the machine", () => {
        const file = "/proc/sys/kernel/panic";
        const machine = readFileSync(file, "utf8");
        lab.on("agent-1", "sysctl -w kernel.panic=77 vm.overcommit_memory=1 net.ipv4.ip_forward=1");
        assert.equal(lab.on("agent-1", `cat ${file}`), "77");
        assert.equal(lab.on("master-1", `cat ${file}`), machine.trim());
        assert.equal(readFileSync(file, "utf8"), machine);
    });

    it("lacks haproxy, curl and socat, and installs them from the lab's repository", () => {
        assert.equal(lab.on("agent-1", "command -v haproxy curl socat || true"), "");
        lab.on("agent-1", "apt-get -q update && apt-get -qy install --no-install-recommends haproxy socat curl");
        assert.equal(lab.on("agent-1", "systemctl is-active haproxy"), "active");
        const log = readFileSync(join(lab.directory, "http.log"), "utf8");
        assert.match(log, new RegExp(`${agent} :8081 GET /\\./haproxy_.*\\.deb 200`));
    });

    it("serves artifacts under names with a plus", () => {
        const folder = join(lab.directory, "artifacts/x");
        spawnSync("mkdir", ["-p", folder]);
        writeFileSync(join(folder, "v1+k3s1"), "content");
        const url = "http://10.97.1.1:8080/x";
        assert.equal(lab.on("agent-1", `curl -fsS ${url}/v1%2Bk3s1; curl -fsS ${url}/v1+k3s1`), "contentcontent");
        const status = lab.on(
            "agent-1",
            `curl -s -o /dev/null -w '%{http_code}' --path-as-is ${url}/../../ssh/id_ed25519`,
        );
        assert.equal(status, "404");
    });

    it("pauses and resumes", () => {
        lab.ok("fault", "agent-1", "pause");
        assert.equal(lab.states()["agent-1"], "paused");
        assert.equal(lab.answers(agent), false);
        assert.equal(lab.run(["exec", "agent-1", "--", "true"]).code, 125);
        lab.ok("fault", "agent-1", "resume");
        assert.equal(lab.answers(agent), true);
    });

    it("cuts a host off silently, both ways, and heals it", () => {
        lab.ok("fault", "agent-1", "cut");
        assert.equal(lab.states()["agent-1"], "cut");
        assert.equal(lab.answers(agent), false);
        const ping = lab.run(["exec", "agent-1", "--", "ping", "-c", "1", "-W", "1", master]);
        assert.equal(ping.code, 1);
        assert.doesNotMatch(ping.out, /unreachable/i);
        assert.match(lab.on("agent-1", "ip -brief link show host0"), /LOWER_UP/);
        lab.ok("fault", "agent-1", "heal");
        assert.equal(lab.answers(agent), true);
    });

    it("fills a host's disk and empties it again", () => {
        lab.ok("fault", "agent-1", "fill");
        assert.notEqual(lab.run(["exec", "agent-1", "--", "sh", "-c", "cat /bin/bash > /root/copy"]).code, 0);
        assert.notEqual(
            lab.run(["exec", "agent-1", "--", "sh", "-c", "cat /bin/bash > /var/lib/rancher/copy"]).code,
            0,
        );
        assert.ok(lab.on("master-1", "cat /bin/bash > /root/copy && stat -c %s /root/copy"));
        lab.ok("fault", "agent-1", "unfill");
        lab.on("agent-1", "cat /bin/bash > /root/copy");
    });

    it("slows the link, or says that this kernel cannot", () => {
        const { code, err } = lab.run(["fault", "agent-1", "slow", "100"]);
        if (code !== 0) return assert.match(err, /netem/);
        const time = /time=([\d.]+)/.exec(lab.on("agent-1", `ping -c 1 -W 2 ${master}`))?.[1];
        assert.ok(Number(time) >= 190, `round trip of ${time} ms`);
        lab.ok("fault", "agent-1", "heal");
    });

    it("kills, starts, stops and reboots a host, which keeps its disk", () => {
        lab.on("agent-1", "echo kept >/root/file; echo kept >/var/lib/rancher/file; sync");
        const id = () =>
            lab.on("agent-1", "cat /root/file /var/lib/rancher/file; journalctl --list-boots --quiet | wc -l");
        lab.ok("fault", "agent-1", "pause");
        lab.ok("fault", "agent-1", "kill");
        assert.equal(lab.states()["agent-1"], "stopped");
        assert.equal(lab.answers(agent), false);
        lab.ok("fault", "agent-1", "start");
        assert.match(id(), /^kept\nkept\n2$/);
        lab.ok("fault", "agent-1", "stop");
        assert.equal(lab.states()["agent-1"], "stopped");
        lab.ok("fault", "agent-1", "start");
        assert.match(id(), /^kept\nkept\n3$/);
        lab.on(
            "agent-1",
            `printf '[Service]\\nType=oneshot\\nExecStart=/bin/sleep 600\\n[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/slow.service
            systemctl -q enable slow`,
        );
        lab.ok("fault", "agent-1", "kill");
        lab.ok("fault", "agent-1", "power");
        assert.match(lab.on("agent-1", "systemctl is-system-running || true"), /^starting/);
        lab.on("agent-1", "systemctl -q disable slow; rm /etc/systemd/system/slow.service; systemctl stop slow");
    });

    it("comes back after a reboot from the inside", async () => {
        const pid = () => lab.run(["exec", "agent-1", "--", "stat", "-c", "%Y.%i", "/proc/1/ns/pid"]).out;
        const before = pid();
        lab.run(["exec", "agent-1", "--", "systemctl", "reboot"]);
        for (const end = Date.now() + 90_000; Date.now() < end; await sleep(200)) {
            const now = pid();
            if (now && now !== before && lab.answers(agent)) return;
        }
        assert.fail("agent-1 did not come back within 90 s");
    });

    it("resets a host: empty disk, same host key unless asked otherwise", () => {
        const key = () => readFileSync(join(lab.directory, "ssh/known_hosts"), "utf8");
        const before = key();
        lab.ok("reset", "agent-1");
        assert.equal(lab.on("agent-1", "ls /root /var/lib/rancher | grep -c file || true"), "0");
        assert.equal(key(), before);
        lab.ok("hosts", "reset", "agent-1", "--new-host-key");
        assert.notEqual(key(), before);
        assert.equal(lab.answers(agent), true);
    });

    it("survives being killed at any point, beside another lab", async () => {
        for (const delay of [300, 900, 2000]) {
            const up = other.start("hosts", "up", "agent-1");
            await sleep(delay); // the moment of death is the point of the test
            up.kill("SIGKILL");
            await new Promise((done) =>
                up.exitCode !== null || up.signalCode !== null ? done(0) : up.once("exit", done),
            );
            other.ok("down");
            assert.deepEqual(other.traces(), []);
        }
        const up = other.start("hosts", "up", "agent-1");
        await sleep(1000);
        up.kill("SIGKILL");
        other.ok("hosts", "up", "agent-1");
        assert.equal(other.on("agent-1", "systemctl is-system-running"), "running");
        assert.match(lab.on("agent-1", "ip -brief address show host0"), /10\.97\.1\.21/);
        assert.match(other.on("agent-1", "ip -brief address show host0"), /10\.97\.2\.21/);
        other.ok("down");
        assert.deepEqual(other.traces(), []);
        assert.deepEqual(lab.states(), { "master-1": "running", "agent-1": "running" });
    });

    it("leaves no trace", () => {
        assert.notDeepEqual(lab.traces(), []);
        lab.ok("down");
        assert.deepEqual(lab.traces(), []);
        assert.equal(existsSync(lab.directory), false);
    });
});
