/** Runs the engine in this process: the "program" is a function that registers resources. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Backend, type StackRef } from "../src/backend";
import { Deployment } from "../src/engine/deployment";
import { emptyGoal, type Goal, type Registration } from "../src/engine/goal";
import type { EngineEvent, Op } from "../src/events";
import { Crypter } from "../src/passphrase";
import { SnapshotManager } from "../src/snapshot";
import { readDeployment, type ResourceState, type Snapshot } from "../src/state";
import type { PropertyMap, Value } from "../src/values";

const REF: StackRef = { project: "p", stack: "s" };

export interface RunResult {
    changes: Partial<Record<Op, number>>;
    failed: boolean;
    events: EngineEvent[];
    /** Error messages in order. */
    errors: string[];
    /** `op name` of each step in the order they started. */
    steps: string[];
    resources: ResourceState[];
}

export type Program = (r: Registrar, d: Deployment) => Promise<void>;

export interface Options extends Partial<Omit<Goal, "inputs" | "type" | "name">> {
    inputs?: PropertyMap;
}

export class Registrar {
    readonly root: string;
    constructor(private readonly d: Deployment) {
        this.root = "urn:pulumi:s::p::pulumi:pulumi:Stack::p-s";
    }

    async stack(): Promise<void> {
        await this.d.register({ ...emptyGoal, type: "pulumi:pulumi:Stack", name: "p-s" });
    }

    custom(type: string, name: string, inputs: PropertyMap, o: Options = {}): Promise<Registration> {
        const dependencies = o.dependencies ?? [];
        const propertyDependencies =
            o.propertyDependencies ?? Object.fromEntries(Object.keys(inputs).map((k) => [k, []]));
        return this.d.register({
            ...emptyGoal,
            parent: this.root,
            ...o,
            type,
            name,
            custom: true,
            inputs,
            dependencies,
            propertyDependencies,
        });
    }

    component(name: string, o: Options = {}): Promise<Registration> {
        return this.d.register({ ...emptyGoal, parent: this.root, type: "my:index:Thing", name, inputs: {}, ...o });
    }

    /** A local command that notes what it does in the log. */
    command(name: string, log: string, extra: PropertyMap = {}, o: Options = {}): Promise<Registration> {
        return this.custom(
            "command:local:Command",
            name,
            {
                create: `echo create ${name} >> ${log}; cat`,
                update: `echo update ${name} >> ${log}; cat`,
                delete: `echo delete ${name} >> ${log}`,
                ...extra,
            },
            o,
        );
    }
}

export class Harness {
    readonly dir = mkdtempSync(path.join(tmpdir(), "pulumi-engine-"));
    readonly log = path.join(this.dir, "log");
    private static crypter: Promise<Crypter> | undefined;

    constructor() {
        writeFileSync(this.log, "");
    }

    remove(): void {
        rmSync(this.dir, { recursive: true, force: true });
    }

    /** What the commands did since the last call. */
    logged(): string[] {
        const lines = readFileSync(this.log, "utf8").split("\n").filter(Boolean);
        writeFileSync(this.log, "");
        return lines;
    }

    private backend(): Backend {
        return new Backend(`file://${this.dir}`, this.dir);
    }

    static crypt(): Promise<Crypter> {
        return (this.crypter ??= Crypter.create("test"));
    }

    stateText(): string {
        return readFileSync(this.backend().file(REF), "utf8");
    }

    async snapshot(): Promise<Snapshot> {
        const b = this.backend();
        return b.exists(REF)
            ? readDeployment(b.readLatest(REF), await Harness.crypt())
            : { resources: [], pendingOperations: [] };
    }

    /** Without a program: destroy. */
    async run(
        program: Program | undefined,
        o: Partial<ConstructorParameters<typeof Deployment>[0]> = {},
    ): Promise<RunResult> {
        const crypter = await Harness.crypt();
        const prev = await this.snapshot();
        const events: EngineEvent[] = [];
        const aliased = new Map<string, string>();
        const snapshots = o.preview ? undefined : new SnapshotManager(this.backend(), REF, crypter, prev, aliased);
        if (!o.preview)
            await import("node:fs").then((fs) =>
                fs.mkdirSync(path.dirname(this.backend().file(REF)), { recursive: true }),
            );
        const d = new Deployment({
            project: "p",
            stack: "s",
            preview: false,
            parallel: 8,
            config: new Map(),
            emit: (e) => events.push(e),
            prev,
            snapshots,
            aliased,
            root: this.dir,
            ...o,
        });
        const cancelled = new Promise<void>((resolve) => d.whenCancelled(resolve));
        if (program) {
            const r = new Registrar(d);
            await Promise.race([
                cancelled,
                (async () => {
                    await r.stack();
                    await program(r, d);
                })(),
            ]);
        }
        await d.finish();
        await d.idle();
        await d.finalize();
        d.closeProviders();
        await snapshots?.close();
        const name = (urn: string): string => urn.slice(urn.lastIndexOf("::") + 2);
        return {
            changes: d.changes,
            failed: d.failed || d.cancelled,
            events,
            errors: events.flatMap((e) => (e.kind === "diag" && e.severity === "error" ? [e.message] : [])),
            steps: events.flatMap((e) => (e.kind === "pre" ? [`${e.step.op} ${name(e.step.urn)}`] : [])),
            resources: o.preview ? [] : (await this.snapshot()).resources,
        };
    }
}

export function outputs(r: Registration): Record<string, Value> {
    return r.state.outputs;
}
