/** up, preview, destroy and refresh of one stack: config, lock, program, engine, display, result. */
import { availableParallelism } from "node:os";
import { type Backend, type StackRef } from "./backend";
import { makeDisplay } from "./display/display";
import type { DisplayOptions } from "./display/render";
import { HEADLINE, plain, RESET } from "./display/style";
import { Deployment } from "./engine/deployment";
import { BailError, CommandError } from "./errors";
import type { EngineEvent, Op } from "./events";
import { goEscape } from "./gotext";
import { LOGGED_FAILURE, type Running, startProgram } from "./language";
import { Monitor } from "./monitor";
import type { Crypter } from "./passphrase";
import type { Project, StackConfig } from "./project";
import { SnapshotManager } from "./snapshot";
import { readDeployment, type ResourceState, type Snapshot, SnapshotWriter, verifySnapshot } from "./state";
import { makeUrn, STACK_TYPE } from "./urn";
import { isObject, mapObject, type Value } from "./values";

export type Kind = "update" | "refresh" | "destroy";

export interface OperationOptions {
    kind: Kind;
    project: Project;
    backend: Backend;
    ref: StackRef;
    crypter: Crypter;
    config: StackConfig;
    display: DisplayOptions;
    parallel: number;
    refresh: boolean;
    continueOnError: boolean;
    ignoreProtect: boolean;
    suppressPermalink: boolean;
    targets: string[];
    targetDependents: boolean;
    replaceTargets: string[];
    /** Forget creates that were cut off (`refresh --clear-pending-creates`). */
    clearPendingCreates: boolean;
}

export const defaultParallel = (): number => availableParallelism() * 4;

export type Changes = Partial<Record<Op, number>>;

const LABEL: Record<Kind, [preview: string, real: string]> = {
    update: ["Previewing update", "Updating"],
    refresh: ["Previewing refresh", "Refreshing"],
    destroy: ["Previewing destroy", "Destroying"],
};

/** Changes other than "nothing to do". */
export function anyChanges(c: Changes): boolean {
    return Object.entries(c).some(([op, n]) => op !== "same" && op !== "read" && (n ?? 0) > 0);
}

