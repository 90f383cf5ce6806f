import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createDecipheriv, pbkdf2Sync } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { review } from "../../commands/review/markdown";
import { readPreview } from "../../commands/review/preview";
import { knownHostKey } from "../../components/config/known-hosts";

const ROOT = join(__dirname, "../..");
const FOLDER = join(ROOT, ".github/workflows");
const ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";

interface Step {
    readonly name?: string;
    readonly id?: string;
    readonly if?: string;
    readonly uses?: string;
    readonly run?: string;
    readonly with?: Readonly<Record<string, string | number | boolean>>;
    readonly env?: Readonly<Record<string, string>>;
}
interface Job {
    readonly if?: string;
    readonly permissions?: Readonly<Record<string, string>>;
    readonly environment?: string;
    readonly concurrency?: { readonly group: string; readonly "cancel-in-progress": boolean };
    readonly "timeout-minutes"?: number;
    readonly steps: readonly Step[];
}
interface Workflow {
    readonly on: Readonly<Record<string, unknown>>;
    readonly permissions?: Readonly<Record<string, string>>;
    readonly jobs: Readonly<Record<string, Job>>;
}

/** Folders of this run, removed at its end: one of them holds a key. */
const scratch = mkdtempSync(join(tmpdir(), "k3s-ha-workflows-"));
const folder = (): string => mkdtempSync(join(scratch, "x"));

const files = readdirSync(FOLDER).sort();
const text = (file: string): string => readFileSync(join(FOLDER, file), "utf8");
const workflow = (file: string): Workflow => parse(text(file)) as Workflow;
const jobsOf = (file: string): [name: string, job: Job][] => Object.entries(workflow(file).jobs);
const stepsOf = (file: string): Step[] => jobsOf(file).flatMap(([, job]) => [...job.steps]);

function pulumiStep(file: string): { job: Job; step: Step } {
    const found = jobsOf(file).flatMap(([, job]) =>
        job.steps.filter((step) => step.uses?.startsWith("pulumi/actions@")).map((step) => ({ job, step })),
    );
    assert.equal(found.length, 1, `${file} runs pulumi/actions once`);
    return found[0]!;
}

/** Runs a step's script as GitHub does, in `cwd`; returns what it wrote to GITHUB_OUTPUT and GITHUB_ENV. */
function runStep(file: string, name: string, cwd: string, env: Record<string, string> = {}): Record<string, string> {
    const script = stepsOf(file).find((s) => s.name === name)?.run;
    assert.ok(script, `${file} has a step "${name}"`);
    const written = join(folder(), "written");
    writeFileSync(written, "");
    execFileSync("bash", ["-e", "-c", script], {
        cwd,
        env: { PATH: process.env["PATH"], RUNNER_TEMP: cwd, GITHUB_OUTPUT: written, GITHUB_ENV: written, ...env },
        stdio: "pipe",
        encoding: "utf8",
    });
    const lines = readFileSync(written, "utf8").split("\n").filter(Boolean);
    return Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf("=")), l.slice(l.indexOf("=") + 1)]));
}

function project(...stackFiles: string[]): string {
    const made = folder();
    for (const name of ["Pulumi.yaml", ...stackFiles]) writeFileSync(join(made, name), "");
    return made;
}

