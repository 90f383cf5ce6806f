/** One step, the summary and the stack's outputs as text. */
import { OPS, type EngineEvent, type Op, type StepInfo } from "../events";
import { goEscape } from "../gotext";
import { isRootStack, parseReference, urnName } from "../urn";
import {
    Computed,
    deepEquals,
    diffMaps,
    isInternalKey,
    isObject,
    type ObjectDiff,
    type PropertyMap,
    UNKNOWN,
    type Value,
} from "../values";
import { diffKeys, isWorthPrinting, Printer, translateDetailedDiff, visibleDiff } from "./object";
import { BOLD, HEADLINE, opColor, PAST, rawPrefix, RED, RESET } from "./style";

export interface DisplayOptions {
    type: "diff" | "progress";
    json: boolean;
    showSames: boolean;
    showSecrets: boolean;
    showReplacementSteps: boolean;
    showConfig: boolean;
    suppressOutputs: boolean;
    truncate: boolean;
    showUrns: boolean;
    color: boolean;
    /** Verb for the Duration line etc.: is this a refresh? */
    refresh: boolean;
}

const REPLACEMENT: readonly Op[] = ["replace", "create-replacement", "delete-replaced"];

export function shouldShow(s: StepInfo, o: DisplayOptions): boolean {
    if (s.op === "same") return s.old?.protect !== s.new?.protect || o.showSames;
    if (!o.showReplacementSteps && (o.type === "diff" || o.json) && !s.logical && REPLACEMENT.includes(s.op))
        return false;
    return true;
}

/** URNs can hold characters that cannot be shown. */
export function escapeUrn(urn: string): string {
    return goEscape(urn).replaceAll("\\\\", "\\").replaceAll('\\"', '"');
}

export function retainFlag(status: string, s: StepInfo): string {
    const drops: Op[] = ["delete", "replace", "create-replacement", "delete-replaced"];
    return s.old?.retainOnDelete && drops.includes(s.op) ? `${status}[retain]` : status;
}

function indentOf(s: StepInfo, seen: Map<string, StepInfo>, o: DisplayOptions): number {
    let n = 0;
    for (let p = s.res.parent; p;) {
        const parent = seen.get(p);
        if (!parent) break;
        if (isRootStack(parent.urn) || shouldShow(parent, o)) n++;
        p = parent.res.parent;
    }
    return n;
}

const spaces = (n: number): string => "    ".repeat(n);

function header(s: StepInfo, indent: number, o: DisplayOptions): string {
    let lock = "";
    if (s.new && !s.new.protect && s.old?.protect) lock = " 🔓";
    else if (s.new?.protect || s.old?.protect) lock = " 🔒";
    const out = [
        spaces(indent),
        opColor(s.op),
        rawPrefix(s.op),
        o.showUrns ? s.urn : s.type,
        `: (${retainFlag(s.op, s)})${lock}\n`,
        RESET,
    ];
    const plainOp: Op = ["create", "delete", "delete-replaced", "discard"].includes(s.op) ? s.op : "same";
    const line = (text: string, op: Op = plainOp): void =>
        void out.push(opColor(op), spaces(indent + 1), text, "\n", RESET);
    if (s.old?.id) line(`[id=${s.old.id}]`);
    if (!o.showUrns) line(`[urn=${escapeUrn(s.urn)}]`);
    if (s.provider) {
        if (s.old && s.new && s.old.provider !== s.new.provider) {
            const ref = parseReference(s.new.provider);
            const now = ref.id === UNKNOWN ? `${ref.urn}::[unknown]` : s.new.provider;
            line(`[provider: ${s.old.provider} => ${now}]`, "update");
        } else if (urnName(parseReference(s.provider).urn) !== "default") line(`[provider=${s.provider}]`);
    }
    return out.join("");
}

