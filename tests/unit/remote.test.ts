import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { renderBundle } from "../../components/remote/bundle";
import { withoutComments } from "../../components/remote/comments";
import { kit } from "../../components/remote/kit";
import { sshAdvice } from "../../components/remote/failure-advice";
import { withoutTraces } from "../../components/remote/traces";
import { spec } from "./settings";

const COMPONENTS = join(__dirname, "../../components");
const LIB = join(COMPONENTS, "host/lib.sh");

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

    it("reaches the node's script as it was, whatever the text", () => {
        const content = `${nasty}\n\n    indented\nfile: /etc/passwd 0644\nnode: other\n`;
        const text = renderBundle({
            settings: { node: "a", value: nasty },
            files: [{ path: "/etc/x", mode: "0600", content }],
        });
        const out = withLib(
            `begin; unpack; echo "$NODE"; setting value; cat "$(content /etc/x)"; cat "$WORK/manifest"`,
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
    it("holds every script, packed the same each time", () => {
        const text = gunzipSync(Buffer.from(kit().packed, "base64")).toString("utf8");
        for (const name of [
            "lib.sh",
            "prepare.sh",
            "haproxy.sh",
            "apply.sh",
            "packages.sh",
            "stage.sh",
            "server.sh",
            "agent.sh",
            "kubeconfig.sh",
        ]) {
            assert.match(text, new RegExp(`^file: /${name} 0755$`, "m"));
            assert.match(kit().digest(name), /^[0-9a-f]{12}$/);
        }
        assert.ok(!kit().packed.includes("\n"));
        assert.throws(() => kit().digest("nothing.sh"), /no node script/);
    });

    it("leaves out comments and nothing else", () => {
        const script = "#!/bin/sh\n# a\n  # b\ncat <<'END' # c\n# kept\nEND\necho \"#d\" # e\n";
        assert.equal(withoutComments(script), "#!/bin/sh\ncat <<'END' # c\n# kept\nEND\necho \"#d\" # e\n");
        // How bash has understood a script, blank lines and the one comment of an awk program aside.
        const parsed = (text: string): string =>
            execFileSync("bash", ["--posix", "--pretty-print"], { input: text, encoding: "utf8" }).replace(
                /^\s*(# Operational state and health 0: .*)?\n/gm,
                "",
            );
        for (const folder of ["host", "haproxy", "proxy", "k3s", "access"]) {
            for (const name of readdirSync(join(COMPONENTS, folder)).filter((n) => n.endsWith(".sh"))) {
                const text = readFileSync(join(COMPONENTS, folder, name), "utf8");
                assert.equal(parsed(withoutComments(text)), parsed(text), name);
            }
        }
    });

    it("unpacks on a node to the scripts of the project", () => {
        const folder = mkdtempSync(join(tmpdir(), "k3s-ha-kit-"));
        const bootstrap = readFileSync(join(__dirname, "../../components/host/bootstrap.sh"), "utf8");
        const here = bootstrap.replaceAll("/usr/local/lib/k3s-ha", join(folder, "kit")).replace(/^exec .*$/m, "cat");
        const out = execFileSync("sh", ["-c", here], { input: `${kit().packed}\nnode: a\n`, encoding: "utf8" });
        assert.equal(out, "node: a\n", "the rest of stdin goes to prepare.sh");
        const scripts = ["host", "haproxy", "proxy", "k3s", "access"].flatMap((part) =>
            readdirSync(join(COMPONENTS, part))
                .filter((name) => name.endsWith(".sh") && name !== "bootstrap.sh")
                .map((name) => join(part, name)),
        );
        assert.deepEqual(readdirSync(join(folder, "kit")).sort(), scripts.map((script) => basename(script)).sort());
        for (const script of scripts)
            assert.equal(
                readFileSync(join(folder, "kit", basename(script)), "utf8"),
                withoutComments(readFileSync(join(COMPONENTS, script), "utf8")),
                script,
            );
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
        assert.throws(() =>
            withoutTraces(() => {
                throw new Error("no");
            }),
        );
        assert.equal(Error.stackTraceLimit, frames);
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
        ["ssh: handshake failed: EOF", /closed the connection before the login.*MaxStartups/],
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
        ["ssh: handshake failed: ssh: host key mismatch", /not the pinned one/],
        [
            "ssh: handshake failed: ssh: no common algorithm for host key; client offered: [ssh-rsa], server offered: [ssh-ed25519]",
            /of a kind that the host does not offer/,
        ],
    ] as const) {
        it(`tells what to do about: ${error.slice(0, 60)}`, () => assert.match(sshAdvice(node!, error) ?? "", says));
    }
    it("tells what the bastion refuses, and what it cannot reach", () => {
        const behind = { ...node!, ssh: { ...node!.ssh, bastion: { host: "jump", port: 22, user: "j" } } };
        assert.match(
            sshAdvice(behind, "ssh: rejected: administratively prohibited (open failed)") ?? "",
            /bastion jump does not forward.*AllowTcpForwarding yes for j/,
        );
        assert.match(
            sshAdvice(behind, "ssh: rejected: connect failed (Connection refused)") ?? "",
            /bastion jump cannot reach 10\.90\.0\.11:22 \(Connection refused\)/,
        );
    });
    it("sudo's own words are in the bootstrap's message", () => {
        const bootstrap = readFileSync(join(COMPONENTS, "host/bootstrap.sh"), "utf8");
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