describe("workflows", () => {
    after(() => rmSync(scratch, { recursive: true }));

    describe("actionlint", function () {
        // The first run on a machine compiles it.
        this.timeout(300_000);
        const actionlint = (input?: string): { status: number | null; output: string } => {
            const args = ["run", ACTIONLINT, "-no-color", "-shellcheck", "shellcheck"];
            const run = spawnSync("go", input === undefined ? args : [...args, "-"], {
                cwd: ROOT,
                input,
                encoding: "utf8",
            });
            if (run.error) throw run.error;
            return { status: run.status, output: run.stdout + run.stderr };
        };

        it("has shellcheck at hand, without which it passes scripts over", () => {
            const bad = "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: 'echo $HOME/$(ls)'}]}}\n";
            const { status, output } = actionlint(bad);
            assert.notEqual(status, 0);
            assert.match(output, /shellcheck reported issue.*SC2046/);
        });

        it("finds nothing", () => {
            const { status, output } = actionlint();
            assert.equal(status, 0, output);
        });
    });

    it("pin every action by its commit and name the version", () => {
        for (const file of files) {
            const lines = text(file)
                .split("\n")
                .filter((line) => /\buses:/.test(line));
            assert.ok(lines.length > 0, file);
            for (const line of lines)
                assert.match(line, /uses: [\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, `${file}: ${line.trim()}`);
        }
    });

    it("use one commit per action everywhere", () => {
        const pins = new Map<string, string>();
        for (const { uses } of files.flatMap(stepsOf)) {
            if (uses === undefined) continue;
            const [action, commit] = uses.split("@") as [string, string];
            assert.equal(pins.get(action) ?? commit, commit, action);
            pins.set(action, commit);
        }
    });

    it("have a time limit on every job and leave no token behind after a checkout", () => {
        for (const file of files) {
            for (const [name, job] of jobsOf(file)) assert.ok(job["timeout-minutes"], `${file}: ${name}`);
            for (const step of stepsOf(file).filter((s) => s.uses?.startsWith("actions/checkout@")))
                assert.equal(step.with?.["persist-credentials"], false, file);
        }
    });

    it("never put an expression into a script", () => {
        for (const file of files)
            for (const step of stepsOf(file)) assert.doesNotMatch(step.run ?? "", /\$\{\{/, `${file}: ${step.name}`);
    });

    it("have the least permissions", () => {
        for (const file of files) {
            assert.deepEqual(workflow(file).permissions, { contents: "read" }, file);
            for (const [name, { permissions }] of jobsOf(file)) {
                const comments = file === "preview.yaml" && name === "preview";
                assert.deepEqual(
                    permissions,
                    comments ? { contents: "read", "pull-requests": "write" } : undefined,
                    `${file}: ${name}`,
                );
            }
        }
    });

    it("give secrets to nothing that a fork's pull request can start", () => {
        for (const file of files) {
            assert.ok(!("pull_request_target" in workflow(file).on), file);
            assert.ok(!("workflow_run" in workflow(file).on), file);
        }
        assert.doesNotMatch(text("ci.yaml"), /secrets[.[]/);
        assert.deepEqual(Object.keys(workflow("preview.yaml").on), ["pull_request"]);
        for (const [name, job] of jobsOf("preview.yaml"))
            assert.equal(job.if, "github.event.pull_request.head.repo.full_name == github.repository", name);
        assert.deepEqual(workflow("up.yaml").on["push"], {
            branches: ["main"],
            "paths-ignore": ["**.md", "docs/**", "lab/**", "tests/**"],
        });
        assert.deepEqual(Object.keys(workflow("up.yaml").on), ["push"]);
    });

    it("run pulumi last in its job, with the version of the program's SDK", () => {
        const sdk = (
            parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { dependencies: Record<string, string> }
        ).dependencies["@pulumi/pulumi"];
        for (const file of ["preview.yaml", "up.yaml"]) {
            const { job, step } = pulumiStep(file);
            // With a command the action puts all outputs of the stack, the secret ones too, into its step outputs.
            if (step.with?.["command"] !== undefined) assert.equal(job.steps.at(-1), step, file);
            assert.equal(step.id, undefined, `${file}: nothing refers to its outputs`);
            assert.equal(step.with?.["pulumi-version"], sdk, file);
            assert.ok(!("refresh" in (step.with ?? {})), file);
        }
        const project = parse(readFileSync(join(ROOT, "Pulumi.yaml"), "utf8")) as { requiredPulumiVersion: string };
        assert.equal(project.requiredPulumiVersion, `>=${sdk}`);
    });

    it("CI is `make check` and `make test`, the latter with 90 minutes", () => {
        const runs = jobsOf("ci.yaml").map(([, job]) => [job.steps.at(-1)?.run, job["timeout-minutes"]]);
        assert.deepEqual(runs, [
            ["make check", 20],
            ["make test", 90],
        ]);
    });

    it("official k3s: the tests of CI with the official parts, on a schedule and on demand, in the same kind of container", () => {
        assert.deepEqual(Object.keys(workflow("official.yaml").on), ["schedule", "workflow_dispatch"]);
        const [[, job]] = jobsOf("official.yaml") as [[string, Job]];
        assert.equal(job.steps.at(-1)?.run, "make test OFFICIAL=1");
        assert.doesNotMatch(text("official.yaml"), /secrets[.[]/);
        const pinned = (file: string): string[] =>
            jobsOf(file)
                .at(-1)![1]
                .steps.flatMap(({ uses }) => (uses === undefined ? [] : [uses]));
        assert.deepEqual(pinned("official.yaml"), pinned("ci.yaml"));
    });

    it("preview: the action only installs pulumi; the review has the credentials, the comment has the token, and no SSH", () => {
        const { job, step } = pulumiStep("preview.yaml");
        assert.deepEqual(Object.keys(step.with ?? {}), ["pulumi-version"]);
        const env = (name: string): string[] => Object.keys(job.steps.find((s) => s.name === name)?.env ?? {});
        assert.deepEqual(env("Review"), [
            "STACK",
            "PULUMI_BACKEND_URL",
            "PULUMI_ACCESS_TOKEN",
            "PULUMI_CONFIG_PASSPHRASE",
        ]);
        assert.deepEqual(env("Comment"), ["GH_TOKEN", "COMMENTS", "COMMENT"]);
        assert.deepEqual(
            [...text("preview.yaml").matchAll(/secrets\.(\w+)/g)].map((m) => m[1]),
            ["PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE"],
        );
        assert.equal([...text("preview.yaml").matchAll(/github\.token/g)].length, 1);
        assert.doesNotMatch(text("preview.yaml"), /SSH_AUTH_SOCK|ssh-add/);
    });

    /** A folder with programs of these names and scripts, which is the PATH's first. */
    function programs(scripts: Readonly<Record<string, string>>): { cwd: string; PATH: string } {
        const cwd = folder();
        for (const [name, script] of Object.entries(scripts))
            writeFileSync(join(cwd, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
        return { cwd, PATH: `${cwd}:${process.env["PATH"]}` };
    }

    it("preview: a failed review goes on to the comment, and fails the job after it", () => {
        const { cwd, PATH } = programs({
            npm: 'echo "<!-- $* -->"; exit 3',
            pulumi: 'echo "$*" >>pulumi.log',
        });
        const review = (STACK: string): Record<string, string> =>
            runStep("preview.yaml", "Review", cwd, { PATH, STACK, PULUMI_BACKEND_URL: "" });
        assert.deepEqual(review("prod"), { REVIEW_CODE: "3" });
        assert.equal(readFileSync(join(cwd, "review.md"), "utf8"), "<!-- run --silent review -- --stack prod -->\n");
        assert.ok(!readdirSync(cwd).includes("pulumi.log"));
        review("dev");
        assert.equal(readFileSync(join(cwd, "pulumi.log"), "utf8"), "stack select --create dev\n");
        assert.throws(() => runStep("preview.yaml", "Result", cwd, { REVIEW_CODE: "3" }), { status: 3 });
        const steps = pulumiStep("preview.yaml").job.steps.map(({ name }) => name);
        assert.deepEqual(steps.slice(-3), ["Review", "Comment", "Result"]);
    });

    it("preview: one comment per stack, which the next push edits", () => {
        // Answers the list with the fields of the given comments, and notes all other calls.
        const gh = `case "$*" in
*"--paginate all --jq"*) cat list ;;
*) echo "$*" >>gh.log ;;
esac`;
        const { cwd, PATH } = programs({ gh });
        const marker = (stack: string): string => review(readPreview({}), stack).split("\n")[0] as string;
        const call = (comments: readonly { id: number; user: { login: string }; body: string }[]): string => {
            const fields = comments.map(({ id, user, body }) => `${id}\t${user.login}\t${body.split("\n")[0]}\n`);
            writeFileSync(join(cwd, "list"), fields.join(""));
            writeFileSync(join(cwd, "review.md"), review(readPreview({}), "prod"));
            rmSync(join(cwd, "gh.log"), { force: true });
            runStep("preview.yaml", "Comment", cwd, { PATH, GH_TOKEN: "x", COMMENTS: "all", COMMENT: "one" });
            return readFileSync(join(cwd, "gh.log"), "utf8").trim();
        };
        const bot = { login: "github-actions[bot]" };
        const others = [
            { id: 1, user: bot, body: `${marker("prod-2")}\nx` },
            { id: 2, user: { login: "somebody" }, body: `${marker("prod")}\nx` },
            { id: 3, user: bot, body: `x\n${marker("prod")}` },
        ];
        const body = `--field body=@${join(cwd, "review.md")}`;
        assert.equal(call(others), `api --silent --method POST all ${body}`);
        const mine = { id: 4, user: bot, body: `${marker("prod")}\nold` };
        assert.equal(call([...others, mine]), `api --silent --method PATCH one/4 ${body}`);
        writeFileSync(join(cwd, "review.md"), "panic");
        assert.throws(() => runStep("preview.yaml", "Comment", cwd, { PATH, COMMENTS: "all", COMMENT: "one" }));
    });

    it("preview: finds every stack file", () => {
        const names = runStep("preview.yaml", "Stack files", project("Pulumi.dev.yaml", "Pulumi.de1.prod.yaml"))[
            "names"
        ];
        assert.deepEqual(JSON.parse(names!), ["de1.prod", "dev"]);
    });

    it("preview: the lab's stack gets a host key for each of its nodes", () => {
        const cwd = project();
        cpSync(join(ROOT, "Pulumi.dev.yaml"), join(cwd, "Pulumi.dev.yaml"));
        runStep("preview.yaml", "Host keys for the lab's stack", cwd);
        const stack = parse(readFileSync(join(cwd, "Pulumi.dev.yaml"), "utf8")) as {
            config: { "k3s-ha:nodes": { address: string }[]; "k3s-ha:ssh": { knownHosts: string } };
        };
        const known = readFileSync(join(cwd, stack.config["k3s-ha:ssh"].knownHosts), "utf8");
        assert.ok(stack.config["k3s-ha:nodes"].length > 0);
        for (const { address } of stack.config["k3s-ha:nodes"])
            assert.match(knownHostKey(known, address, 22) ?? "", /^ssh-ed25519 \S+$/, address);
    });

    it("preview: the lab's stack has the passphrase that its stack file was made with", () => {
        const step = pulumiStep("preview.yaml").job.steps.find(({ name }) => name === "Review");
        const passphrase = /matrix\.stack == 'dev' && '([^']+)'/.exec(
            step?.env?.["PULUMI_CONFIG_PASSPHRASE"] ?? "",
        )?.[1];
        const { encryptionsalt } = parse(readFileSync(join(ROOT, "Pulumi.dev.yaml"), "utf8")) as {
            encryptionsalt: string;
        };
        // v1:<salt>:<the word "pulumi", encrypted by the passphrase's key>, as pulumi's passphrase provider writes it.
        const [, salt, , nonce, text] = encryptionsalt.split(":").map((part) => Buffer.from(part, "base64"));
        const key = pbkdf2Sync(passphrase ?? "", salt as Buffer, 1_000_000, 32, "sha256");
        const sealed = text as Buffer;
        const cipher = createDecipheriv("aes-256-gcm", key, nonce as Buffer);
        cipher.setAuthTag(sealed.subarray(-16));
        const word = cipher.update(sealed.subarray(0, -16)).toString() + cipher.final().toString();
        assert.equal(word, "pulumi");
    });

    it("up: behind the stack's environment, one at a time, never cut off", () => {
        const { job, step } = pulumiStep("up.yaml");
        assert.equal(job.environment, "${{ matrix.stack }}");
        assert.deepEqual(job.concurrency, { group: "up-${{ matrix.stack }}", "cancel-in-progress": false });
        assert.equal(workflow("up.yaml")["concurrency" as keyof Workflow], undefined);
        assert.equal(step.with?.["command"], "up");
        assert.equal(step.with?.["stack-name"], "${{ matrix.stack }}");
    });

    it("up: finds every stack file but the lab's", () => {
        const find = (...names: string[]): unknown =>
            JSON.parse(runStep("up.yaml", "Stack files, without the lab's", project(...names))["names"]!);
        assert.deepEqual(find("Pulumi.dev.yaml", "Pulumi.de1.prod.yaml"), ["de1.prod"]);
        assert.deepEqual(find("Pulumi.dev.yaml"), []);
    });

    it("up: the SSH key goes into an agent and into no file; without one there is no up", () => {
        const file = join(folder(), "key");
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", file]);
        const key = readFileSync(file, "utf8").trim();
        const cwd = project();
        const before = readdirSync(cwd);
        const agent = runStep("up.yaml", "SSH agent", cwd, { SSH_PRIVATE_KEY: key, ENVIRONMENT: "prod" });
        try {
            const env = { ...process.env, ...agent };
            assert.match(execFileSync("ssh-add", ["-l"], { env, encoding: "utf8" }), /^256 SHA256:\S+ .*ED25519/);
            assert.deepEqual(readdirSync(cwd), before);
        } finally {
            process.kill(Number(agent["SSH_AGENT_PID"]));
        }
        assert.throws(() => runStep("up.yaml", "SSH agent", cwd, { SSH_PRIVATE_KEY: "", ENVIRONMENT: "prod" }), {
            status: 1,
            stdout: /Environment prod has no secret SSH_PRIVATE_KEY/,
        });
    });
});
