/** Takes the engine's events and prints them: as lines of progress, as a rich diff, or as JSON. */
import type { DiagEvent, EngineEvent, Op, StepInfo } from "../events";
import { serializeResource } from "../state";
import { displayType, isRootStack, parseUrn, urnName, urnType } from "../urn";
import { isObject, type PropertyMap, Secret, type Value } from "../values";
import {
    type DisplayOptions,
    escapeUrn,
    outputsText,
    renderDiffEvent,
    retainFlag,
    shortDiff,
    shouldShow,
    summary,
} from "./render";
import { BRIGHT_BLUE, HEADLINE, opColor, plain, rawPrefix, RED, RESET } from "./style";

export interface Display {
    take(e: EngineEvent): void;
    /** All events are in. */
    end(): void;
}

export function makeDisplay(o: DisplayOptions, preview: boolean, rootUrn: string): Display {
    if (o.json) return preview ? new Digest(o) : new JsonEvents();
    return o.type === "diff" ? new DiffDisplay(o) : new ProgressDisplay(o, preview, rootUrn);
}

function print(o: DisplayOptions, text: string, stream: NodeJS.WriteStream = process.stdout): void {
    if (text) stream.write(o.color ? text : plain(text));
}

class DiffDisplay implements Display {
    private readonly seen = new Map<string, StepInfo>();
    private errored = 0;

    constructor(private readonly o: DisplayOptions) {}

    take(e: EngineEvent): void {
        if (e.kind === "failed") this.errored++;
        else if (e.kind === "summary") print(this.o, summary(e, this.errored));
        else if (e.kind === "prelude") print(this.o, prelude(e, this.o));
        else if (e.kind === "diag") {
            const text = renderDiffEvent(e, this.seen, this.o);
            print(this.o, text && !text.endsWith("\n") ? `${text}\n` : text, process.stderr);
        } else print(this.o, renderDiffEvent(e, this.seen, this.o));
    }

    end(): void {
        // Everything was printed as it came.
    }
}

function prelude(e: Extract<EngineEvent, { kind: "prelude" }>, o: DisplayOptions): string {
    if (!o.showConfig) return "";
    const lines = Object.keys(e.config)
        .sort()
        .map((k) => `    ${k}: ${e.config[k]}\n`);
    return `Configuration:\n${lines.join("")}`;
}

interface Row {
    step: StepInfo;
    visible: boolean;
    failed: boolean;
    done: boolean;
    started: number;
    ended?: number;
    diags: DiagEvent[];
    lastDiag?: DiagEvent;
}

const DOING: Partial<Record<Op, string>> = {
    create: "creating",
    update: "updating",
    delete: "deleting",
    replace: "replacing",
    "create-replacement": "creating replacement",
    "delete-replaced": "deleting original",
    read: "reading",
    refresh: "refreshing",
    discard: "discarding",
};
const DONE: Partial<Record<Op, string>> = {
    create: "created",
    update: "updated",
    delete: "deleted",
    replace: "replaced",
    "create-replacement": "created replacement",
    "delete-replaced": "deleted original",
    read: "read",
    refresh: "refresh",
    discard: "discarded",
};
const PLAN: Partial<Record<Op, string>> = {
    create: "create",
    update: "update",
    delete: "delete",
    replace: "replace",
    "create-replacement": "create replacement",
    "delete-replaced": "delete original",
    read: "read",
    refresh: "refreshing",
    discard: "discard",
};

/** One line per change of a resource's status, as the official command line prints when there is no terminal. */
class ProgressDisplay implements Display {
    private readonly rows = new Map<string, Row>();
    private summaryEvent: Extract<EngineEvent, { kind: "summary" }> | undefined;
    private finished = false;

    constructor(
        private readonly o: DisplayOptions,
        private readonly preview: boolean,
        private readonly rootUrn: string,
    ) {}

    private row(urn: string, step?: StepInfo): Row {
        const key = urn || this.rootUrn;
        let r = this.rows.get(key);
        if (!r) {
            r = {
                step:
                    step ??
                    ({
                        urn: key,
                        op: "same",
                        type: urnType(key),
                        provider: "",
                        res: { parent: "" },
                        logical: true,
                    } as StepInfo),
                visible: false,
                failed: false,
                done: false,
                started: Date.now(),
                diags: [],
            };
            this.rows.set(key, r);
        }
        return r;
    }