/** Runs it once, as a preview or for real. Throws BailError when it failed and was told. */
export async function runOnce(o: OperationOptions, preview: boolean): Promise<Changes> {
    const { project, ref, backend, crypter, display } = o;
    const say = (s: string): void => void process.stdout.write(display.color ? s : plain(s));
    if (!display.json) say(`${HEADLINE}${LABEL[o.kind][preview ? 0 : 1]} (${ref.stack}):${RESET}\n`);

    const latest = backend.readLatest(ref);
    let prev: Snapshot = readDeployment(latest, crypter);
    verifySnapshot(prev);
    const rootUrn = makeUrn(ref.stack, project.name, "", STACK_TYPE, `${project.name}-${ref.stack}`);
    const view = makeDisplay(display, preview, rootUrn);
    const masked = masking(display.showSecrets ? [] : [...o.config.values()].flatMap((v) => v.secrets));
    const emit = (e: EngineEvent): void => view.take(masked(e));
    const started = Date.now();
    const config = Object.fromEntries([...o.config].map(([k, v]) => [k, v.secret ? "[secret]" : v.text]));
    emit({ kind: "prelude", config });

    const base = {
        project: project.name,
        stack: ref.stack,
        preview,
        parallel: o.parallel,
        config: o.config,
        continueOnError: o.continueOnError,
        ignoreProtect: o.ignoreProtect,
        targets: o.targets,
        targetDependents: o.targetDependents,
        replaceTargets: o.replaceTargets,
        emit,
        root: project.programDir,
    };
    let changes: Changes = {};
    let failed = false;
    let interrupted = false;
    let current: Deployment | undefined;
    let stopProgram: (() => void) | undefined;
    const onSignal = (): void => {
        if (interrupted) {
            backend.unlock(ref);
            process.exit(1);
        }
        interrupted = true;
        process.stderr.write(
            "^C received; cancelling. If you would like to terminate immediately, press ^C again.\nNote that terminating immediately may lead to orphaned resources and other inconsistencies.\n",
        );
        current?.cancel();
        stopProgram?.();
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
    try {
        const refreshes = o.kind === "refresh" || o.refresh;
        if (refreshes) {
            const d = new Deployment({ ...base, prev, aliased: new Map(), refreshOnly: o.kind === "refresh" });
            current = d;
            if (prev.pendingOperations.some((p) => p.type === "creating") && !o.clearPendingCreates && !preview)
                d.diag(
                    "warning",
                    "There are pending CREATE operations; run `pulumi refresh --clear-pending-creates` to drop them:\n" +
                        prev.pendingOperations.map((p) => `  * ${p.resource.urn}`).join("\n"),
                );
            const kept = o.clearPendingCreates ? [] : prev.pendingOperations.filter((p) => p.type === "creating");
            const after = await d.refresh();
            d.closeProviders();
            failed = d.failed || d.cancelled;
            changes = d.changes;
            if (!failed) {
                prev = { ...after, pendingOperations: kept };
                if (!preview)
                    backend.write(
                        ref,
                        new SnapshotWriter(crypter).checkpoint(`organization/${ref.project}/${ref.stack}`, prev),
                    );
            }
        }
        if (o.kind !== "refresh" && !failed) {
            const aliased = new Map<string, string>();
            const snapshots = preview ? undefined : new SnapshotManager(backend, ref, crypter, prev, aliased);
            const d = new Deployment({ ...base, prev, aliased, snapshots });
            current = d;
            if (!preview && prev.pendingOperations.length > 0) d.diag("warning", pendingWarning(prev));
            try {
                if (o.kind === "update") await runProgram(o, d, preview, emit, (f) => (stopProgram = f));
                else {
                    checkDeleteHooks(prev);
                    await d.finish();
                    await d.idle();
                    if (d.stepFailed) d.diag("error", `${preview ? "preview" : "update"} failed`);
                }
            } catch (e) {
                if (!(e instanceof BailError)) d.diag("error", (e as Error).message);
                d.failed = true;
                d.cancel();
                await d.idle();
            }
            if (interrupted) d.diag("error", `${preview ? "preview" : "update"} canceled`);
            d.closeProviders();
            await snapshots?.close();
            changes = d.changes;
            failed = d.failed || d.cancelled;
        }
    } finally {
        process.off("SIGINT", onSignal);
        process.off("SIGTERM", onSignal);
    }
    emit({ kind: "summary", preview, seconds: (Date.now() - started) / 1000, changes });
    view.end();
    if (failed) throw new BailError();
    if (!o.suppressPermalink && !display.json) say(`${HEADLINE}Permalink: ${RESET}file://${backend.file(ref)}\n`);
    return changes;
}

/** As officially, shorter ones are not looked for: they would hit anything. */
const MIN_MASKED = 3;

/** Takes the stack's secret configuration out of messages and values; generated secrets are not looked for. */
function masking(secrets: string[]): (e: EngineEvent) => EngineEvent {
    const needles = [...new Set(secrets.flatMap((s) => [s, s.trim(), goEscape(s)]))]
        .filter((s) => s.length >= MIN_MASKED)
        .sort((a, b) => b.length - a.length);
    if (needles.length === 0) return (e) => e;
    const text = (t: string): string => needles.reduce((r, n) => (r.includes(n) ? r.replaceAll(n, "[secret]") : r), t);
    const value = (v: Value): Value => {
        if (typeof v === "string") return text(v);
        if (Array.isArray(v)) return v.map(value);
        return isObject(v) ? mapObject(v, value) : v;
    };
    const state = (r: ResourceState | undefined): ResourceState | undefined =>
        r && { ...r, inputs: mapObject(r.inputs, value), outputs: mapObject(r.outputs, value) };
    return (e) => {
        if (e.kind === "diag") return { ...e, message: text(e.message) };
        if (e.kind === "pre" || e.kind === "outputs" || e.kind === "failed")
            return {
                ...e,
                step: { ...e.step, old: state(e.step.old), new: state(e.step.new), res: state(e.step.res)! },
            };
        return e;
    };
}

function pendingWarning(prev: Snapshot): string {
    const list = prev.pendingOperations.map((p) => `  * ${p.resource.urn}, interrupted while ${p.type}\n`).join("");
    return (
        `Attempting to deploy or update resources with ${prev.pendingOperations.length} pending operations from previous deployment.\n${list}` +
        "These resources are in an unknown state because the Pulumi CLI was interrupted while waiting for changes to these resources to complete. " +
        "You should confirm whether or not the operations listed completed successfully by checking the state of the appropriate provider. " +
        "For example, if you are using AWS, you can confirm using the AWS Console.\n\n" +
        "Once you have confirmed the status of the interrupted operations, you can repair your stack using `pulumi refresh` which will refresh " +
        "the state from the provider you are using and clear the pending operations if there are any.\n\n" +
        "Note that `pulumi refresh` will need to be run interactively to clear pending CREATE operations."
    );
}

function checkDeleteHooks(prev: Snapshot): void {
    const withHooks = prev.resources.filter((r) => r.hooks.BeforeDelete?.length || r.hooks.AfterDelete?.length);
    if (withHooks.length > 0)
        throw new CommandError("You must run with the `--run-program` flag to use delete hooks during destroy.");
}

async function runProgram(
    o: OperationOptions,
    d: Deployment,
    preview: boolean,
    emit: (e: EngineEvent) => void,
    onStarted: (stop: () => void) => void,
): Promise<void> {
    const config = Object.fromEntries([...o.config].map(([k, v]) => [k, v.text]));
    const secretKeys = [...o.config].filter(([, v]) => v.secret).map(([k]) => k);
    let finished = false;
    const monitor = new Monitor({
        project: o.project,
        stack: o.ref.stack,
        preview,
        parallel: o.parallel,
        config,
        secretKeys,
        deployment: d,
        onFinished: async () => {
            finished = true;
            await d.finish();
        },
    });
    const address = await monitor.start();
    let program: Running | undefined;
    try {
        program = startProgram({
            project: o.project,
            stack: o.ref.stack,
            preview,
            parallel: o.parallel,
            monitor: address,
            config,
            secretKeys,
            onOutput: (stream, text) =>
                emit({
                    kind: "diag",
                    urn: "",
                    prefix: "",
                    message: text,
                    severity: stream === "stdout" ? "info" : "info#err",
                    streamId: stream === "stdout" ? 1 : 2,
                    ephemeral: false,
                }),
        });
        const { child, exited } = program;
        const timers: NodeJS.Timeout[] = [];
        const stop = (grace: number): void => {
            child.kill("SIGINT");
            timers.push(setTimeout(() => child.kill("SIGKILL"), grace));
        };
        // After a failure the program lives as long as a step runs, which may be in one of its hooks; then it is ended.
        d.whenOver(() => stop(1_000));
        // At ^C it is ended at once, as the official language host does.
        onStarted(() => stop(5_000));
        const { code, signal } = await exited;
        timers.forEach(clearTimeout);
        await d.idle();
        if (d.cancelled) {
            // Told where it happened.
        } else if (code !== 0) {
            d.failed = true;
            d.cancel();
            if (code !== LOGGED_FAILURE || !monitor.loggedError)
                throw new CommandError(
                    signal ? `Program exited with signal ${signal}` : `Program exited with non-zero exit code: ${code}`,
                );
        } else if (!finished) await d.finish();
        await d.finalize();
        if (d.stepFailed) d.diag("error", `${preview ? "preview" : "update"} failed`);
    } finally {
        if (program && program.child.exitCode === null) program.child.kill("SIGKILL");
        monitor.stop();
    }
}
