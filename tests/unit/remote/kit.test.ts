import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
    chmodSync,
    existsSync,
    lstatSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    readdirSync,
    renameSync,
    rmSync,
    symlinkSync,
    utimesSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { renderBundle } from "../../../components/remote/bundle";
import { bootstrapCommand, kit, kitFile, uploadPath } from "../../../components/remote/kit";
import { sshAdvice } from "../../../components/hooks/ssh-advice";
import { NodeComponent, withoutTraces } from "../../../components/remote/stack-traces";
import type { NodeSpec } from "../../../components/model/cluster";
import { spec } from "../helpers/settings";

const COMPONENTS = join(__dirname, "../../../components");
const LIB = join(COMPONENTS, "scripts/lib.sh");

/** Runs a script text with lib.sh loaded, in folders of its own. */
function withLib(script: string, input = ""): { status: number | null; stdout: string; stderr: string; state: string } {
    const state = mkdtempSync(join(tmpdir(), "k3s-ha-lib-"));
    const text = `. '${LIB}'\n${script}\n`;
    const run = spawnSync("sh", ["-c", text], { input, encoding: "utf8", env: { ...process.env, STATE: state } });
    return { status: run.status, stdout: run.stdout, stderr: run.stderr, state };
}

describe("bundle", () => {
    const nasty = "a $(touch /tmp/pwned) `id` '\"\\ ; é 中 % |& #";

    it("is readable: settings as lines, files indented", () => {
        const text = renderBundle({
            settings: { node: "a", listen: ["127.0.0.1 1", "10.0.0.1 2"], none: undefined },
            files: [{ path: "/etc/x", mode: "0600", content: "one\n\n  two\n" }],
        });
        assert.equal(
            text,
            "node: a\nlisten: 127.0.0.1 1\nlisten: 10.0.0.1 2\nfile: /etc/x 0600\n    one\n    \n      two\nend: yes\n",
        );
    });

    it("that was cut off is no bundle, wherever: the step ends before it does anything", () => {
        const text = renderBundle({
            settings: { node: "a", member: ["x server", "y agent"] },
            files: [{ path: "/etc/x", mode: "0600", content: "end: yes\n" }],
        });
        assert.equal(withLib("begin; unpack; echo done", text).stdout, "done\n");
        for (let length = 0; length < text.length - 1; length++) {
            const run = withLib("begin; unpack; echo done", text.slice(0, length));
            assert.deepEqual([run.status, run.stdout], [1, ""], JSON.stringify(text.slice(0, length)));
            assert.match(run.stderr, /its data did not arrive whole/);
        }
    });

    it("whose first line a start file of the login shell has read is none either", () => {
        const text = renderBundle({ settings: { node: "a", value: "b" }, files: [] });
        const run = withLib("begin; unpack; echo done", text.slice(text.indexOf("\n") + 1));
        assert.deepEqual([run.status, run.stdout], [1, ""]);
        assert.match(run.stderr, /the beginning of its data is missing\n.*next: start files .* read the input/);
    });

    it("reaches the node's script as it was, whatever the text", () => {
        const content = `${nasty}\n\n    indented\nfile: /etc/passwd 0644\nnode: other\n`;
        const text = renderBundle({
            settings: { node: "a", value: nasty },
            files: [{ path: "/etc/x", mode: "0600", content }],
        });
        const out = withLib(
            `begin; unpack; echo "$NODE"; setting value; cat "$(bundle_file /etc/x)"; cat "$WORK/manifest"`,
            text,
        );
        assert.equal(out.stderr, "");
        assert.equal(out.stdout, `a\n${nasty}\n${content}1 0600 /etc/x\n`);
    });

    it("refuses values that would become a second line", () => {
        assert.throws(
            () => renderBundle({ settings: { a: "x\nfile: /etc/passwd 0644" }, files: [] }),
            /control character/,
        );
        assert.throws(
            () => renderBundle({ settings: {}, files: [{ path: "/etc/a b", mode: "0644", content: "" }] }),
            /malformed/,
        );
    });
});