    take(e: EngineEvent): void {
        switch (e.kind) {
            case "prelude":
                return print(this.o, prelude(e, this.o));
            case "summary":
                this.summaryEvent = e;
                return;
            case "diag": {
                if (e.severity === "debug" || (e.prefix + e.message).trim() === "") return;
                const r = this.row(e.urn);
                r.visible = true;
                r.lastDiag = e;
                r.diags.push(e);
                return this.printRow(r);
            }
            case "pre": {
                const r = this.row(e.step.urn, e.step);
                r.step = e.step;
                r.started = Date.now();
                r.ended = undefined;
                r.done = false;
                r.visible ||= shouldShow(e.step, this.o) || isRootStack(e.step.urn);
                return this.printRow(r);
            }
            case "outputs": {
                const r = this.row(e.step.urn, e.step);
                const wasRefresh = r.step.op === "refresh";
                r.visible ||= shouldShow(e.step, this.o) || isRootStack(e.step.urn);
                r.ended = Date.now();
                r.step = e.step;
                r.done = !isRootStack(e.step.urn);
                if (
                    wasRefresh ||
                    (!this.preview && e.step.res.custom && e.step.op !== "same") ||
                    (!this.preview && e.step.op === "delete")
                )
                    this.printRow(r);
                return;
            }
            case "failed": {
                const r = this.row(e.step.urn, e.step);
                r.failed = true;
                r.done = true;
                r.visible = true;
                return this.printRow(r);
            }
        }
    }

    private status(r: Row): string {
        const { step } = r;
        const { op } = step;
        const failed = r.failed || r.diags.some((d) => d.severity === "error" && !d.ephemeral);
        let text: string;
        if (
            this.finished &&
            !r.done &&
            !this.preview &&
            step.res.custom &&
            op !== "same" &&
            op !== "remove-pending-replace"
        )
            text = `${DOING[op] ?? ""} (interrupted)`;
        else if (r.done || this.finished) {
            if (this.preview)
                text =
                    opColor(op) +
                    (op === "create-replacement" || op === "delete-replaced"
                        ? "replace"
                        : op === "refresh"
                          ? "refresh"
                          : (PLAN[op] ?? "")) +
                    RESET;
            else if (failed)
                text = `${RED}**${op === "same" ? "failed" : `${DOING[op]?.split(" ")[0] ?? ""} failed`}**${RESET}`;
            else {
                const seconds = ((r.ended ?? Date.now()) - r.started) / 1000;
                const took =
                    op === "same" ? "" : seconds < 1 ? ` (${seconds.toFixed(2)}s)` : ` (${Math.floor(seconds)}s)`;
                text = `${opColor(op)}${DONE[op] ?? ""}${took}${RESET}`;
            }
        } else if (isRootStack(step.urn) && op === "same") text = "running";
        else if (this.preview) text = opColor(op) + (PLAN[op] ?? "") + RESET;
        else
            text =
                op === "same"
                    ? ""
                    : `${opColor(op)}${DOING[op]} (${Math.floor((Date.now() - r.started) / 1000)}s)${RESET}`;
        return retainFlag(text, step);
    }

    private infoColumn(r: Row): string {
        const parts: string[] = [];
        const d = shortDiff(r.step);
        if (d) parts.push(`[${d}]`);
        if (this.finished) {
            const count = (f: (x: DiagEvent) => boolean, word: string): void => {
                const n = r.diags.filter((x) => !x.ephemeral && f(x)).length;
                if (n > 0) parts.push(`${n} ${word}${n === 1 ? "" : "s"}`);
            };
            count((x) => x.severity === "error", "error");
            count((x) => x.severity === "warning", "warning");
            count((x) => x.severity.startsWith("info"), "message");
        } else if (r.lastDiag) parts.push((r.lastDiag.prefix + r.lastDiag.message).trimEnd());
        return parts.join("; ").split("\n", 1)[0]!;
    }

    private printRow(r: Row): void {
        if (!r.visible) return;
        const { step } = r;
        const cols = [
            opColor(step.op) + rawPrefix(step.op) + RESET,
            this.o.showUrns ? escapeUrn(step.urn) : displayType(parseUrn(step.urn).type),
            ...(this.o.showUrns ? [] : [escapeUrn(urnName(step.urn))]),
            this.status(r),
            this.infoColumn(r),
        ];
        print(this.o, ` ${cols.join(" ")}\n`);
    }

