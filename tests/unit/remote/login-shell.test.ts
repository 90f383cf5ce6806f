/** Whatever login shell a user has, and whatever its start files and /etc/environment do, a step is run as it is meant. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAccess } from "../../../components/model/kubeconfig";
import { etcdData } from "../../../components/steps/prepare";
import { bootstrapCommand, kit, uploadPath } from "../../../components/remote/kit";
import { START_FILES, inMarkedShell, inShell, markedOutput, shellWord } from "../../../components/remote/login-shell";
import type { NodeSpec } from "../../../components/model/cluster";
import { kitFolder } from "../helpers/kit-folder";
import { spec } from "../helpers/settings";

/** Login shells, with the start file that each reads for a command. csh is the BSD one, which is not tcsh (Debian's package csh). */
const SHELLS = {
    sh: undefined,
    bash: ".bashrc",
    zsh: ".zshenv",
    fish: ".config/fish/config.fish",
    tcsh: ".tcshrc",
    "bsd-csh": ".cshrc",
} as const;
/** What people have in such files. */
const NOISE =
    "echo 'Welcome to etcd-data: of the farm'\necho 'a warning' >&2\nprintf 'no end of line'\nalias sudo='false'\nalias sh='false'\n";
const CSH_NOISE =
    "echo 'Welcome to etcd-data: of the farm'\nsh -c 'echo a warning >&2'\nprintf 'no end of line'\nalias sudo false\nalias sh false\n";
const noise = (shell: string): string => (shell.endsWith("csh") ? CSH_NOISE : NOISE);

describe("login shells", () => {
    let home: string;
    beforeEach(() => (home = mkdtempSync(join(tmpdir(), "k3s-ha-home-"))));
    afterEach(() => rmSync(home, { recursive: true }));

    function start(shell: keyof typeof SHELLS, text: string): void {
        const file = SHELLS[shell];
        if (file === undefined) return;
        mkdirSync(join(home, ".config/fish"), { recursive: true });
        writeFileSync(join(home, file), text);
    }
    /** Runs a command line as sshd does. */
    function login(
        shell: string,
        line: string,
        input = "",
        path = "",
    ): { status: number | null; out: string; err: string } {
        const env = {
            HOME: home,
            PATH: `${path}${process.env["PATH"]}`,
            BASH_ENV: join(home, ".bashrc"),
            SSH_CLIENT: "::1 1 1",
        };
        const { status, stdout, stderr, error } = spawnSync(shell, ["-c", line], {
            cwd: home,
            env,
            input,
            encoding: "utf8",
        });
        assert.equal(error, undefined, `${shell} is needed (lab/lab setup installs it)`);
        return { status, out: stdout, err: stderr };
    }

    for (const shell of Object.keys(SHELLS) as (keyof typeof SHELLS)[])
        describe(shell, () => {
            it("takes a script as it is", () => {
                const text = "a \\ ! !! $HOME `id` \"b\" it's \\' \\\\ \\n ~ * ? {1,2} # % ^ (x) ; & | < > @ = é 中\\";
                assert.equal(login(shell, `printf '%s' ${shellWord(text)}`).out, text);
                assert.throws(() => shellWord("a\nb"), /one line/);
                assert.equal(
                    login(shell, inShell('set -- \'a  b\' "c\\\\d"; echo "$#:$1:$2"; exit 3 # $(no)')).out,
                    "2:a  b:c\\d\n",
                );
                assert.equal(login(shell, inShell("exit 3")).status, 3);
                // Several lines, and more of them than a word of csh's may have.
                const long = "'!\\\\é中".repeat(400);
                assert.equal(
                    login(
                        shell,
                        inShell(`cat <<'E'\n${text}\n\n${long}\nE\nread -r a # a comment\necho "$a" $#\n`),
                        "of stdin\n",
                    ).out,
                    `${text}\n\n${long}\nof stdin 0\n`,
                );
                assert.equal(login(shell, inShell("false\nexit 3 # it's")).status, 3);
                assert.equal(login(shell, inShell(`exit 3 # ${"x".repeat(2000)}`)).status, 3);
            });

            it("of a sudo user runs the bootstrap, whatever its start files print", () => {
                start(shell, noise(shell));
                mkdirSync(join(home, "bin"));
                for (const [name, text] of [
                    ["id", "echo 1000"],
                    ["sudo", '[ "$1" = -n ] || exit 9; shift; echo "sudo $1" >&2; exec "$@"'],
                ] as const) {
                    writeFileSync(join(home, "bin", name), `#!/bin/sh\n${text}\n`);
                    chmodSync(join(home, "bin", name), 0o755);
                }
                const [node] = spec().nodes as [NodeSpec];
                writeFileSync(join(home, uploadPath(node)), kit().packed);
                mkdirSync(join(home, "run"));
                const here = bootstrapCommand(node)
                    .replaceAll("/usr/local/lib/k3s-ha", join(home, "kit"))
                    .replaceAll("run=/run", `run=${join(home, "run")}`)
                    .replace(/^exec .*$/m, "exec $as cat");
                const { status, out, err } = login(shell, inShell(here), "node: a\n", `${home}/bin:`);
                assert.equal(status, 0, err);
                assert.match(out, /node: a\n$/);
                assert.match(err, /sudo cat\n$/);
            });

            it("is asked between two marks, and what start files print is cut off", () => {
                start(shell, noise(shell));
                const { status, out } = login(shell, inMarkedShell("cat; printf 'x y'; exit 2"), "up a\n");
                assert.equal(status, 2);
                assert.equal(markedOutput(out), "up a\nx y");
            });

            if (shell !== "sh")
                it("that ends before the command, and ends well, is told from an answer", () => {
                    start(shell, "exec true\n");
                    const { status, out } = login(shell, inMarkedShell("echo answer"));
                    assert.deepEqual([status, markedOutput(out)], [0, undefined]);
                });
        });

    it("outputs that the program reads are found in spite of noise", () => {
        const [node] = spec().nodes;
        assert.equal(etcdData(node!, "Welcomeetcd-data: none\nprepare: 1 files changed\nbye", "urn"), "none");
        assert.throws(
            () => etcdData(node!, "Welcome\n", "urn:x"),
            (error: Error) =>
                error.message.includes(START_FILES) && error.message.endsWith("pulumi up --replace 'urn:x'"),
        );
        const yaml = "apiVersion: v1\nclusters: []\n";
        const hash = "ab".repeat(32);
        assert.deepEqual(parseAccess(`Welcome\nx\nca-hash: ${hash}\n${yaml}\nend-of-kubeconfig\nbye: [\n`), {
            caHash: hash,
            k3sYaml: yaml,
        });
        // The provider drops the last end of line.
        assert.deepEqual(parseAccess(`\nca-hash: ${hash}\n${yaml}\nend-of-kubeconfig`), {
            caHash: hash,
            k3sYaml: yaml,
        });
        // As older versions of this program left it in the state.
        assert.deepEqual(parseAccess(`ca-hash: ${hash}\n${yaml}`), { caHash: hash, k3sYaml: yaml });
        assert.throws(() => parseAccess("Welcome\n"), /printed something else/);
    });
});