describe("kit", () => {
    const scripts = readdirSync(join(COMPONENTS, "scripts")).map((name) => join(COMPONENTS, "scripts", name));
    const [node] = spec().nodes.filter((n) => n.name === "agent-1") as [NodeSpec];

    it("holds every script as it is, and its digest tells a changed one", () => {
        assert.equal(kit().sum, createHash("sha256").update(kit().packed).digest("hex"));
        for (const script of scripts) {
            const name = basename(script);
            const digest = createHash("sha256").update(readFileSync(script)).digest("hex").slice(0, 12);
            assert.match(kit().packed, new RegExp(`^file: /${name} 0755$`, "m"));
            assert.equal(kit().digest(name), digest);
            assert.ok(kit().digests.includes(`# ${name} ${digest}\n`), name);
        }
        assert.throws(() => kit().digest("nothing.sh"), /no node script/);
    });

    it("is a file for the engine, whose path is the same on every machine, and is made again when it is gone or was changed", () => {
        const file = kitFile();
        assert.match(file, /^node_modules\/\.cache\/k3s-ha\/kit-[0-9a-f]{12}$/);
        for (const damage of [() => rmSync(file), () => writeFileSync(file, "x")]) {
            damage();
            assert.equal(readFileSync(kitFile(), "utf8"), kit().packed);
        }
    });

    it("has another name on another machine, or on one that was reinstalled", () => {
        const of = (changed: Partial<NodeSpec>): string => uploadPath({ ...node, ...changed });
        const ssh = (changed: object): string => of({ ssh: { ...node.ssh, ...changed } });
        const names = [of({}), of({ rebuilt: 1 }), of({ rebuilt: 2 }), ssh({ host: "fd00::1" }), ssh({ port: 2222 })];
        assert.equal(new Set(names).size, names.length);
        for (const name of names) assert.match(name, /^\.k3s-ha-kit-[0-9a-f]{12}-[A-Za-z0-9._-]+$/);
        assert.equal(of({}), of({ labels: { a: "b" } }));
    });

    /** Runs the first command in folders of its own: the upload in home/, /usr/local/lib in lib/, /run in run/. */
    function bootstrap(
        prepare: (at: { home: string; upload: string; lib: string; kit: string; run: string }) => void,
        folder = mkdtempSync(join(tmpdir(), "k3s-ha-kit-")),
        env: Readonly<Record<string, string>> = {},
    ): { status: number | null; stdout: string; stderr: string; folder: string; kit: string; home: string[] } {
        const [home, lib, run] = ["home", "lib", "run"].map((name) => join(folder, name)) as [string, string, string];
        for (const dir of [home, lib, run]) mkdirSync(dir, { recursive: true });
        const installed = join(lib, "k3s-ha");
        prepare({ home, upload: join(home, uploadPath(node)), lib, kit: installed, run });
        const command = bootstrapCommand(node)
            .replaceAll("/usr/local/lib", lib)
            .replace("run=/run;", `run=${run};`)
            .replace('"$(id -u)" -eq 0', "1 -eq 1")
            .replace(/^exec \$as .*$/m, "exec cat");
        const { status, stdout, stderr } = spawnSync("sh", ["-c", command], {
            cwd: home,
            input: "node: a\n",
            encoding: "utf8",
            env: { ...process.env, ...env },
        });
        return { status, stdout, stderr, folder, kit: installed, home: readdirSync(home) };
    }
    const send = ({ upload }: { upload: string }): void => writeFileSync(upload, kit().packed);
    function assertInstalled(run: ReturnType<typeof bootstrap>): void {
        assert.deepEqual([run.status, run.stdout, run.stderr], [0, "node: a\n", ""]);
        assert.deepEqual(readdirSync(run.kit).sort(), ["kit", ...scripts.map((script) => basename(script))].sort());
        for (const script of scripts) {
            const path = join(run.kit, basename(script));
            assert.equal(readFileSync(path, "utf8"), readFileSync(script, "utf8"), script);
            const stat = lstatSync(path);
            assert.ok(stat.isFile(), path);
            assert.equal(stat.mode & 0o777, 0o755, path);
        }
        assert.deepEqual(readdirSync(join(run.folder, "lib")), ["k3s-ha"]);
        assert.deepEqual(readdirSync(join(run.folder, "run")), ["k3s-ha-kit.lock"]);
    }
    function assertRefused(run: ReturnType<typeof bootstrap>, why: RegExp): void {
        assert.equal(run.status, 1);
        assert.equal(run.stdout, "", "step prepare ran");
        assert.match(run.stderr, /^k3s-ha: FAILED on node agent-1, step prepare: /);
        assert.match(run.stderr, why);
        assert.match(run.stderr, /next: .*pulumi up --replace '\*\*::agent-1-kit'.*rebuilt/);
        assert.deepEqual(
            readdirSync(join(run.folder, "lib")).filter((name) => name !== "k3s-ha"),
            [],
        );
    }

    it("is installed on a node, the rest of stdin goes to prepare.sh, and no upload is left but one that is newer", () => {
        const run = bootstrap((at) => {
            send(at);
            writeFileSync(join(at.home, ".k3s-ha-kit-older"), "x");
            utimesSync(join(at.home, ".k3s-ha-kit-older"), 1, 1);
            writeFileSync(join(at.home, ".k3s-ha-kit-newer"), "x");
            utimesSync(join(at.home, ".k3s-ha-kit-newer"), 4e9, 4e9);
            writeFileSync(join(at.home, "mine"), "x");
        });
        assertInstalled(run);
        assert.deepEqual(run.home.sort(), [".k3s-ha-kit-newer", "mine"]);
        // As when a secret changes: nothing is sent again, and what was altered meanwhile is mended.
        assertInstalled(bootstrap((at) => writeFileSync(join(at.kit, "lib.sh"), "echo altered"), run.folder));
    });

    it("takes the place of what was there: an older kit, altered scripts, others' files and modes, links, an unfinished run", () => {
        const { folder } = bootstrap(send);
        assertInstalled(
            bootstrap((at) => {
                send(at);
                writeFileSync(join(at.kit, "lib.sh"), "echo altered");
                writeFileSync(join(at.kit, "extra.sh"), "echo extra");
                rmSync(join(at.kit, "server.sh"));
                mkdirSync(`${at.kit}.new`);
                writeFileSync(join(`${at.kit}.new`, "half.sh"), "x");
            }, folder),
        );
        assertInstalled(
            bootstrap((at) => {
                send(at);
                rmSync(at.kit, { recursive: true });
                symlinkSync(at.home, at.kit);
                symlinkSync(at.home, `${at.kit}.new`);
            }, folder),
        );
        // Right in content alone: what is run is no link and has the right mode.
        assertInstalled(
            bootstrap((at) => {
                renameSync(join(at.kit, "lib.sh"), join(at.home, "lib.sh"));
                symlinkSync(join(at.home, "lib.sh"), join(at.kit, "lib.sh"));
                chmodSync(join(at.kit, "server.sh"), 0o777);
            }, folder),
        );
    });

    it("is installed whatever options of the shell start files have exported", () => {
        const bin = mkdtempSync(join(tmpdir(), "k3s-ha-bin-"));
        // As on hosts whose sh is bash, which takes them from there.
        symlinkSync("/bin/bash", join(bin, "sh"));
        assertInstalled(
            bootstrap(send, undefined, { PATH: `${bin}:${process.env["PATH"]}`, SHELLOPTS: "noclobber:noglob" }),
        );
        rmSync(bin, { recursive: true });
    });

    it("is found where a removal left it, for the replacement", () => {
        const { folder } = bootstrap(send);
        assertInstalled(
            bootstrap((at) => {
                renameSync(join(at.kit, "kit"), join(at.run, "k3s-ha-kit"));
                rmSync(at.kit, { recursive: true });
            }, folder),
        );
    });

    it("is refused where it is not what was sent, and what ran before stays", () => {
        const packed = kit().packed;
        const bad: readonly (readonly [string, string])[] = [
            ["a changed script", packed.replace("set -eu", "set -eu; touch /tmp/pwned")],
            ["one file more", packed.replace("end: yes", "file: /extra.sh 0755\n    x\nend: yes")],
            ["a path that leads elsewhere", packed.replace("file: /lib.sh", "file: /../../etc/lib.sh")],
            ["half of it", packed.slice(0, packed.length / 2)],
            ["something long", "x".repeat(2_000_000)],
        ];
        for (const [what, text] of bad) {
            const run = bootstrap(({ upload }) => writeFileSync(upload, text));
            assertRefused(run, /~\/\.k3s-ha-kit-\S+ has another SHA-256, and /);
            assert.deepEqual(readdirSync(join(run.folder, "lib")), [], what);
        }
        assertRefused(
            bootstrap(() => undefined),
            /~\/\.k3s-ha-kit-\S+ is not there, and /,
        );
        const before = bootstrap(send).folder;
        const run = bootstrap((at) => {
            writeFileSync(join(at.kit, "lib.sh"), "# an older kit");
            writeFileSync(join(at.kit, "kit"), "an older kit");
            writeFileSync(at.upload, "not the kit");
        }, before);
        assertRefused(run, /has another SHA-256/);
        assert.equal(readFileSync(join(run.kit, "lib.sh"), "utf8"), "# an older kit");
        // Nor is the upload lost while its like may still be looked for.
        assert.equal(run.home.length, 1);
    });

    it("follows a link to what it may read, and runs it only if it is the kit", () => {
        const secret = join(mkdtempSync(join(tmpdir(), "k3s-ha-kit-")), "secret");
        writeFileSync(secret, "a secret");
        const run = bootstrap(({ upload }) => symlinkSync(secret, upload));
        assertRefused(run, /has another SHA-256/);
        assert.ok(!run.stderr.includes("a secret"));
        assert.equal(readFileSync(secret, "utf8"), "a secret");
    });

    it("that does not fit on the disk is not installed", () => {
        // What awk writes is cut off, as on a full disk with an awk that does not say so.
        const run = bootstrap((at) => {
            send(at);
            writeFileSync(join(at.home, "awk"), "#!/bin/sh\nhead -c 100 >lib.sh\n", {
                mode: 0o755,
            });
            process.env["PATH"] = `${at.home}:${process.env["PATH"]}`;
        });
        process.env["PATH"] = process.env["PATH"]?.split(":").slice(1).join(":");
        assert.equal(run.status, 1);
        assert.match(run.stderr, /FAILED on node agent-1, step prepare: the scripts could not be written .*KiB free/);
        assert.ok(!existsSync(run.kit));
        assert.equal(run.stdout, "");
    });
});

