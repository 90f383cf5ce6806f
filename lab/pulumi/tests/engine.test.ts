import assert from "node:assert/strict";
import { Harness, outputs, type RunResult } from "./engine-harness";
import { Computed, Secret } from "../src/values";
import type { Untyped } from "../src/untyped";

const find = (r: RunResult, name: string) => r.resources.find((x) => x.urn.endsWith(`::${name}`));

describe("engine", () => {
    let h: Harness;
    beforeEach(() => (h = new Harness()));
    afterEach(() => h.remove());

    it("creates in order of dependency and leaves a second run nothing to do", async () => {
        const program = async (r: Untyped) => {
            const a = await r.command("a", h.log);
            await r.command("b", h.log, {}, { dependencies: [a.state.urn] });
        };
        const first = await h.run(program);
        assert.deepEqual(first.changes, { create: 3 });
        assert.deepEqual(h.logged(), ["create a", "create b"]);
        const second = await h.run(program);
        assert.deepEqual(second.changes, { same: 3 });
        assert.deepEqual(h.logged(), []);
        assert.deepEqual(
            second.resources.map((x) => x.id),
            first.resources.map((x) => x.id),
        );
    });

    it("runs independent resources side by side, within --parallel", async () => {
        const slow = (log: string, name: string) => ({
            create: `echo start ${name} >> ${log}; sleep 0.4; echo end ${name} >> ${log}`,
        });
        const program = async (r: Untyped) => {
            await Promise.all(["a", "b"].map((n) => r.command(n, h.log, slow(h.log, n))));
        };
        await h.run(program);
        assert.deepEqual(
            h.logged().map((l) => l.split(" ")[0]),
            ["start", "start", "end", "end"],
        );
        await h.run(undefined);
        h.logged();
        await h.run(program, { parallel: 1 });
        assert.deepEqual(
            h.logged().map((l) => l.split(" ")[0]),
            ["start", "end", "start", "end"],
        );
    });

    it("updates on any changed input, keeping the id", async () => {
        await h.run(async (r) => void (await r.command("a", h.log, { stdin: "1" })));
        const before = (await h.snapshot()).resources.at(-1)!;
        h.logged();
        const r = await h.run(async (r) => void (await r.command("a", h.log, { stdin: "2" })));
        assert.deepEqual(h.logged(), ["update a"]);
        assert.deepEqual(r.changes, { same: 1, update: 1 });
        assert.equal(find(r, "a")!.id, before.id);
        assert.equal(find(r, "a")!.outputs.stdout, "2");
    });

    it("previews without running anything; outputs of what changes are unknown, of what does not are known", async () => {
        await h.run(async (r) => void (await r.command("a", h.log, { stdin: "1" })));
        h.logged();
        let same: unknown;
        let changed: unknown;
        await h.run(async (r) => void (same = outputs(await r.command("a", h.log, { stdin: "1" })).stdout), {
            preview: true,
        });
        await h.run(async (r) => void (changed = outputs(await r.command("a", h.log, { stdin: "2" })).stdout), {
            preview: true,
        });
        assert.equal(same, "1");
        assert.ok(changed instanceof Computed);
        assert.deepEqual(h.logged(), []);
        // What takes the unknown value shows as an update too.
        await h.run(async (r) => void (await r.command("b", h.log, { stdin: "x" })));
        const p = await h.run(async (r) => void (await r.command("b", h.log, { stdin: Computed.value })), {
            preview: true,
        });
        assert.deepEqual(p.changes, { same: 1, update: 1 });
    });

    it("replaces on triggers: new create first, old delete last", async () => {
        await h.run(async (r) => void (await r.command("a", h.log, { triggers: [1] })));
        h.logged();
        const r = await h.run(async (r) => void (await r.command("a", h.log, { triggers: [2] })));
        assert.deepEqual(h.logged(), ["create a", "delete a"]);
        assert.deepEqual(r.changes, { same: 1, replace: 1 });
        assert.deepEqual(r.steps.slice(1), ["create-replacement a", "replace a", "delete-replaced a"]);
    });

    it("deleteBeforeReplace deletes first, with the dependents that it replaces", async () => {
        const program = (t: number) => async (r: Untyped) => {
            const a = await r.command("a", h.log, { triggers: [t], stdin: String(t) }, { deleteBeforeReplace: true });
            const deps = { triggers: [a.state.urn] };
            await r.command(
                "b",
                h.log,
                { triggers: [a.state.outputs.stdout] },
                { dependencies: [a.state.urn], propertyDependencies: deps },
            );
            await r.command("c", h.log, {}, { dependencies: [a.state.urn], propertyDependencies: {} });
        };
        await h.run(program(1));
        h.logged();
        const r = await h.run(program(2));
        assert.deepEqual(h.logged(), ["delete b", "delete a", "create a", "create b"]);
        assert.deepEqual(r.changes, { same: 2, replace: 2 });
        assert.equal(r.resources.filter((x) => x.urn.endsWith("::a")).length, 1);
    });

    it("replaceOnChanges makes an update a replacement", async () => {
        const o = { replaceOnChanges: ["stdin"] };
        await h.run(async (r) => void (await r.command("a", h.log, { stdin: "1" }, o)));
        h.logged();
        const r = await h.run(async (r) => void (await r.command("a", h.log, { stdin: "2" }, o)));
        assert.deepEqual(r.changes, { same: 1, replace: 1 });
    });

    it("ignoreChanges keeps the old value, also inside lists and maps", async () => {
        const o = { ignoreChanges: ["stdin", 'environment["A"]'] };
        await h.run(
            async (r) => void (await r.command("a", h.log, { stdin: "1", environment: { A: "1", B: "1" } }, o)),
        );
        h.logged();
        const same = await h.run(
            async (r) => void (await r.command("a", h.log, { stdin: "2", environment: { A: "2", B: "1" } }, o)),
        );
        assert.deepEqual(same.changes, { same: 2 });
        const r = await h.run(
            async (r) => void (await r.command("a", h.log, { stdin: "2", environment: { A: "2", B: "2" } }, o)),
        );
        assert.deepEqual(r.changes, { same: 1, update: 1 });
        assert.deepEqual(find(r, "a")!.inputs.environment, { A: "1", B: "2" });
        assert.equal(find(r, "a")!.inputs.stdin, "1");
    });

    it("deletes what the program no longer has, dependents first", async () => {
        await h.run(async (r) => {
            const a = await r.command("a", h.log);
            const b = await r.command("b", h.log, {}, { dependencies: [a.state.urn] });
            await r.command("c", h.log, {}, { dependencies: [b.state.urn] });
            await r.command("other", h.log);
        });
        h.logged();
        const r = await h.run(async (r) => void (await r.command("other", h.log)));
        assert.deepEqual(h.logged(), ["delete c", "delete b", "delete a"]);
        assert.deepEqual(r.changes, { same: 2, delete: 3 });
        const end = await h.run(undefined);
        assert.deepEqual(end.changes, { delete: 2 });
        assert.deepEqual(end.resources, []);
    });

    it("a dependency on a component waits for its children on deletion", async () => {
        await h.run(async (r) => {
            const comp = await r.component("comp");
            await r.command(
                "child",
                h.log,
                { delete: `sleep 0.3; echo delete child >> ${h.log}` },
                { parent: comp.state.urn },
            );
            await r.command(
                "after",
                h.log,
                { delete: `sleep 0.3; echo delete after >> ${h.log}` },
                { dependencies: [comp.state.urn] },
            );
        });
        h.logged();
        await h.run(undefined);
        assert.deepEqual(h.logged(), ["delete after", "delete child"]);
    });

    it("protect refuses deletion and replacement; the rest is deleted", async () => {
        await h.run(async (r) => {
            await r.command("a", h.log, { triggers: [1] }, { protect: true });
            await r.command("b", h.log);
        });
        h.logged();
        const replaced = await h.run(async (r) => {
            await r.command("b", h.log);
            await r.command("a", h.log, { triggers: [2] }, { protect: true });
        });
        assert.ok(replaced.failed);
        assert.match(
            replaced.errors[0]!,
            /unable to replace resource .*::a"\nas it is currently marked for protection/,
        );
        const r = await h.run(async () => undefined);
        assert.ok(r.failed);
        assert.match(r.errors[0]!, /cannot be deleted\nbecause it is protected/);
        assert.deepEqual(h.logged(), ["delete b"]);
        assert.ok(find(r, "a"));
    });

    it("protect, retainOnDelete and deletedWith are taken from the parent", async () => {
        const r = await h.run(async (r) => {
            const host = await r.command("host", h.log);
            const c = await r.component("c", { protect: true, retainOnDelete: true, deletedWith: host.state.urn });
            await r.command("x", h.log, {}, { parent: c.state.urn });
        });
        const x = find(r, "x")!;
        assert.deepEqual([x.protect, x.retainOnDelete, x.deletedWith.endsWith("::host")], [true, true, true]);
        assert.match(x.urn, /my:index:Thing\$command:local:Command::x$/);
    });

    it("retainOnDelete and deletedWith drop without running delete", async () => {
        await h.run(async (r) => {
            const host = await r.command("host", h.log);
            await r.command("on", h.log, {}, { deletedWith: host.state.urn });
            await r.command("kept", h.log, {}, { retainOnDelete: true });
        });
        h.logged();
        const r = await h.run(undefined);
        assert.deepEqual(h.logged(), ["delete host"]);
        assert.deepEqual(r.changes, { delete: 4 });
    });

    it("an alias keeps the resource through renaming and re-parenting", async () => {
        await h.run(async (r) => {
            const a = await r.command("old", h.log);
            await r.command("user", h.log, {}, { dependencies: [a.state.urn] });
        });
        const id = (await h.snapshot()).resources.find((x) => x.urn.endsWith("::old"))!.id;
        h.logged();
        const r = await h.run(async (r) => {
            const c = await r.component("c");
            const script = {
                create: `echo create old >> ${h.log}; cat`,
                update: `echo update old >> ${h.log}; cat`,
                delete: `echo delete old >> ${h.log}`,
            };
            const a = await r.command("new", h.log, script, {
                parent: c.state.urn,
                aliases: [{ name: "old", parentUrn: r.root }],
            });
            await r.command("user", h.log, {}, { dependencies: [a.state.urn] });
        });
        assert.deepEqual(h.logged(), []);
        assert.deepEqual(r.changes, { same: 3, create: 1 });
        assert.equal(find(r, "new")!.id, id);
        assert.ok(!find(r, "old"));
        assert.match(find(r, "user")!.dependencies[0]!, /::new$/);
    });

    it("children of an aliased component are found under its old name", async () => {
        const child = (r: Untyped, parent: string, name: string) =>
            r.custom("random:index/randomUuid:RandomUuid", name, {}, { parent });
        await h.run(async (r) => void (await child(r, (await r.component("web")).state.urn, "web-id")));
        const r = await h.run(
            async (r) =>
                void (await child(r, (await r.component("site", { aliases: [{ name: "web" }] })).state.urn, "site-id")),
        );
        assert.deepEqual(r.changes, { same: 3 });
    });

    it("secrets: marked outputs and outputs of secret inputs are encrypted in the state", async () => {
        const r = await h.run(async (r) => {
            await r.command(
                "a",
                h.log,
                { stdin: "topsecret-out", logging: "none" },
                { additionalSecretOutputs: ["stdout"] },
            );
            await r.command("b", h.log, { stdin: new Secret("topsecret-in"), create: "cat > /dev/null" });
            await r.custom("random:index/randomPassword:RandomPassword", "pw", { length: 20 });
        });
        assert.ok(find(r, "a")!.outputs.stdout instanceof Secret);
        assert.ok(find(r, "b")!.outputs.stdin instanceof Secret);
        const pw = find(r, "pw")!.outputs.result;
        assert.ok(pw instanceof Secret && typeof pw.element === "string" && pw.element.length === 20);
        const text = h.stateText();
        assert.ok(!text.includes("topsecret-in"));
        assert.ok(!text.includes(String(pw.element)));
        assert.match(text, /"ciphertext"/);
    });

    it("an unchanged secret keeps its ciphertext", async () => {
        const program = async (r: Untyped) =>
            void (await r.command("b", h.log, { stdin: new Secret("x"), create: "cat >/dev/null" }));
        await h.run(program);
        const cipher = /"ciphertext": "([^"]+)"/.exec(h.stateText())![1]!;
        // Another resource makes the state be written again; b is loaded and kept.
        const r = await h.run(undefined, { targets: ["none"] });
        assert.equal(r.failed, false);
        assert.ok(h.stateText().includes(cipher));
    });

    it("random values are made once; a changed length replaces", async () => {
        const program = (length: number) => async (r: Untyped) =>
            void (await r.custom("random:index/randomString:RandomString", "s", {
                length,
                special: false,
                minUpper: 2,
            }));
        const a = await h.run(program(12));
        const v = find(a, "s")!.outputs.result as string;
        assert.match(v, /^[A-Za-z0-9]{12}$/);
        assert.equal(find(await h.run(program(12)), "s")!.outputs.result, v);
        const c = await h.run(program(14));
        assert.deepEqual(c.changes, { same: 1, replace: 1 });
    });

    it("a failure lets running work end, starts nothing more, keeps the state; the next run resumes", async () => {
        const program = (fail: boolean) => async (r: Untyped) => {
            await Promise.all([
                r.command("bad", h.log, { create: fail ? "sleep 0.2; echo oops; exit 3" : "true" }),
                r.command("slow", h.log, { create: `sleep 0.8; echo create slow >> ${h.log}` }),
            ]);
            await r.command("never", h.log);
        };
        const r = await h.run(program(true));
        assert.ok(r.failed);
        assert.deepEqual(h.logged(), ["create slow"]);
        assert.equal(r.errors[0], 'exit status 3: running "sleep 0.2; echo oops; exit 3":\noops\n');
        assert.ok(find(r, "slow") && !find(r, "bad") && !find(r, "never"));
        const again = await h.run(program(false));
        assert.deepEqual(again.changes, { same: 2, create: 2 });
        assert.deepEqual(h.logged(), ["create never"]);
    });

    it("a failed update keeps the old state and is tried again", async () => {
        await h.run(async (r) => void (await r.command("a", h.log, { stdin: "1" })));
        const bad = async (r: Untyped) => void (await r.command("a", h.log, { stdin: "2", update: "exit 1" }));
        const r = await h.run(bad);
        assert.ok(r.failed);
        assert.equal(find(r, "a")!.inputs.stdin, "1");
        h.logged();
        await h.run(async (r) => void (await r.command("a", h.log, { stdin: "2" })));
        assert.deepEqual(h.logged(), ["update a"]);
    });

    it("--continue-on-error goes on with what does not depend on the failure", async () => {
        const r = await h.run(
            async (r) => {
                const bad = await r.command("bad", h.log, { create: "exit 1" });
                assert.ok(bad.failed);
                await r.command("fine", h.log);
            },
            { continueOnError: true },
        );
        assert.ok(r.failed);
        assert.deepEqual(h.logged(), ["create fine"]);
    });

    it("notes an operation before it starts; a kill leaves it pending", async () => {
        let during = "";
        await h.run(async (r) => {
            const p = r.command("a", h.log, { create: "sleep 0.5" });
            await new Promise((res) => setTimeout(res, 250));
            during = h.stateText();
            await p;
        });
        assert.match(during, /"pending_operations"/);
        assert.match(during, /"type": "creating"/);
        assert.ok(!h.stateText().includes("pending_operations"));
    });

    it("onError hooks retry; without a yes the error stands", async () => {
        let asked = 0;
        const program = async (r: Untyped, d: Untyped) => {
            d.hooks.error.set("again", {
                run: async (c: Untyped) => {
                    asked++;
                    assert.equal(c.operation, "create");
                    return { error: "", retry: c.errors.length < 3 };
                },
            });
            await r.command(
                "a",
                h.log,
                { create: `echo try >> ${h.log}; [ $(wc -l < ${h.log}) -ge 3 ]` },
                { hooks: { OnError: ["again"] } },
            );
        };
        const r = await h.run(program);
        assert.equal(r.failed, false);
        assert.equal(asked, 2);
        assert.equal(h.logged().length, 3);
        const bad = await h.run(async (r2, d) => {
            d.hooks.error.set("no", { run: async () => ({ error: "", retry: false }) });
            await r2.command("b", h.log, { create: "exit 7" }, { hooks: { OnError: ["no"] } });
        });
        assert.match(bad.errors[0]!, /^exit status 7/);
    });

    it("a failed deletion says why, also where its onError hook is not registered", async () => {
        await h.run(async (r, d) => {
            d.hooks.error.set("advice", { run: async () => ({ error: "", retry: false }) });
            await r.command("a", h.log, { create: "true", delete: "exit 7" }, { hooks: { OnError: ["advice"] } });
        });
        const destroyed = await h.run(async () => {});
        assert.match(destroyed.errors[0]!, /^exit status 7/);
    });

    it("lifecycle hooks run around the operation; a failing before-hook prevents it", async () => {
        const seen: string[] = [];
        const hook = (name: string, error = "") => ({
            onDryRun: false,
            ignoreErrors: false,
            run: async () => {
                seen.push(name);
                return error;
            },
        });
        await h.run(async (r, d) => {
            d.hooks.resource.set("before", hook("before"));
            d.hooks.resource.set("after", hook("after"));
            await r.command(
                "a",
                h.log,
                { create: `echo run >> ${h.log}` },
                { hooks: { BeforeCreate: ["before"], AfterCreate: ["after"] } },
            );
        });
        assert.deepEqual(seen, ["before", "after"]);
        h.logged();
        const bad = await h.run(async (r, d) => {
            d.hooks.resource.set("stop", hook("stop", "not today"));
            await r.command("b", h.log, {}, { hooks: { BeforeCreate: ["stop"] } });
        });
        assert.deepEqual(
            h.logged().filter((l) => l === "create b"),
            [],
        );
        assert.equal(bad.errors[0], 'before hook "stop" failed: not today');
    });

    describe("pulumi:index:Stash", () => {
        let seen: { input?: Untyped; output?: Untyped };
        const stash =
            (input: Untyped, o: Untyped = {}) =>
            async (r: Untyped) =>
                void (seen = outputs(await r.custom("pulumi:index:Stash", "s", { input }, o)));
        const both = (type: Untyped): boolean => seen.input instanceof type && seen.output instanceof type;

        it("keeps its first value through updates, until it is replaced or made anew", async () => {
            const first = await h.run(stash({ a: [1] }));
            assert.deepEqual(first.changes, { create: 2 });
            assert.deepEqual(seen, { input: { a: [1] }, output: { a: [1] } });
            assert.match(find(first, "s")!.id, /^[0-9a-f-]{36}$/);
            assert.match(find(first, "s")!.provider, /::pulumi:providers:pulumi::default::/);
            const again = await h.run(stash({ a: [1] }));
            assert.deepEqual(again.changes, { same: 2 });
            const second = await h.run(stash("two"));
            assert.deepEqual(second.changes, { same: 1, update: 1 });
            assert.deepEqual(seen, { input: "two", output: { a: [1] } });
            assert.deepEqual(find(second, "s")!.outputs, seen);
            assert.equal(find(second, "s")!.id, find(first, "s")!.id);
            const step = second.events.find((e) => e.kind === "outputs" && e.step.op === "update") as Untyped;
            assert.deepEqual(step.step.diffs, ["input"]);
            assert.equal(step.step.detailedDiff, undefined);
            const replaced = await h.run(stash("three"), { replaceTargets: [find(first, "s")!.urn] });
            assert.deepEqual(replaced.changes, { same: 1, replace: 1 });
            assert.deepEqual(seen, { input: "three", output: "three" });
            const on = await h.run(stash("four", { replaceOnChanges: ["input"] }));
            assert.deepEqual(on.changes, { same: 1, replace: 1 });
            assert.equal(seen.output, "four");
            await h.run(undefined);
            await h.run(stash("five"));
            assert.equal(seen.output, "five");
        });

        it("in a preview: the stashed value is known as soon as the first input is", async () => {
            const preview = { preview: true };
            await h.run(stash("one"), preview);
            assert.deepEqual({ ...seen }, { input: "one", output: "one" });
            await h.run(stash(Computed.value), preview);
            assert.ok(both(Computed));
            await h.run(stash("one"));
            const p = await h.run(stash({ v: Computed.value }), preview);
            assert.deepEqual(p.changes, { same: 1, update: 1 });
            assert.equal(seen.output, "one");
            assert.ok(seen.input.v instanceof Computed);
            const r = await h.run(stash("two"), { ...preview, replaceTargets: ["**Stash::s"] });
            assert.deepEqual(r.changes, { same: 1, replace: 1 });
            assert.equal(seen.output, "two");
        });

        it("secrets stay what they were when they were stashed", async () => {
            await h.run(stash(new Secret("hush")));
            assert.ok(both(Secret));
            assert.ok(!h.stateText().includes("hush"));
            const r = await h.run(stash("hush"));
            assert.deepEqual(r.changes, { same: 1, update: 1 });
            assert.ok(seen.output instanceof Secret);
            assert.equal(seen.input, "hush");
            assert.equal((await h.run(stash("plain"))).changes.update, 1);
            assert.equal((find(await h.run(stash("plain")), "s")!.outputs.output as Secret).element, "hush");
        });

        it("takes `input` and nothing else; other built-in types are refused", async () => {
            const two = await h.run(async (r) => void (await r.custom("pulumi:index:Stash", "s", { input: 1, x: 2 })));
            assert.equal(
                two.errors[0],
                "pulumi:index:Stash resource 's': property x value {2} has a problem: unknown property \"x\"",
            );
            const none = await h.run(async (r) => void (await r.custom("pulumi:index:Stash", "s", {})));
            assert.match(none.errors[0]!, /has a problem: missing required property "input"/);
            const other = await h.run(async (r) => void (await r.custom("pulumi:index:Other", "s", {})));
            assert.equal(other.errors[0], "unrecognized resource type 'pulumi:index:Other'");
        });

        it("hooks run around it, in previews those with onDryRun, and are told old and new values", async () => {
            const calls: Untyped[] = [];
            const run = (input: Untyped, preview = false) =>
                h.run(
                    async (r, d) => {
                        for (const [name, onDryRun] of [
                            ["wet", false],
                            ["dry", true],
                        ] as const)
                            d.hooks.resource.set(name, {
                                onDryRun,
                                ignoreErrors: false,
                                run: async (c) => {
                                    calls.push({
                                        name,
                                        old: c.oldInputs,
                                        new: c.newInputs,
                                        out: c.newOutputs,
                                        id: c.id,
                                    });
                                    return "";
                                },
                            });
                        const hooks = { BeforeUpdate: ["wet", "dry"], AfterUpdate: ["dry"], AfterCreate: ["wet"] };
                        await r.custom("pulumi:index:Stash", "s", { input }, { hooks });
                    },
                    { preview },
                );
            const id = find(await run("one"), "s")!.id;
            assert.deepEqual(calls.splice(0), [
                { name: "wet", old: undefined, new: { input: "one" }, out: { input: "one", output: "one" }, id },
            ]);
            const both = { old: { input: "one" }, new: { input: "two" }, id };
            const after = { ...both, out: { input: "two", output: "one" } };
            await run("two", true);
            assert.deepEqual(calls.splice(0), [
                { name: "dry", out: undefined, ...both },
                { name: "dry", ...after },
            ]);
            await run("two");
            assert.deepEqual(calls.splice(0), [
                { name: "wet", out: undefined, ...both },
                { name: "dry", out: undefined, ...both },
                { name: "dry", ...after },
            ]);
            await run("two");
            assert.deepEqual(calls, []);
        });

        it("hooks may take long, several at once; one that throws stops what follows, not what runs", async () => {
            const program = (input: string, bad: boolean) => async (r: Untyped, d: Untyped) => {
                let running = 0;
                for (const name of ["a", "b", "c"])
                    d.hooks.resource.set(name, {
                        onDryRun: false,
                        ignoreErrors: false,
                        run: async () => {
                            most = Math.max(most, ++running);
                            await new Promise((done) => setTimeout(done, name === "a" ? 200 : 1_000));
                            running--;
                            return bad && name === "a" ? "no way" : "";
                        },
                    });
                const made = ["a", "b", "c"].map((n) =>
                    r.custom("pulumi:index:Stash", n, { input }, { hooks: { BeforeUpdate: [n] } }),
                );
                const c = await made[2];
                await r.custom("pulumi:index:Stash", "after", { input }, { dependencies: [c.state.urn] });
                await Promise.all(made);
            };
            let most = 0;
            await h.run(program("one", false));
            const r = await h.run(program("two", true));
            assert.equal(most, 3);
            assert.ok(r.failed);
            assert.deepEqual(r.errors, ['before hook "a" failed: no way']);
            assert.deepEqual(
                ["a", "b", "c", "after"].map((n) => find(r, n)!.inputs.input),
                ["one", "two", "two", "one"],
            );
            const again = await h.run(program("two", false));
            assert.deepEqual(again.changes, { same: 3, update: 2 });
        });
    });

    it("refuses duplicate names and unknown types", async () => {
        const dup = await h.run(async (r) => {
            await r.command("a", h.log);
            await r.command("a", h.log);
        });
        assert.match(dup.errors[0]!, /Duplicate resource URN '.*::a'; try giving it a unique name/);
        const type = await h.run(async (r) => void (await r.custom("command:remote:CopyFile", "x", {})));
        assert.match(type.errors[0]!, /resource type command:remote:CopyFile is not supported/);
    });

    it("reports invalid inputs by property", async () => {
        const r = await h.run(
            async (r) =>
                void (await r.custom("command:remote:Command", "x", { connection: { user: "u" }, loging: "none" })),
        );
        assert.match(r.errors.join("\n"), /property connection\.host .* has a problem: Missing required field 'host'/);
        assert.match(r.errors.join("\n"), /Unrecognized field 'loging'/);
    });

    it("--target leaves the others alone; --replace forces one", async () => {
        const program = (v: string) => async (r: Untyped) => {
            await r.command("a", h.log, { stdin: v });
            await r.command("b", h.log, { stdin: v });
        };
        await h.run(program("1"));
        h.logged();
        const t = await h.run(program("2"), { targets: ["**::a"] });
        assert.deepEqual(h.logged(), ["update a"]);
        assert.equal(find(t, "b")!.inputs.stdin, "1");
        const urn = find(t, "b")!.urn;
        await h.run(program("2"), { replaceTargets: [urn] });
        assert.deepEqual(h.logged(), ["create b", "delete b"]);
    });

    it("default providers can be forbidden", async () => {
        const r = await h
            .run(async (r) => void (await r.command("a", h.log)).state, {
                config: new Map([["pulumi:disable-default-providers", { text: '["command"]', secret: false }]]),
            })
            .catch((e: Error) => e);
        assert.match(r instanceof Error ? r.message : r.errors.join(), /Default provider for 'command' disabled/);
    });

    it("finishes a replacement that was cut off between deletion and creation", async () => {
        const program = (t: number, script?: string) => async (r: Untyped) =>
            void (await r.command(
                "a",
                h.log,
                { triggers: [t], ...(script ? { create: script } : {}) },
                { deleteBeforeReplace: true },
            ));
        await h.run(program(1));
        h.logged();
        const cut = await h.run(program(2, "exit 1"));
        assert.ok(cut.failed);
        assert.equal(find(cut, "a")!.pendingReplacement, true);
        assert.deepEqual(h.logged(), ["delete a"]);
        const r = await h.run(program(2));
        assert.deepEqual(h.logged(), ["create a"]);
        assert.equal(r.resources.filter((x) => x.urn.endsWith("::a")).length, 1);
        assert.equal(find(r, "a")!.pendingReplacement, false);
    });

    it("400 resources: state writes stay cheap", async () => {
        const program = async (r: Untyped) => {
            await Promise.all(
                Array.from({ length: 400 }, (_, i) =>
                    r.custom("random:index/randomUuid:RandomUuid", `u${i}`, { keepers: { text: "x".repeat(2000) } }),
                ),
            );
        };
        const started = Date.now();
        const r = await h.run(program);
        assert.equal(r.changes.create, 401);
        assert.ok(Date.now() - started < 15_000, `took ${Date.now() - started} ms`);
    });
});