    end(): void {
        const open = [...this.rows.values()].filter((r) => !r.done);
        this.finished = true;
        for (const r of open) this.printRow(r);
        this.diagnostics();
        if (!this.o.suppressOutputs) {
            const root = this.rows.get(this.rootUrn);
            const text = root && root.step.res.inputs ? outputsText(root.step, 1, this.preview, false, this.o) : "";
            if (text) print(this.o, `${HEADLINE}Outputs:${RESET}\n${text}\n`);
        }
        if (this.summaryEvent) {
            const errored = [...this.rows.values()].filter((r) =>
                r.diags.some((d) => d.severity === "error" && !d.ephemeral),
            ).length;
            print(this.o, `${summary(this.summaryEvent, errored)}\n`);
        }
    }

    private diagnostics(): void {
        let header = false;
        for (const [urn, r] of this.rows) {
            const streams = new Map<number, DiagEvent[]>();
            for (const d of r.diags) if (!d.ephemeral) streams.set(d.streamId, [...(streams.get(d.streamId) ?? []), d]);
            let named = false;
            for (const [id, list] of streams) {
                const messages =
                    id === 0
                        ? list.map((d) => d.prefix + d.message)
                        : [list[0]!.prefix + list.map((d) => d.message).join("")];
                let wrote = false;
                for (const m of messages) {
                    const lines = m.trimEnd().split("\n");
                    if (lines.join("").trim() === "") continue;
                    if (!header) print(this.o, `${HEADLINE}Diagnostics:${RESET}\n`);
                    header = true;
                    if (!named) {
                        const name = this.o.showUrns
                            ? escapeUrn(urn)
                            : `${displayType(urnType(urn))} (${escapeUrn(urnName(urn))})`;
                        print(this.o, `  ${BRIGHT_BLUE}${name}:${RESET}\n`);
                    }
                    named = true;
                    for (const l of lines) print(this.o, `    ${l.trimEnd()}\n`);
                    wrote = true;
                }
                if (wrote) print(this.o, "\n");
            }
        }
    }
}

/* ---------- JSON ---------- */

function blind(v: Value): Value {
    if (v instanceof Secret) return "[secret]";
    if (Array.isArray(v)) return v.map(blind);
    if (isObject(v)) return Object.fromEntries(Object.entries(v).map(([k, e]) => [k, blind(e)]));
    return v;
}

function stateJson(r: StepInfo["res"], o: DisplayOptions): unknown {
    const bare = isRootStack(r.urn) && o.suppressOutputs;
    return serializeResource(
        {
            ...r,
            inputs: bare ? {} : (blind(r.inputs) as PropertyMap),
            outputs: bare ? {} : (blind(r.outputs) as PropertyMap),
        },
        () => "[secret]",
    );
}

function stepJson(s: StepInfo, o: DisplayOptions): Record<string, unknown> {
    return {
        op: s.op,
        urn: s.urn,
        provider: s.provider || undefined,
        oldState: s.old && stateJson(s.old, o),
        newState: s.new && stateJson(s.new, o),
        diffReasons: s.diffs?.length ? s.diffs : undefined,
        replaceReasons: s.keys?.length ? s.keys : undefined,
        detailedDiff: s.detailedDiff
            ? Object.fromEntries(
                  Object.keys(s.detailedDiff)
                      .sort()
                      .map((k) => [k, { kind: s.detailedDiff![k]!.kind, inputDiff: s.detailedDiff![k]!.inputDiff }]),
              )
            : null,
    };
}

/** `preview --json`: one document at the end. */
class Digest implements Display {
    private readonly seen = new Map<string, StepInfo>();
    private readonly steps: Record<string, unknown>[] = [];
    private readonly diagnostics: unknown[] = [];
    private config: Record<string, string> = {};
    private last: Extract<EngineEvent, { kind: "summary" }> | undefined;

    constructor(private readonly o: DisplayOptions) {}