describe("lib.sh", () => {
    it("replaces a file only when content or mode differ", () => {
        const out = withLib(`begin
            echo one >"$WORK/src"; put "$WORK/src" "$STATE/d/f" 0640; put "$WORK/src" "$STATE/d/f" 0640; echo "$CHANGED"
            put "$WORK/src" "$STATE/d/f" 0600; echo two >"$WORK/src"; put "$WORK/src" "$STATE/d/f" 0600; echo "$CHANGED"
            cat "$STATE/d/f"; stat -c %a "$STATE/d/f"; ls -A "$STATE/d"`);
        assert.equal(out.stdout, "1\n3\ntwo\n600\nf\n", out.stderr);
    });

    it("masks secrets literally, whatever characters they have", () => {
        const secret = "p.*[x]$&\\1/secret";
        const out = withLib(
            `begin; cat >"$SECRETS/token"; printf 'a %s b %s\\ntoken K10abc::server:xyz end\\n' "$(cat "$SECRETS/token")" "$(cat "$SECRETS/token")" | mask`,
            secret,
        );
        assert.equal(out.stdout, "a [secret] b [secret]\ntoken [secret] end\n", out.stderr);
    });

    it("fails with node, step and what to do, and leaves no work folder", () => {
        const out = withLib(`begin; NODE=n1; STEP=stage; fail "it broke" "mend it"`);
        assert.equal(out.status, 1);
        assert.equal(out.stderr, "k3s-ha: FAILED on node n1, step stage: it broke\n  next: mend it\n");
        assert.equal(execFileSync("find", [out.state, "-name", "run.*"], { encoding: "utf8" }), "");
    });

    it("waits no longer than it is told", () => {
        const started = Date.now();
        const out = withLib(`begin; wait_for 1 false || echo over`);
        assert.equal(out.stdout, "over\n");
        assert.ok(Date.now() - started < 4000);
    });
});