describe("the environment of a step", () => {
    /** Runs commands with lib.sh under a shell and variables. */
    async function run(commands: string, env: Readonly<Record<string, string>>, shell = ["sh"]): Promise<string> {
        const state = mkdtempSync(join(tmpdir(), "k3s-ha-env-"));
        const child = spawn(
            shell[0]!,
            [...shell.slice(1), "-c", `. ${kitFolder()}/lib.sh; WORK=${state}\n${commands}`],
            {
                env: { PATH: process.env["PATH"], STATE: state, HOME: state, ...env },
                stdio: ["ignore", "pipe", "pipe"],
            },
        );
        let text = "";
        for (const stream of [child.stdout, child.stderr])
            stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        await new Promise((resolve) => child.on("close", resolve));
        rmSync(state, { recursive: true });
        return text;
    }

    it("is the step's own: no variable that k3s or another command reads, no option of the shell, no function", async () => {
        const env = {
            K3S_URL: "https://x",
            K3S_TOKEN: "t",
            CURL_HOME: "/x",
            GREP_OPTIONS: "-v",
            SYSTEMD_COLORS: "1",
            MULTI: "a\nSTATE=/x\n",
            CDPATH: "/",
        };
        const left = 'env | cut -d = -f 1 | sort | tr "\\n" " "';
        for (const shell of [["sh"], ["bash", "--posix"]])
            assert.equal(
                (await run(left, env, shell)).replace(/\b(PWD|SHLVL|_|OLDPWD) /g, ""),
                "HOME LC_ALL PATH STATE ",
            );
        const text = await run(
            "echo /et[c]; cat </dev/null >$WORK/a; : >$WORK/a; cut -c1 </dev/null && echo over",
            {
                SHELLOPTS: "noglob:noclobber:xtrace",
                "BASH_FUNC_cut%%": "() { echo theirs; return 1; }",
            },
            ["bash", "--posix"],
        );
        assert.match(text, /^\/etc$/m);
        assert.match(text, /over\n$/);
        assert.doesNotMatch(text, /theirs|cannot overwrite/);
    });

    describe("with a proxy", () => {
        let proxy: Server;
        let own: Server;
        const asked: string[] = [];
        const listen = (name: string): Promise<Server> =>
            new Promise((resolve) => {
                const server = createServer((request, response) => {
                    asked.push(`${name} ${request.url}`);
                    response.end("ok");
                }).listen(0, "127.0.0.1", () => resolve(server));
            });
        const port = (server: Server): number => (server.address() as AddressInfo).port;
        beforeEach(async () => {
            asked.length = 0;
            [proxy, own] = [await listen("proxy"), await listen("own")];
        });
        afterEach(() => [proxy, own].forEach((server) => server.close()));

        for (const name of ["http_proxy", "all_proxy", "ALL_PROXY"])
            it(`${name}: questions go straight, downloads by the proxy`, async () => {
                const url = `http://127.0.0.1:${port(own)}`;
                const text = await run(
                    `ROLE=server; . $KIT/k3s-lib.sh; printf pw >$WORK/pw; supervisor_ca=/dev/null; supervisor server $WORK/pw ${url}/question; echo
fetch ${url}/download $WORK/file 10; cat $WORK/file`,
                    { [name]: `http://127.0.0.1:${port(proxy)}`, KIT: kitFolder() },
                );
                assert.equal(text, "ok\nok");
                assert.deepEqual(asked, ["own /question", `proxy ${url}/download`]);
            });
    });

    it("of the drill's questions has no proxy either", () => {
        const script = readFileSync(join(__dirname, "../../../commands/drill/on-host.sh"), "utf8");
        const { stdout } = spawnSync("sh", ["-s", "--", "nothing"], {
            input: script.replace("case $1 in", "env; case $1 in"),
            env: { PATH: process.env["PATH"], https_proxy: "http://x", ALL_PROXY: "http://x" },
            encoding: "utf8",
        });
        assert.match(stdout, /^LC_ALL=C$/m);
        assert.doesNotMatch(stdout, /proxy/i);
    });
});