function details(s: StepInfo, indent: number, planning: boolean, refresh: boolean, o: DisplayOptions): string {
    if (s.op === "same") return "";
    const out: string[] = [];
    const print = { planning, summary: false, truncate: o.truncate, showSecrets: o.showSecrets };
    const { old, new: now } = s;
    const at = indent + 1;
    const differs = (d: { diff: ObjectDiff | undefined; hidden: string[] }, same: PropertyMap): void => {
        if (d.diff) {
            const p = new Printer(out, print, at, "same", true);
            p.hidden(d.hidden);
            p.objectDiff(d.diff);
        } else new Printer(out, print, at, "same", true).object(same);
    };
    if (s.detailedDiff && old && now) differs(translateDetailedDiff(s.detailedDiff, old, now, refresh), old.inputs);
    else if (!old && now)
        new Printer(out, print, at, s.op).object(Object.keys(now.outputs).length > 0 ? now.outputs : now.inputs);
    else if (old && !now) {
        new Printer(out, print, at, s.op).object(old.inputs);
    } else if (old && now) {
        const hide = now.hideDiffs;
        if (Object.keys(now.outputs).length > 0) differs(visibleDiff(old.outputs, now.outputs, hide), now.outputs);
        else {
            const d = visibleDiff(old.inputs, now.inputs, hide);
            if (d.diff && s.diffs && s.diffs.length > 0) {
                const p = new Printer(out, print, at, "same", true);
                p.hidden(d.hidden);
                p.objectDiff(d.diff, s.diffs);
            } else differs(d, now.inputs);
        }
    }
    return out.join("");
}

/** What `--diff` shows when a step starts, or (imports, refreshes) ends. */
export function renderStep(
    s: StepInfo,
    planning: boolean,
    refresh: boolean,
    seen: Map<string, StepInfo>,
    o: DisplayOptions,
): string {
    const indent = indentOf(s, seen, o);
    return header(s, indent, o) + details(s, indent, planning, refresh, o) + RESET;
}

export function renderDiffEvent(e: EngineEvent, seen: Map<string, StepInfo>, o: DisplayOptions): string {
    if (e.kind === "pre") {
        seen.set(e.step.urn, e.step);
        if (e.step.op === "refresh") return "";
        return shouldShow(e.step, o) || isRootStack(e.step.urn) ? renderStep(e.step, e.planning, false, seen, o) : "";
    }
    if (e.kind === "outputs") {
        const s = e.step;
        if (!shouldShow(s, o) && !isRootStack(s.urn)) return "";
        const refresh = seen.get(s.urn)?.op === "refresh";
        if (refresh && s.op === "update") return renderStep(s, e.planning, true, seen, o);
        const indent = indentOf(s, seen, o);
        const text = outputsText(s, indent + 1, e.planning, refresh, o);
        let out = "";
        if (refresh && (s.op !== "refresh" || text || isRootStack(s.urn))) out += header(s, indent, o);
        if (!o.suppressOutputs && text) out += `${opColor(s.op)}${spaces(indent + 1)}--outputs:--${RESET}\n${text}`;
        return out;
    }
    if (e.kind === "diag" && e.severity !== "debug") return e.prefix + e.message;
    return "";
}