describe("making a resource", () => {
    it("takes no stack traces, and has them back also after a failure", () => {
        const frames = Error.stackTraceLimit;
        assert.ok(frames > 0);
        assert.equal(
            withoutTraces(() => Error.stackTraceLimit),
            0,
        );
        const { prepareStackTrace } = Error;
        const raised = withoutTraces(() => {
            Error.stackTraceLimit = Infinity;
            return new Error("of the SDK").stack;
        });
        assert.equal(raised, "Error: of the SDK");
        assert.throws(
            () =>
                withoutTraces(() => {
                    throw new Error("no");
                }),
            /^Error: no$/,
        );
        assert.deepEqual([Error.stackTraceLimit, Error.prepareStackTrace], [frames, prepareStackTrace]);
    });

    it("sends none of a component that every node has", async () => {
        await pulumi.runtime.setMocks({ newResource: ({ name }) => ({ id: name, state: {} }), call: () => ({}) });
        interface Request {
            getName(): string;
            getStacktrace(): { getFramesList(): unknown[] } | undefined;
        }
        const monitor = pulumi.runtime.getMonitor() as unknown as {
            registerResource(request: Request, done: unknown): void;
        };
        const register = monitor.registerResource.bind(monitor);
        const frames: Record<string, number> = {};
        monitor.registerResource = (request, done) => {
            frames[request.getName()] = request.getStacktrace()?.getFramesList().length ?? 0;
            register(request, done);
        };
        // The SDK leaves out the frames next to the constructor.
        const called = <T>(make: () => T): T => make();
        const made = [
            called(() => new NodeComponent("k3s-ha:a:B", "quiet")),
            called(() => new pulumi.ComponentResource("k3s-ha:a:B", "other")),
        ];
        await Promise.all(made.map((one) => new Promise((resolve) => one.urn.apply(resolve))));
        assert.equal(frames["quiet"], 0);
        assert.notEqual(frames["other"], 0);
    });
});

