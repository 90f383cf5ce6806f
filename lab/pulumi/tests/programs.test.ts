import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { Workspace } from "./workspace";

/** Waits for a file that a command of the program makes. */
async function appears(w: Workspace, file: string): Promise<void> {
    const limit = Date.now() + 120_000;
    while (!readdirSync(w.dir).includes(file)) {
        assert.ok(Date.now() < limit, `${file} did not appear`);
        await new Promise((r) => setTimeout(r, 50));
    }
}

describe("programs", function () {
    this.timeout(300_000);
    let w: Workspace;
    beforeEach(async () => {
        w = new Workspace("");
        await w.ok("stack", "init", "dev");
    });
    afterEach(() => w.remove());

    it("an exception is an error with its stack, and deletes nothing", async () => {
        w.program('const { local } = require("@pulumi/command"); new local.Command("a", { create: "true" });');
        await w.ok("up", "--yes", "--skip-preview");
        w.program('const e = new Error("no such luck"); e.stack = "Error: no such luck\\n    at here"; throw e;');
        const r = await w.run(["preview"]);
        assert.equal(r.code, 1);
        assert.match(
            r.stdout,
            /error: Running program '.*index\.js' failed with an unhandled exception:\n.*Error: no such luck\n +at /,
        );
        assert.ok(!/preview failed/.test(r.stdout));
        w.program(
            'const e = new (require("@pulumi/pulumi").RunError)("no such luck"); e.stack = e.message; throw e;', // see README: Node 20
        );
        const up = await w.run(["up", "--yes", "--skip-preview"]);
        assert.equal(up.code, 1);
        assert.match(up.stdout, /pulumi:pulumi:Stack \(proj-dev\):\n {4}error: no such luck\n/);
        assert.match(w.state(), /Command::a/);
    });

    it("stdout of the program is shown; process.exit is an error", async () => {
        w.program('console.log("hello there"); process.exit(3);');
        const r = await w.run(["preview"]);
        assert.equal(r.code, 1);
        assert.match(r.stdout, /hello there/);
        assert.match(r.all, /Program exited with non-zero exit code: 3/);
    });

    it("a failing command: message once, exit code 1, other work saved, `update failed`", async () => {
        w.program(`
            const { local } = require("@pulumi/command");
            const good = new local.Command("good", { create: "echo fine" });
            new local.Command("bad", { create: "echo why; exit 4" }, { dependsOn: good });
            new local.Command("later", { create: "sleep 5; touch later" }, { dependsOn: new local.Command("x", { create: "sleep 1" }) });
            exports.out = good.stdout;
        `);
        const r = await w.run(["up", "--yes", "--skip-preview"]);
        assert.equal(r.code, 1);
        assert.match(
            r.stdout,
            / {2}command:local:Command \(bad\):\n {4}error: exit status 4: running "echo why; exit 4":\n {4}why\n/,
        );
        assert.match(r.stdout, /pulumi:pulumi:Stack \(proj-dev\):\n {4}error: update failed\n/);
        assert.match(r.stdout, /\*\*creating failed\*\*/);
        assert.match(r.stdout, /1 errored|2 errored/);
        assert.match(w.state(), /Command::good/);
        assert.ok(!/Command::bad/.test(w.state()));
        assert.ok(!readdirSync(w.dir).includes("later"));
    });

    it("hooks of the SDK reach the program and its answer counts", async () => {
        w.program(`
            const pulumi = require("@pulumi/pulumi");
            const { local } = require("@pulumi/command");
            const again = new pulumi.ErrorHook("again", async (args) => {
                console.log("asked about " + args.failedOperation + " " + args.errors.length);
                return args.errors.length < 3;
            });
            const after = new pulumi.ResourceHook("after", async (args) => { console.log("made " + args.name + " " + args.newOutputs.stdout); });
            new local.Command("a", { create: "echo x >> tries; [ $(wc -l < tries) -ge 3 ] && echo done" }, { hooks: { onError: [again], afterCreate: [after] } });
        `);
        const r = await w.ok("up", "--yes", "--skip-preview");
        assert.match(r.stdout, /asked about create 1/);
        assert.match(r.stdout, /asked about create 2/);
        assert.match(r.stdout, /made a done/);
        assert.match(r.stdout, /warning: retrying create due to on-error hook request \(2\/100\)/);
        assert.equal(w.read("tries"), "x\nx\nx\n");
    });

    it("Stash and its hooks through the SDK: known and shown in previews; a failing hook lets the others end", async () => {
        w.program(`
            const pulumi = require("@pulumi/pulumi");
            const { writeFileSync } = require("node:fs");
            const input = require("./input.json");
            const hook = (name, onDryRun, f) => new pulumi.ResourceHook(name, f, { onDryRun });
            const plan = hook("plan", true, (args) => {
                console.log("plan " + args.name + " " + JSON.stringify([args.oldInputs, args.newInputs]));
            });
            const work = hook("work", false, async (args) => {
                if (args.name === "bad") {
                    await new Promise((r) => setTimeout(r, 500));
                    throw new Error("bad luck");
                }
                await new Promise((r) => setTimeout(r, 6000));
                writeFileSync("ended-" + args.name, "");
            });
            const stash = (name, o) => new pulumi.Stash(name, { input }, { hooks: { beforeUpdate: [plan, work] }, ...o });
            const slow = stash("slow");
            if (input !== 1) stash("bad");
            else new pulumi.Stash("bad", { input });
            stash("later", { dependsOn: slow });
            exports.first = slow.output;
        `);
        w.write("input.json", "1");
        assert.match(
            (await w.ok("preview")).stdout,
            /\+ {2}pulumi:index:Stash slow create\s[^]*Outputs:\n {4}first: 1\n/,
        );
        await w.ok("up", "--yes", "--skip-preview");
        w.write("input.json", "2");
        const preview = await w.ok("preview");
        assert.match(preview.stdout, /~ {2}pulumi:index:Stash slow update \[diff: ~input\]/);
        assert.match(preview.stdout, /plan slow \[{"input":1},{"input":2}\]/);
        assert.match(
            (await w.ok("preview", "--diff")).stdout,
            /~ pulumi:index:Stash: \(update\)\n +\[id=.*\]\n +\[urn=.*::slow\]\n +~ input: 1 => 2\n/,
        );
        const r = await w.run(["up", "--yes", "--skip-preview"]);
        assert.equal(r.code, 1);
        assert.match(r.stdout, /pulumi:index:Stash \(bad\):\n {4}error: before hook "work" failed: bad luck\n/);
        assert.match(r.stdout, /\n\n {4}error: update failed\n/);
        assert.ok(!/slow.*failed/.test(r.stdout) && !/monitor/.test(r.stdout), r.stdout);
        assert.deepEqual(
            readdirSync(w.dir).filter((f) => f.startsWith("ended-")),
            ["ended-slow"],
        );
        const inputs = Object.fromEntries(
            JSON.parse(w.state())
                .checkpoint.latest.resources.filter((x: { type: string }) => x.type === "pulumi:index:Stash")
                .map((x: { urn: string; inputs: { input: number }; outputs: { output: number } }) => [
                    x.urn.replace(/.*::/, ""),
                    [x.inputs.input, x.outputs.output],
                ]),
        );
        assert.deepEqual(inputs, { slow: [2, 1], bad: [1, 1], later: [1, 1] });
        assert.equal(JSON.parse((await w.ok("stack", "output", "--json")).stdout).first, 1);
    });

    it("SIGINT ends the program, also within a hook", async () => {
        w.program(`
            const pulumi = require("@pulumi/pulumi");
            const { writeFileSync } = require("node:fs");
            const hook = new pulumi.ResourceHook("hook", async () => {
                writeFileSync("hook-runs", "");
                await new Promise((r) => setTimeout(r, 60000));
            });
            new pulumi.Stash("s", { input: 1 }, { hooks: { beforeCreate: [hook] } });
        `);
        const { child, done } = w.start(["up", "--yes", "--skip-preview"]);
        await appears(w, "hook-runs");
        const began = Date.now();
        child.kill("SIGINT");
        const r = await done;
        assert.equal(r.code, 1);
        assert.ok(Date.now() - began < 20_000, `${Date.now() - began} ms`);
        assert.match(r.stdout, /error: before hook "hook" failed: /);
        assert.ok(!/index:Stash/.test(w.state()));
    });

    it("killed in the middle: the lock is told, cancel removes it, the next run goes on", async () => {
        w.program(
            `
            const { local } = require("@pulumi/command");
            const a = new local.Command("a", { create: "touch a-ran" });
            new local.Command("b", { create: "touch b-runs; sleep ${"${SLOW}"}" }, { dependsOn: a });
        `.replace("${SLOW}", "20"),
        );
        const { child, done } = w.start(["up", "--yes", "--skip-preview"]);
        await appears(w, "b-runs");
        child.kill("SIGKILL");
        await done;
        const locked = await w.run(["up", "--yes", "--skip-preview"]);
        assert.equal(locked.code, 1);
        assert.match(
            locked.stderr,
            /error: the stack is currently locked by 1 lock\(s\)\. Either wait .*`pulumi cancel`\.\n {2}file:\/\/.*created by .*\(pid \d+\) at /,
        );
        await w.ok("cancel", "--yes");
        w.program(w.read("index.js").replace("sleep 20", "true"));
        const r = await w.ok("up", "--yes", "--skip-preview");
        assert.match(r.stdout, /warning: Attempting to deploy or update resources with 1 pending operations/);
        assert.match(r.stdout, /Command::b, interrupted while creating/);
        assert.match(r.stdout, /\+ 1 created\n {4}2 unchanged/);
        assert.match((await w.ok("refresh", "--yes", "--skip-preview", "--clear-pending-creates")).stdout, /unchanged/);
        assert.ok(!/pending operations/.test((await w.ok("up", "--yes", "--skip-preview")).stdout));
    });

    it("SIGINT lets the running command end and starts no other", async () => {
        w.program(`
            const { local } = require("@pulumi/command");
            const a = new local.Command("a", { create: "touch a-runs; sleep 1; touch a-ended" });
            new local.Command("b", { create: "touch b-ran" }, { dependsOn: a });
        `);
        const { child, done } = w.start(["up", "--yes", "--skip-preview"]);
        await appears(w, "a-runs");
        child.kill("SIGINT");
        const r = await done;
        assert.equal(r.code, 1);
        const files = readdirSync(w.dir);
        assert.ok(files.includes("a-ended") && !files.includes("b-ran"));
        assert.match(w.state(), /Command::a/);
        assert.ok(!w.state().includes("pending_operations"));
        assert.deepEqual(readdirSync(path.join(w.dir, "state/.pulumi/locks/organization/proj/dev")), []);
    });

    it("transforms, get() and import are errors, not silence", async () => {
        w.program(
            'const pulumi = require("@pulumi/pulumi"); const { local } = require("@pulumi/command"); new local.Command("a", { create: "true" }, { transforms: [() => undefined] });',
        );
        const r = await w.run(["preview"]);
        assert.equal(r.code, 1);
        assert.match(r.all, /does not support transforms/);
        w.program(
            'const { local } = require("@pulumi/command"); new local.Command("a", { create: "true" }, { import: "x" });',
        );
        assert.match((await w.run(["preview"])).all, /import option is not supported/);
    });

    it("a changed file of an asset shows as an update", async () => {
        w.write("data", "one");
        w.program(
            `const pulumi = require("@pulumi/pulumi"); const { remote } = require("@pulumi/command");
             const o = { connection: { host: "127.0.0.1", port: 1, dialErrorLimit: 0 }, source: new pulumi.asset.FileAsset("data"), remotePath: "/x" };
             new remote.CopyToRemote("c", o);`,
        );
        const digest = async () => JSON.parse((await w.ok("preview", "--json")).stdout);
        const hash = async (): Promise<string> => (await digest()).steps.at(-1).newState.inputs.source.hash;
        const first = await hash();
        w.write("data", "two");
        assert.match(first, /^[0-9a-f]{64}$/);
        assert.notEqual(await hash(), first);
    });

    it("up --json is one engine event per line", async () => {
        w.program('const { local } = require("@pulumi/command"); new local.Command("a", { create: "echo hi" });');
        const r = await w.ok("up", "--yes", "--skip-preview", "--json");
        const events = r.stdout
            .trim()
            .split("\n")
            .map((l) => JSON.parse(l));
        assert.deepEqual(events.find((e) => e.summaryEvent).summaryEvent.resourceChanges, { create: 2 });
        assert.ok(events.some((e) => e.resOutputsEvent?.metadata.new.outputs.stdout === "hi"));
    });
});

describe("TypeScript programs", function () {
    this.timeout(300_000);

    it("runs a TypeScript program through nodeargs, from any folder by --cwd", async () => {
        const w = new Workspace(
            'import * as pulumi from "@pulumi/pulumi";\nexport const n: number = 1;\nexport const s = pulumi.getStack();\n',
            "requiredPulumiVersion: '>=3.200.0 <4'\n",
            true,
        );
        try {
            await w.ok("-C", w.dir, "stack", "init", "dev");
            await w.ok("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never", "-C", w.dir);
            assert.deepEqual(JSON.parse((await w.ok("stack", "output", "--json")).stdout), { n: 1, s: "dev" });
            w.write("Pulumi.yaml", w.read("Pulumi.yaml").replace(">=3.200.0", ">=3.900.0"));
            assert.match((await w.run(["preview"])).stderr, /does not satisfy the version range/);
        } finally {
            w.remove();
        }
    });
});
