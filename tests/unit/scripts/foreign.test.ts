/** foreign.sh: what runs on a host and is not this program's is found before the host is changed. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HOST = join(__dirname, "../../../components/scripts");

interface Result {
    readonly status: number | null;
    readonly out: string;
    readonly err: string;
}

describe("what is not this program's", () => {
    let dir: string;
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "k3s-ha-foreign-"));
        mkdirSync(join(dir, "state"));
        mkdirSync(join(dir, "work"));
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    /** Runs commands with foreign.sh as prepare.sh has it. */
    function run(commands: string): Result {
        const script = `. ${HOST}/lib.sh; STATE=${dir}/state SECRETS=${dir}/secrets WORK=${dir}/work ID_FILE=${dir}/id STEP=prepare NODE=agent-1
: >$WORK/manifest; HAPROXY_CFG=${dir}/haproxy.cfg; . ${HOST}/foreign.sh
${commands}`;
        const { status, stdout, stderr } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
        return { status, out: stdout, err: stderr };
    }

    describe("k3s", () => {
        let child: ChildProcess | undefined;
        afterEach(() => child?.kill("SIGKILL"));

        /** A process whose binary is called `binary`, under the command line `title`. */
        async function start(binary: string, title: string): Promise<number> {
            copyFileSync("/bin/sleep", join(dir, binary));
            child = spawn(join(dir, binary), ["60"], { argv0: title, stdio: "ignore" });
            await new Promise((resolve) => child?.once("spawn", resolve));
            // execve comes after the fork that "spawn" tells of.
            while (!readFileSync(`/proc/${child.pid}/cmdline`, "utf8").startsWith(title))
                await new Promise(setImmediate);
            return child.pid as number;
        }
        /** What is said of that process; other k3s of this machine (a lab's) have other PIDs. */
        const of = (pid: number, unit = "k3s-foo.service"): string =>
            run(`unit_of() { echo ${unit}; }; k3s_processes`)
                .out.split("\n")
                .filter((line) => line.startsWith(`${pid} `))
                .join();

        it("is found by its process, whatever its unit is called", async () => {
            let pid = await start("k3s", "/usr/local/bin/k3s server");
            assert.equal(of(pid), `${pid} k3s-foo.service server`);
            child?.kill("SIGKILL");
            pid = await start("k3s-arm64", "k3s-arm64 --debug agent");
            assert.equal(of(pid), `${pid} k3s-foo.service agent`);
        });

        for (const title of ["k3s kubectl get server", "kubectl agent", "containerd -c server", "/opt/server"])
            it(`is not what has the same binary and another task: ${title}`, async () =>
                assert.equal(of(await start("k3s", title)), ""));

        it("is not another program with its words, nor one that works for it", async () =>
            assert.equal(of(await start("other", "/usr/local/bin/tool server")), ""));

        const check = (found: string, more = ""): Result =>
            run(`k3s_processes() { printf '${found}'; }; k3s_units() { :; }; setting() { printf '%s' "\${adopt-}"; }
has_our_token() { return 1; }; ${more}
check_adoption; echo "goes on"`);

        it("under a name of its own is refused, with its unit", () => {
            const { status, err } = check("7 k3s-node.service agent\\n");
            assert.equal(status, 1);
            assert.match(err, /k3s runs on this host already \(k3s-node\.service\), and this stack did not start it/);
            assert.match(err, /next: .*allow: \[adopt\]/);
        });

        it("that is taken over needs one of k3s's two unit names", () => {
            const { status, err } = check("7 k3s-node.service agent\\n", 'adopt="agent abab"');
            assert.equal(status, 1);
            assert.match(err, /only k3s\.service or k3s-agent\.service can be taken over/);
            assert.match(err, /next: .*systemctl disable --now k3s-node\.service.* to k3s-agent\.service/);
        });

        it("of this program is its own, and a second one beside it is refused", () => {
            const ours = 'echo server >"$STATE/k3s-role"';
            assert.equal(check("7 k3s.service server\\n", ours).out, "goes on\n");
            const { status, err } = check("7 k3s.service server\\n9 k3s-foo.service agent\\n", ours);
            assert.equal(status, 1);
            assert.match(err, /another k3s than this stack's is on this host \(k3s-foo\.service, k3s agent\)/);
        });

        it("of an agent that was taken over keeps its unit's name", () => {
            const ours = 'echo agent >"$STATE/k3s-role"; echo k3s.service >"$STATE/k3s-unit"';
            assert.equal(check("7 k3s.service agent\\n", ours).out, "goes on\n");
        });

        it("that does not run and will at the next boot is found in its unit", () => {
            const units = (text: string, state: string, enabled: string): string => {
                writeFileSync(join(dir, "k3s-node.service"), text);
                return run(
                    `UNIT_FOLDERS=${dir}; systemctl() { case $1 in show) echo ${state} ;; is-enabled) echo ${enabled} ;; esac; }; k3s_units`,
                ).out;
            };
            const text =
                "[Service]\nExecStart=/usr/local/bin/k3s \\\n    agent \\\n        '--server=https://x:6443'\n";
            assert.equal(units(text, "inactive", "enabled"), "0 k3s-node.service agent\n");
            assert.equal(units(text, "activating", "disabled"), "0 k3s-node.service agent\n");
            assert.equal(units(text, "inactive", "disabled"), "");
            assert.equal(
                units("[Service]\nExecStart=/bin/sh -c 'exec k3s --debug server -c x'\n", "active", ""),
                "0 k3s-node.service server\n",
            );
            assert.equal(units("[Service]\nExecStart=/usr/bin/k3s-exporter --of server\n", "active", ""), "");
            assert.equal(
                units("[Service]\nExecStart=/usr/local/bin/k3s etcd-snapshot save server\n", "active", ""),
                "",
            );
        });
    });

    describe("CA hash", () => {
        const openssl = (...args: readonly string[]): void => {
            const { status, stderr } = spawnSync("openssl", args, { cwd: dir, encoding: "utf8" });
            assert.equal(status, 0, stderr);
        };
        /** A CA called `name`, signed by `by`. */
        function ca(name: string, by?: string): Buffer {
            const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
            const subject = ["-subj", `/CN=${name}, with a comma`];
            if (by === undefined) openssl("req", "-x509", ...key, ...subject, "-days", "9", "-out", `${name}.pem`);
            else {
                openssl("req", ...key, ...subject, "-out", `${name}.csr`);
                writeFileSync(
                    join(dir, "ext"),
                    "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
                );
                openssl(
                    "x509",
                    "-req",
                    "-in",
                    `${name}.csr`,
                    "-CA",
                    `${by}.pem`,
                    "-CAkey",
                    `${by}.key`,
                    "-CAcreateserial",
                    "-days",
                    "9",
                    "-extfile",
                    "ext",
                    "-out",
                    `${name}.pem`,
                );
            }
            return readFileSync(join(dir, `${name}.pem`));
        }
        const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
        const hash = (...parts: readonly Buffer[]): string => {
            writeFileSync(join(dir, "server-ca.crt"), Buffer.concat(parts));
            const { out, err } = run(`ca_hash ${dir}/server-ca.crt`);
            assert.equal(err, "");
            return out.trim();
        };

        it("of one certificate is that of the file, of a chain that of its root, as in k3s's tokens", function () {
            this.timeout(20_000);
            const [root, other] = [ca("root"), ca("other")];
            const [between, server] = [ca("between", "root"), ca("server", "between")];
            const ofRoot = sha256(new X509Certificate(root).raw);
            assert.equal(hash(root), sha256(root));
            assert.equal(hash(server, between, root), ofRoot);
            assert.equal(hash(server, other, root, between), ofRoot);
            // Without its root k3s falls back to the file.
            assert.equal(hash(server, between), sha256(Buffer.concat([server, between])));
        });
    });

    describe("haproxy", () => {
        const OWN =
            "global\n  maxconn 10\nfrontend www\n  bind *:80 # all\n  bind :443 ssl\nlisten db 10.0.0.1:3306\nbackend app\n  server a 10.0.0.1:80\n";
        /** What the step says of a host whose haproxy.cfg is `text`. */
        function check(text: string | undefined, more = ""): Result {
            if (text !== undefined) writeFileSync(join(dir, "haproxy.cfg"), text);
            return run(`rpm() { return 1; }; PATH=${dir}/bin:$PATH; setting() { printf '%s' "\${adopt-}"; }
${more}
check_haproxy_owner; echo "goes on"`);
        }

        it("with a configuration of its own is refused, with file, sections and how to keep them", () => {
            const { status, err } = check(OWN);
            assert.equal(status, 1);
            assert.match(
                err,
                /haproxy\.cfg has global, frontend www \(\*:80 :443\), listen db \(10\.0\.0\.1:3306\), backend app\n/,
            );
            assert.match(
                err,
                /next: .*k3s-ha:proxy\.haproxy.* mv \S+haproxy\.cfg \S+haproxy\.cfg\.before-k3s-ha .*pulumi up/,
            );
            assert.equal(readFileSync(join(dir, "haproxy.cfg"), "utf8"), OWN);
        });

        const md5 = createHash("md5").update(OWN).digest("hex");
        // dpkg-query is no name of a function in every shell.
        const conffiles = (sum: string): string =>
            `mkdir -p ${dir}/bin; printf '%s\\n' '#!/bin/sh' "printf ' %s\\\\n' '/etc/haproxy/errors/400.http 00' '$HAPROXY_CFG ${sum}'" >${dir}/bin/dpkg-query; chmod +x ${dir}/bin/dpkg-query`;
        for (const [what, text, more, goesOn] of [
            ["no file", undefined, "", true],
            ["nothing but comments", "# none\n\n", "", true],
            ["the package's file, by dpkg", OWN, () => conffiles(md5), true],
            ["the package's file with a change, by dpkg", OWN, () => conffiles("0".repeat(32)), false],
            ["the package's file, by rpm", OWN, "rpm() { :; }", true],
            [
                "the package's file with another mode, by rpm",
                OWN,
                `rpm() { [ "$1" != -Vf ] || echo ".M.....T.  c $HAPROXY_CFG"; }`,
                true,
            ],
            [
                "the package's file with a change, by rpm",
                OWN,
                `rpm() { [ "$1" != -Vf ] || echo "S.5....T.  c $HAPROXY_CFG"; }`,
                false,
            ],
            ["a file that no package knows, by rpm", OWN, "", false],
            ["one of a cluster that is taken over", OWN, 'adopt="server abab"', true],
            [
                "this program's, on a host that lost its notes",
                `# Managed by k3s-ha: changes made here are lost.\n${OWN}`,
                "",
                true,
            ],
            ["this program has been here", OWN, "mkdir $STATE/haproxy; : >$STATE/haproxy/kept", true],
        ] as const)
            it(`${what}: ${goesOn ? "is nobody's" : "is refused"}`, () => {
                const { status, out } = check(text, typeof more === "string" ? more : more());
                assert.deepEqual([status, out], goesOn ? [0, "goes on\n"] : [1, ""]);
            });

        it("that is started with other files is refused, with those that say something", async () => {
            mkdirSync(join(dir, "conf.d"));
            writeFileSync(join(dir, "conf.d/a.cfg"), "# nothing yet\n");
            writeFileSync(join(dir, "other.cfg"), OWN);
            const start = (...files: string[]): ChildProcess =>
                spawn("sh", ["-c", "sleep 60; :", ...files.flatMap((file) => ["-f", file])], { stdio: "ignore" });
            const process = start(join(dir, "haproxy.cfg"), join(dir, "other.cfg"), join(dir, "conf.d"));
            try {
                await new Promise((resolve) => process.once("spawn", resolve));
                while (!readFileSync(`/proc/${process.pid}/cmdline`, "utf8").includes("conf.d"))
                    await new Promise(setImmediate);
                const runs = `systemctl() { echo ${process.pid}; }`;
                const { status, err } = check(undefined, runs);
                assert.equal(status, 1);
                assert.match(err, /besides or instead of \S+haproxy\.cfg: \S+other\.cfg with global, frontend www/);
                assert.match(err, /next: .*k3s-ha:proxy\.haproxy.*CONFIG and EXTRAOPTS/);
                writeFileSync(join(dir, "other.cfg"), "\n");
                assert.equal(check(undefined, runs).out, "goes on\n");
                writeFileSync(join(dir, "conf.d/b.cfg"), OWN);
                assert.match(check(undefined, runs).err, /conf\.d\/b\.cfg with global/);
                assert.equal(check(undefined, `${runs}; mkdir $STATE/haproxy; : >$STATE/haproxy/kept`).status, 0);
            } finally {
                process.kill("SIGKILL");
            }
            writeFileSync(join(dir, "default"), `CONFIG="${join(dir, "conf.d/b.cfg")}"\n`);
            assert.match(
                check(undefined, `systemctl() { echo 0; }; rm -rf $STATE/haproxy; HAPROXY_DEFAULT=${dir}/default`).err,
                /b\.cfg with global/,
            );
        });

        it("moved aside comes back at the removal", () => {
            writeFileSync(join(dir, "haproxy.cfg.before-k3s-ha"), OWN);
            const { status, err } = run(
                `KIT=${HOST}; . $KIT/haproxy.sh; CFG=${dir}/haproxy.cfg KEPT=${dir}/kept; systemctl() { :; }; haproxy() { :; }; keep_original`,
            );
            assert.equal(status, 0, err);
            assert.equal(readFileSync(join(dir, "kept/original.cfg"), "utf8"), OWN);
        });
    });
});