    take(e: EngineEvent): void {
        if (e.kind === "prelude") this.config = e.config;
        else if (e.kind === "summary") this.last = e;
        else if (e.kind === "diag") {
            if (!e.ephemeral && e.severity !== "debug")
                this.diagnostics.push({
                    urn: e.urn || undefined,
                    message: plain(e.prefix + e.message),
                    severity: e.severity,
                });
        } else if (e.kind === "pre" && (shouldShow(e.step, this.o) || isRootStack(e.step.urn))) {
            this.seen.set(e.step.urn, e.step);
            this.steps.push(stepJson(e.step, this.o));
        } else if (e.kind === "outputs" && this.seen.get(e.step.urn)?.op === "refresh") {
            const i = this.steps.findIndex((s) => s.urn === e.step.urn);
            if (i >= 0 && (e.step.op === "delete" || (e.step.op === "update" && e.step.detailedDiff)))
                this.steps[i] = stepJson(e.step, this.o);
        }
    }

    end(): void {
        const digest = {
            config: Object.keys(this.config).length > 0 ? this.config : undefined,
            steps: this.steps.length > 0 ? this.steps : undefined,
            diagnostics: this.diagnostics.length > 0 ? this.diagnostics : undefined,
            duration: this.last ? Math.round(this.last.seconds * 1e9) : undefined,
            changeSummary: this.last && Object.keys(this.last.changes).length > 0 ? this.last.changes : undefined,
        };
        process.stdout.write(`${JSON.stringify(digest, null, 4)}\n`);
    }
}

/** `up --json` and `destroy --json`: one engine event per line (official apitype.EngineEvent). */
class JsonEvents implements Display {
    private sequence = 0;

    take(e: EngineEvent): void {
        const body = this.body(e);
        if (body) this.put(body);
    }

    end(): void {
        this.put({ cancelEvent: {} });
    }

    private put(body: Record<string, unknown>): void {
        process.stdout.write(
            `${JSON.stringify({ sequence: this.sequence++, timestamp: Math.floor(Date.now() / 1000), ...body })}\n`,
        );
    }

    private metadata(s: StepInfo): Record<string, unknown> {
        const state = (r: StepInfo["res"] | undefined): unknown =>
            r && {
                type: r.type,
                urn: r.urn,
                custom: r.custom || undefined,
                delete: r.delete || undefined,
                id: r.id,
                parent: r.parent,
                protect: r.protect || undefined,
                retainOnDelete: r.retainOnDelete || undefined,
                inputs:
                    serializeResource({ ...r, inputs: blind(r.inputs) as PropertyMap }, () => "[secret]").inputs ?? {},
                outputs:
                    serializeResource({ ...r, outputs: blind(r.outputs) as PropertyMap }, () => "[secret]").outputs ??
                    {},
                provider: r.provider,
            };
        return {
            op: s.op,
            urn: s.urn,
            type: s.type,
            old: state(s.old) ?? null,
            new: state(s.new) ?? null,
            keys: s.keys?.length ? s.keys : undefined,
            diffs: s.diffs?.length ? s.diffs : undefined,
            detailedDiff: s.detailedDiff
                ? Object.fromEntries(
                      Object.entries(s.detailedDiff).map(([k, v]) => [k, { diffKind: v.kind, inputDiff: v.inputDiff }]),
                  )
                : null,
            logical: s.logical || undefined,
            provider: s.provider,
        };
    }

    private body(e: EngineEvent): Record<string, unknown> | undefined {
        switch (e.kind) {
            case "prelude":
                return { preludeEvent: { config: e.config } };
            case "summary":
                return {
                    summaryEvent: {
                        maybeCorrupt: false,
                        durationSeconds: Math.ceil(e.seconds),
                        resourceChanges: e.changes,
                        policyPacks: {},
                        isPreview: e.preview,
                    },
                };
            case "diag":
                return {
                    diagnosticEvent: {
                        urn: e.urn || undefined,
                        prefix: e.prefix || undefined,
                        message: e.message,
                        color: "never",
                        severity: e.severity,
                        streamID: e.streamId || undefined,
                        ephemeral: e.ephemeral || undefined,
                    },
                };
            case "pre":
                return { resourcePreEvent: { metadata: this.metadata(e.step), planning: e.planning || undefined } };
            case "outputs":
                return { resOutputsEvent: { metadata: this.metadata(e.step), planning: e.planning || undefined } };
            case "failed":
                return { resOpFailedEvent: { metadata: this.metadata(e.step), status: 0, steps: 0 } };
        }
    }
}