describe("advice on SSH failures", () => {
    const [node] = spec().nodes.filter((n) => n.name === "master-1");
    for (const [error, says] of [
        ["ssh: this private key is passphrase protected", /k3s-ha:sshPrivateKeyPassword/],
        ["x509: decryption password incorrect", /passphrase of the private key is wrong/],
        ["ssh: no key found", /is not the \.pub file/],
        ["dial unix /tmp/ssh-x/agent.7: connect: connection refused", /the SSH agent does not answer/],
        ["dial unix /tmp/ssh-x/agent.7: connect: no such file or directory", /the SSH agent does not answer/],
        [
            "ssh: handshake failed: ssh: disconnect, reason 2: Too many authentication failures",
            /MaxAuthTries.*ssh\.privateKeyFile/,
        ],
        [
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none], no supported methods remain",
            /no key was offered/,
        ],
        [
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none], no supported methods remain",
            /If there is one, sshd takes none: PubkeyAuthentication/,
        ],
        [
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
            /only root may write to that file.*must not be locked.*AuthenticationMethods/,
        ],
        ["ssh: handshake failed: ssh: overflow reading version string", /is no SSH server\. Is ssh\.port right/],
        ["ssh: handshake failed: ssh: invalid packet length, packet too large", /is no SSH server/],
        [
            "Process exited with status 1: This service allows sftp connections only.",
            /its commands do not: .*sftp connections only\. The user needs a shell/,
        ],
        ["ssh: handshake failed: EOF", /closed before the login.*MaxStartups/],
        [
            "ssh: handshake failed: read tcp 10.0.0.1:5->10.90.0.11:22: read: connection reset by peer",
            /before the login/,
        ],
        [
            "ssh: handshake failed: ssh: no common algorithm for key exchange; client offered: [a], server offered: [b]",
            /KexAlgorithms/,
        ],
        [
            "Process exited with status 1: running \"/bin/sh -c 'sudo -n sh x'\":\nsudo: a password is required",
            /login as root works and its commands do not: sudo: a password is required\..*NOPASSWD/,
        ],
        ["Process exited with status 1: sudo: sorry, you must have a tty to run sudo", /requiretty/],
        ["Process exited with status 1: This account is currently not available.", /currently not available/],
        [
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
            /node master-1: .*root@10\.90\.0\.11:22.*authorized_keys/,
        ],
        ["after 30 failed attempts: dial tcp 10.90.0.11:22: connect: connection refused", /nothing listens there/],
        ["after 30 failed attempts: dial tcp 10.90.0.11:22: i/o timeout", /Is the host up/],
        ["ssh: subsystem request failed", /has no SFTP.*Subsystem sftp internal-sftp/],
        ["error receiving version packet from server: server unexpectedly closed connection", /has no SFTP/],
        ["failed to create remote file .k3s-ha-kit-abc-h-22: permission denied", /home folder/],
        ['failed to copy file kit to remote path x: sftp: "Failure" (SSH_FX_FAILURE)', /is space free \(df -h ~root\)/],
        ["ssh: handshake failed: ssh: host key mismatch", /not the pinned one/],
        [
            "ssh: handshake failed: ssh: no common algorithm for host key; client offered: [ssh-rsa], server offered: [ssh-ed25519]",
            /of a kind that is not offered there/,
        ],
    ] as const) {
        it(`tells what to do about: ${error.slice(0, 60)}`, () => assert.match(sshAdvice(node!, error) ?? "", says));
    }
    const bastion = { host: "jump", port: 2022, user: "j" };
    const behind = { ...node!, ssh: { ...node!.ssh, bastion } };
    /** As the provider tells it of a host behind a bastion, and of the bastion itself. */
    const proxied = (error: string, of = behind): string =>
        sshAdvice(of, `proxy: after 30 failed attempts: ${error}`) ?? "";

    it("tells what the bastion refuses, and what it cannot reach", () => {
        assert.match(
            proxied("ssh: rejected: administratively prohibited (open failed)"),
            /bastion jump does not forward.*AllowTcpForwarding yes for j/,
        );
        assert.match(
            proxied("ssh: rejected: connect failed (Connection refused)"),
            /bastion jump cannot reach 10\.90\.0\.11:22 \(Connection refused\)/,
        );
        // The host's own answer to a session, after the login.
        assert.match(
            sshAdvice(behind, "ssh: rejected: administratively prohibited (open failed)") ?? "",
            /root@10\.90\.0\.11:22 through j@jump:2022 failed: .*MaxSessions/,
        );
    });
    it("of an end of the login behind a bastion names every cause that it hides, and how to look", () => {
        for (const error of [
            "ssh: handshake failed: EOF",
            "ssh: handshake failed: read tcp 10.0.0.1:5->10.0.0.2:22: EOF",
            "ssh: handshake failed: write: broken pipe",
        ]) {
            const text = proxied(error);
            assert.match(text, /\(1\) the host's key is not the pinned one \(ssh\.hostKey\)/);
            assert.ok(text.includes(": ssh -p 2022 j@jump ssh-keyscan -p 22 10.90.0.11 prints"), text);
            assert.ok(text.includes("(2) the host does not accept the key"), text);
            assert.ok(text.includes("ssh -v -J j@jump:2022 -p 22 root@10.90.0.11 true"), text);
            assert.match(text, /\(3\) the host or the bastion closes.*Only for \(3\)/);
        }
        const impatient = { ...behind, ssh: { ...behind.ssh, dialErrorLimit: 0 } };
        assert.match(
            proxied("ssh: handshake failed: ssh: host key mismatch", impatient),
            /failed: ssh: host key mismatch, of the host or of the bastion\. Look/,
        );
    });
    it("tells the bastion's own failures as the bastion's", () => {
        for (const [error, says] of [
            ["dial tcp 10.0.0.1:2022: connect: connection refused", /nothing listens.*ssh\.bastion\.port/],
            ["dial tcp 10.0.0.1:2022: i/o timeout", /no answer/],
            ["dial tcp: lookup jump: no such host", /use an address in ssh\.bastion\.host/],
            ["ssh: handshake failed: ssh: host key mismatch", /not the pinned one \(ssh\.bastion\.hostKey\)/],
            [
                "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
                /Is ssh\.bastion\.user right\? Put the key's public half in ~j\//,
            ],
        ] as const) {
            assert.match(proxied(error), /SSH to the bastion j@jump:2022, on the way to root@10\.90\.0\.11:22, failed/);
            assert.match(proxied(error), says);
        }
    });
    it("says nothing untrue of what only looks like another failure", () => {
        for (const [error, says, not] of [
            ["failed to parse host key: ssh: no key found", /ssh\.hostKey is no public key/, /private key/],
            [
                "dial unix /tmp/agent.7: connect: connection refused",
                /or unset SSH_AUTH_SOCK and set/,
                /nothing listens/,
            ],
            [
                "ssh: unexpected message type 3",
                /ssh: unexpected message type 3\. Try by hand.*ssh -v -p 22 root@/,
                /broke/,
            ],
            ["Process exited with status 1: your password has expired", /chage -l root/, /NOPASSWD/],
        ] as const) {
            const text = sshAdvice(node!, error) ?? "";
            assert.match(text, says);
            assert.doesNotMatch(text, not);
        }
        // sudo says that on hosts whose name is not in /etc/hosts, and works.
        assert.equal(sshAdvice(node!, "Process exited with status 1: sudo: unable to resolve host a: x"), undefined);
    });
    it("sudo's own words are in the bootstrap's message", () => {
        const bootstrap = readFileSync(join(COMPONENTS, "remote/bootstrap.sh"), "utf8");
        const script = `id() { [ "$1" = -u ] && echo 1000 || echo deploy; }; sudo() { echo "sudo: a password is required" >&2; return 1; }\n${bootstrap}`;
        const { status, stderr } = spawnSync("sh", ["-c", script], { input: "x\n", encoding: "utf8" });
        assert.equal(status, 1);
        assert.match(
            stderr,
            /user deploy on \S+ is not root and cannot run 'sudo -n' \(it says: sudo: a password is required\)/,
        );
    });
    it("adds nothing to a script's own error, whatever k3s's log says in it", () => {
        for (const log of [
            "dial tcp 10.90.0.12:2380: connect: connection refused",
            "i/o timeout",
            "no such host",
            "context deadline exceeded",
        ])
            assert.equal(
                sshAdvice(
                    node!,
                    `Process exited with status 1: running "sh server.sh":\nlast log lines of k3s.service:\n  ${log}`,
                ),
                undefined,
            );
        assert.equal(
            sshAdvice(
                node!,
                "Process exited with status 1: running sh … : k3s-ha: FAILED on node master-1, step stage: could not dial",
            ),
            undefined,
        );
    });
});
