import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { commandPackage } from "../src/providers/command";
import type { Provider, Request } from "../src/providers/provider";
import { Asset, type PropertyMap, Secret, unwrapSecrets } from "../src/values";
import { freePort, Sshd } from "./sshd";

const TYPE = "command:remote:Command";

describe("remote.Command over a real sshd", () => {
    let sshd: Sshd;
    let provider: Provider;
    let logs: string[];
    const agentBefore = process.env.SSH_AUTH_SOCK;

    before(async () => {
        delete process.env.SSH_AUTH_SOCK;
        sshd = await Sshd.start();
    });
    after(async () => {
        if (agentBefore !== undefined) process.env.SSH_AUTH_SOCK = agentBefore;
        await sshd?.stop();
    });
    beforeEach(() => {
        logs = [];
        provider = commandPackage("/").configure({}, true);
    });
    afterEach(() => {
        delete process.env.SSH_AUTH_SOCK;
        provider.close!();
    });

    const request = (type = TYPE): Request => ({
        urn: `urn:pulumi:s::p::${type}::x`,
        type,
        name: "x",
        preview: false,
        log: (severity, message) => logs.push(`${severity}: ${message}`),
    });
    const connection = (extra: PropertyMap = {}): PropertyMap => ({
        host: "127.0.0.1",
        port: sshd.port,
        user: sshd.user,
        privateKey: sshd.privateKey,
        hostKey: sshd.hostKey,
        dialErrorLimit: 1,
        ...extra,
    });
    const create = async (inputs: PropertyMap, con: PropertyMap = connection(), type = TYPE): Promise<PropertyMap> => {
        const checked = provider.check(request(type), undefined, {
            addPreviousOutputInEnv: false,
            ...inputs,
            connection: con,
        });
        assert.deepEqual(
            checked.failures.filter((f) => f.property !== "addPreviousOutputInEnv"),
            [],
        );
        assert.ok(checked.inputs.connection instanceof Secret, "the connection is a secret");
        return (await provider.create(request(type), checked.inputs)).outputs;
    };

    it("runs the command with stdin, and logs both streams", async () => {
        const out = await create({ create: "cat; echo err >&2", stdin: "one\ntwo\n" });
        assert.equal(out.stdout, "one\ntwo");
        assert.equal(out.stderr, "err");
        assert.deepEqual(logs.sort(), ["info: err", "info: one", "info: two"]);
    });

    it("logs what it is told to", async () => {
        await create({ create: "echo out; echo err >&2", logging: "none" });
        assert.deepEqual(logs, []);
        await create({ create: "echo out; echo err >&2", logging: "stderr" });
        assert.deepEqual(logs, ["info: err"]);
    });

    it("fills in the connection's defaults", () => {
        const c = provider.check(request(), undefined, { connection: { host: "h", proxy: { host: "b" } } });
        const base = { user: "root", port: 22, dialErrorLimit: 10, perDialTimeout: 15 };
        assert.deepEqual(unwrapSecrets(c.inputs.connection!), { ...base, host: "h", proxy: { ...base, host: "b" } });
    });

    it("carries large input and output without loss", async () => {
        const text = `${"0123456789abcdef".repeat(8)}\n`.repeat(8000);
        const out = await create({ create: "cat", stdin: text, logging: "none" });
        assert.equal(out.stdout, text.slice(0, -1));
    });

    it("fails with the command and its output", async () => {
        await assert.rejects(create({ create: 'echo "so it goes"; echo bad >&2; exit 3' }), (e: Error) => {
            assert.match(
                e.message,
                /^Process exited with status 3: running "echo \\"so it goes\\"; echo bad >&2; exit 3":\n/,
            );
            assert.match(e.message, /so it goes\n/);
            assert.match(e.message, /bad\n/);
            return true;
        });
        await assert.rejects(create({ create: "kill -9 $$" }), /Process exited with status 137 from signal KILL/);
    });

    it("updates by `update`, else by `create`; deletes by the old `delete`", async () => {
        const f = path.join(sshd.dir, "trace");
        const base = { connection: connection(), create: `echo c >> ${f}`, addPreviousOutputInEnv: false };
        const made = await provider.create(request(), base);
        await provider.update(request(), made.id, base, made.outputs, { ...base, stdin: "x" });
        const withUpdate = { ...base, update: `echo u >> ${f}`, delete: `echo d >> ${f}` };
        const outputs = await provider.update(request(), made.id, base, made.outputs, withUpdate);
        await provider.delete(request(), made.id, withUpdate, outputs);
        assert.deepEqual(readFileSync(f, "utf8").split("\n"), ["c", "c", "u", "d", ""]);
    });

    it("refuses another host's key, and does not look at an agent when a key is given", async () => {
        const other = execFileSync("ssh-keygen", [
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            path.join(sshd.dir, `o${Date.now()}`),
        ]).toString();
        void other;
        const key = execFileSync("sh", ["-c", `cat ${sshd.dir}/o*.pub`])
            .toString()
            .trim();
        await assert.rejects(
            create({ create: "true" }, connection({ hostKey: key })),
            /after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch/,
        );
        await assert.rejects(
            create({ create: "true" }, connection({ hostKey: "junk" })),
            /failed to parse host key: ssh: no key found/,
        );
        assert.equal(
            (await create({ create: "echo unpinned" }, { ...connection(), hostKey: null } as PropertyMap)).stdout,
            "unpinned",
        );
    });

    it("says what is wrong with a key, a port, a socket", async () => {
        const wrong = path.join(sshd.dir, "wrong");
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", wrong]);
        await assert.rejects(
            create({ create: "true" }, connection({ privateKey: readFileSync(wrong, "utf8") })),
            /after 1 failed attempts: ssh: handshake failed: ssh: unable to authenticate, attempted methods \[none publickey\], no supported methods remain/,
        );
        const port = await freePort();
        await assert.rejects(
            create({ create: "true" }, connection({ port })),
            new RegExp(`after 1 failed attempts: dial tcp 127.0.0.1:${port}: connect: connection refused`),
        );
        assert.deepEqual(logs.at(-1), "info: Dial 1/1 failed: retrying");
        process.env.SSH_AUTH_SOCK = "/nonexistent/agent";
        await assert.rejects(
            create({ create: "true" }),
            /^Error: dial unix \/nonexistent\/agent: connect: no such file or directory/,
        );
        await assert.rejects(
            create({ create: "true" }, connection({ privateKey: "junk", agentSocketPath: "" })),
            /no key found|dial unix/,
        );
    });

    it("uses the agent of agentSocketPath or SSH_AUTH_SOCK", async () => {
        const sock = path.join(sshd.dir, "agent");
        const agent: ChildProcess = spawn("ssh-agent", ["-D", "-a", sock], { stdio: "ignore" });
        try {
            for (let i = 0; i < 100 && !statSync(sock, { throwIfNoEntry: false }); i++)
                await new Promise((r) => setTimeout(r, 20));
            execFileSync("ssh-add", ["-q", path.join(sshd.dir, "user")], {
                env: { ...process.env, SSH_AUTH_SOCK: sock },
            });
            const bare = connection({ privateKey: null });
            assert.equal(
                (await create({ create: "echo by-path" }, { ...bare, agentSocketPath: sock })).stdout,
                "by-path",
            );
            process.env.SSH_AUTH_SOCK = sock;
            assert.equal((await create({ create: "echo by-env" }, bare)).stdout, "by-env");
        } finally {
            agent.kill();
        }
    });

    it("goes through a bastion", async () => {
        const proxy = connection();
        assert.equal((await create({ create: "echo through" }, connection({ proxy }))).stdout, "through");
        await assert.rejects(
            create({ create: "true" }, connection({ port: await freePort(), proxy })),
            /proxy: after 1 failed attempts/,
        );
    });

    it("fails on environment that sshd does not accept, before the command runs; previous output only warns", async () => {
        const f = path.join(sshd.dir, "ran");
        await assert.rejects(
            create({ create: `touch ${f}`, environment: { COLOUR: "blue" } }),
            /could not set environment variable "COLOUR": ssh: setenv failed/,
        );
        assert.match(
            logs[0]!,
            /^error: Unable to set 'COLOUR'\. This only works if your SSH server is configured to accept/,
        );
        assert.equal(statSync(f, { throwIfNoEntry: false }), undefined);
        logs.length = 0;
        const inputs = { connection: connection(), create: "echo again" };
        const out = await provider.update(request(), "x", inputs, { stdout: "before", stderr: "also" }, inputs);
        assert.equal(out.stdout, "again");
        assert.equal(logs.filter((l) => l.startsWith("warning: Unable to set 'PULUMI_COMMAND_STD")).length, 2);
    });

    it("a line of 64 KiB with logging on is an error, not a hang", async () => {
        await assert.rejects(create({ create: "head -c 70000 /dev/zero | tr '\\0' x" }), /line of 64 KiB or more/);
        assert.equal(
            String((await create({ create: "head -c 70000 /dev/zero | tr '\\0' x", logging: "none" })).stdout).length,
            70000,
        );
    });

    it("keeps its connections open until closed, one per command", async () => {
        await create({ create: "true" });
        await create({ create: "true" });
        const count = (): number =>
            execFileSync("sh", ["-c", `ss -Htn state established "( sport = :${sshd.port} )" | wc -l`])
                .toString()
                .trim() as unknown as number;
        assert.equal(Number(count()), 2);
    });

    it("CopyToRemote: text, file and directory", async () => {
        const to = path.join(sshd.dir, "copied");
        const type = "command:remote:CopyToRemote";
        const put = async (source: Asset, remotePath: string): Promise<void> => {
            const c = provider.check(request(type), undefined, { connection: connection(), source, remotePath });
            assert.deepEqual(c.failures, []);
            await provider.create(request(type), c.inputs);
        };
        await put(new Asset({ text: "hello" }, "h1"), path.join(to, "deep", "text"));
        assert.equal(readFileSync(path.join(to, "deep", "text"), "utf8"), "hello");
        const from = path.join(sshd.dir, "from");
        mkdirSync(path.join(from, "sub"), { recursive: true });
        writeFileSync(path.join(from, "sub", "f"), "inner");
        await put(new Asset({ path: from }, "h2"), to);
        assert.equal(readFileSync(path.join(to, "from", "sub", "f"), "utf8"), "inner");
        await put(new Asset({ path: path.join(from, "sub", "f") }, "h3"), to);
        assert.equal(readFileSync(path.join(to, "f"), "utf8"), "inner");
    });
});

describe("remote.Command where sshd accepts variables", () => {
    it("passes environment and previous output", async () => {
        const sshd = await Sshd.start("AcceptEnv COLOUR PULUMI_COMMAND_*");
        const provider = commandPackage("/").configure({}, true);
        const before = process.env.SSH_AUTH_SOCK;
        delete process.env.SSH_AUTH_SOCK;
        try {
            const inputs: PropertyMap = {
                connection: {
                    host: "127.0.0.1",
                    port: sshd.port,
                    user: sshd.user,
                    privateKey: sshd.privateKey,
                    dialErrorLimit: 1,
                },
                create: 'echo "$COLOUR $PULUMI_COMMAND_STDOUT"',
                environment: { COLOUR: "blue" },
            };
            const r: Request = {
                urn: `urn:pulumi:s::p::${TYPE}::x`,
                type: TYPE,
                name: "x",
                preview: false,
                log: () => undefined,
            };
            assert.equal(
                (await provider.update(r, "x", inputs, { stdout: "before", stderr: "" }, inputs)).stdout,
                "blue before",
            );
        } finally {
            if (before !== undefined) process.env.SSH_AUTH_SOCK = before;
            provider.close!();
            await sshd.stop();
        }
    });
});