/** Output properties that say more than the inputs do. */
export function outputsText(
    s: StepInfo,
    indent: number,
    planning: boolean,
    refresh: boolean,
    o: DisplayOptions,
): string {
    const root = isRootStack(s.urn);
    const showSames = o.showSames || (!planning && root);
    if (planning && !refresh && !root) return "";
    if (s.old && s.old.initErrors.length > 0) return "";
    const ins = s.new?.inputs ?? {};
    const outs = s.new?.outputs ?? {};
    let diff: ObjectDiff | undefined;
    let hidden: string[] = [];
    if (s.old) {
        ({ diff, hidden } = visibleDiff(s.old.outputs, outs, s.new?.hideDiffs ?? s.old.hideDiffs));
        if (planning && root && diff) dropUnknownUpdates(diff);
        if (!diff && !showSames) return "";
    }
    const keys = diff ? diffKeys(diff) : Object.keys(outs).sort();
    const width = keys.reduce((n, k) => Math.max(n, k.length), 0);
    const out: string[] = [];
    const p = new Printer(
        out,
        { planning, summary: false, truncate: o.truncate, showSecrets: o.showSecrets },
        indent,
        s.op,
    );
    p.hidden(hidden);
    for (const k of keys) {
        const v: Value | undefined = outs[k];
        if (!diff && (isInternalKey(k) || !isWorthPrinting(v))) continue;
        if (k in ins && !refresh && v !== undefined && deepEquals(v, ins[k])) continue;
        if (!showSames && diff && k in diff.sames) continue;
        if (diff) p.propertyDiff(k, width, diff);
        else p.property(k, v!, width);
    }
    return out.join("");
}

/** In a preview, outputs that are merely not known yet are no news. */
function dropUnknownUpdates(d: ObjectDiff): void {
    for (const u of Object.values(d.updates)) if (u.object) dropUnknownUpdates(u.object);
    d.updates = Object.fromEntries(Object.entries(d.updates).filter(([, u]) => !(u.new instanceof Computed)));
}

export function summary(e: Extract<EngineEvent, { kind: "summary" }>, errored: number): string {
    const out = [`${HEADLINE}Resources:${RESET}\n`];
    let kinds = 0;
    let total = 0;
    for (const op of OPS) {
        const n = e.changes[op] ?? 0;
        if (op === "same" || op === "read" || n === 0) continue;
        kinds++;
        total += n;
        out.push(`    ${opColor(op)}${rawPrefix(op)}${n} ${e.preview ? `to ${op}` : PAST[op]}${RESET}\n`);
    }
    const pieces: string[] = [];
    if (kinds >= 2) pieces.push(`${BOLD}${total} ${total === 1 ? "change" : "changes"}${RESET}`);
    if (e.changes.same) pieces.push(`${e.changes.same} unchanged`);
    if (pieces.length > 0) out.push(`    ${pieces.join(". ")}\n`);
    if (errored > 0) out.push(`    ${RED}${errored} errored${RESET}\n`);
    if (!e.preview) out.push(`\n${HEADLINE}Duration:${RESET} ${duration(Math.ceil(e.seconds))}\n`);
    return out.join("");
}

/** Go's form: 1h2m3s. */
function duration(s: number): string {
    const h = Math.floor(s / 3600);
    const m = Math.floor((s % 3600) / 60);
    return `${h > 0 ? `${h}h` : ""}${h > 0 || m > 0 ? `${m}m` : ""}${s % 60}s`;
}

/** `[diff: ~stdin]` behind a resource. */
export function shortDiff(s: StepInfo): string {
    if (!s.old || !s.new) return "";
    let d: ObjectDiff | undefined;
    if (s.op !== "same")
        d = s.detailedDiff
            ? translateDetailedDiff(s.detailedDiff, s.old, s.new, false).diff
            : diffMaps(s.old.inputs, s.new.inputs, isInternalKey);
    const meta: string[] = [];
    if (s.old.provider !== s.new.provider) meta.push("provider");
    if (s.old.protect !== s.new.protect) meta.push("protect");
    if (!d && meta.length === 0) return "";
    const wanted = (k: string): boolean => !s.diffs?.length || s.diffs.includes(k);
    const part = (op: Op, keys: string[]): string =>
        keys.length > 0 ? `${opColor(op)}${rawPrefix(op).trim()}${keys.sort().join(",")}${RESET}` : "";
    const text =
        part("create", Object.keys(d?.adds ?? {}).filter(wanted)) +
        part("delete", Object.keys(d?.deletes ?? {}).filter(wanted)) +
        part("update", [...Object.keys(d?.updates ?? {}), ...meta].filter(wanted));
    return `diff: ${text}`;
}

export { isObject };
