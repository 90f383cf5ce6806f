/** Property values and their differences as text, in the official command line's form. */
import { diff_match_patch as DiffMatchPatch } from "diff-match-patch";
import { parseAllDocuments } from "yaml";
import type { Op } from "../events";
import { goEscape, goQuote } from "../gotext";
import {
    Archive,
    Asset,
    Computed,
    type DetailedDiff,
    deepEquals,
    diffMaps,
    diffValues,
    emptyObjectDiff,
    isInternalKey,
    isObject,
    isPrimitive,
    type ObjectDiff,
    parsePath,
    pathContains,
    type PropertyMap,
    type PropertyPath,
    ResourceReference,
    Secret,
    toWire,
    type Value,
    type ValueDiff,
} from "../values";
import { opColor, rawPrefix, RESET } from "./style";

/** Lines of context around a change. */
const CONTEXT = 2;
const MAX_LINES = 3;
const MAX_LINE_LENGTH = 150;

export interface PrintOptions {
    planning: boolean;
    /** Leave out what did not change. */
    summary: boolean;
    truncate: boolean;
    showSecrets: boolean;
}

const stable = (keys: Iterable<string>): string[] => [...keys].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
const maxLength = (keys: string[]): number => keys.reduce((n, k) => Math.max(n, k.length), 0);

export function diffKeys(d: ObjectDiff): string[] {
    return stable(
        new Set([
            ...Object.keys(d.adds),
            ...Object.keys(d.deletes),
            ...Object.keys(d.sames),
            ...Object.keys(d.updates),
        ]),
    );
}

/** Is there anything to see? Nulls and empty things clutter. */
export function isWorthPrinting(v: Value | undefined): v is Value {
    if (v === undefined || v === null || v === "") return false;
    if (Array.isArray(v)) return v.length > 0;
    return !isObject(v) || Object.keys(v).length > 0;
}

type Title = (p: Printer) => void;

export class Printer {
    constructor(
        private readonly out: string[],
        private readonly o: PrintOptions,
        private readonly indent: number,
        private readonly op: Op = "same",
        private readonly prefix = false,
    ) {}

    private indented(n: number): Printer {
        return new Printer(this.out, this.o, this.indent + n, this.op, this.prefix);
    }
    private with(op: Op, prefix = this.prefix): Printer {
        return new Printer(this.out, this.o, this.indent, op, prefix);
    }
    private raw(s: string): void {
        this.out.push(opColor(this.op), s, RESET);
    }
    private plainIndented(s: string): void {
        this.raw("    ".repeat(this.indent) + s);
    }
    private write(s: string): void {
        const spaces = "    ".repeat(this.indent);
        this.raw((this.prefix && spaces ? spaces.slice(0, -2) + rawPrefix(this.op) : spaces) + s);
    }
    private cut(s: string): string {
        return this.o.truncate ? truncate(s) : s;
    }

    private title(name: string, width: number): void {
        this.write(`${this.cut(name).padEnd(width)}: `);
    }

    object(m: PropertyMap): void {
        const keys = stable(Object.keys(m));
        const width = maxLength(keys);
        for (const k of keys) if (!isInternalKey(k)) this.property(k, m[k]!, width);
    }

    property(key: string, v: Value, width: number): void {
        this.title(key, width);
        this.value(v);
    }

    private value(v: Value): void {
        this.valueOnly(v);
        this.raw("\n");
    }

    private valueOnly(v: Value): void {
        if (v instanceof Secret && this.o.showSecrets) this.valueOnly(v.element);
        else if (isPrimitive(v)) this.primitive(v);
        else if (Array.isArray(v)) {
            if (v.length === 0) return this.raw("[]");
            this.raw("[\n");
            for (const [i, e] of v.entries()) {
                this.write(`    [${i}]: `);
                this.indented(1).value(e);
            }
            this.plainIndented("]");
        } else if (v instanceof Asset) {
            if (v.content.text !== undefined) {
                this.raw(`asset(text:${v.hash.slice(0, 7)}) {\n`);
                for (const l of v.content.text.split("\n")) this.plainIndented(`    ${l}\n`);
                this.plainIndented("}");
            } else this.raw(`asset(file:${v.hash.slice(0, 7)}) { ${v.content.path} }`);
        } else if (v instanceof Archive) {
            if (v.content.assets) {
                this.raw(`archive(assets:${v.hash.slice(0, 7)}) {\n`);
                for (const k of stable(Object.keys(v.content.assets))) {
                    this.write(`    "${k}": `);
                    this.indented(1).value(v.content.assets[k]!);
                }
                this.plainIndented("}");
            } else this.raw(`archive(file:${v.hash.slice(0, 7)}) { ${v.content.path} }`);
        } else if (v instanceof ResourceReference) {
            this.raw("{\n");
            const p = this.indented(1);
            p.title("URN", 3);
            p.raw(`${goQuote(v.urn)}\n`);
            this.plainIndented("}");
        } else if (isObject(v)) {
            if (Object.keys(v).length === 0) return this.raw("{}");
            this.raw("{\n");
            this.indented(1).object(v);
            this.plainIndented("}");
        } else this.raw(JSON.stringify(toWire(v)));
    }

    private primitive(v: Value): void {
        if (v === null) this.raw("<null>");
        else if (typeof v === "string") {
            const decoded = decode(v);
            if (decoded) {
                this.raw(`(${decoded.kind}) `);
                this.value(decoded.value);
            } else this.raw(goQuote(this.cut(v)));
        } else if (v instanceof Computed) this.raw("[unknown]");
        else if (v instanceof Secret) this.raw("[secret]");
        else this.raw(String(v));
    }

    hidden(paths: readonly string[]): void {
        for (const p of paths) this.with("update", true).write(`${p} (hidden)\n`);
    }

    objectDiff(d: ObjectDiff, include?: readonly string[]): void {
        let keys = diffKeys(d);
        if (include) keys = keys.filter((k) => include.includes(k));
        const width = maxLength(keys);
        for (const k of keys) this.propertyDiff(k, width, d);
    }

    propertyDiff(key: string, width: number, d: ObjectDiff): void {
        const title: Title = (p) => p.title(key, width);
        if (key in d.adds) this.add(d.adds[key]!, title);
        else if (key in d.deletes) this.del(d.deletes[key]!, title);
        else if (key in d.updates) this.valueDiff(title, d.updates[key]!);
        else if (!this.o.summary && isWorthPrinting(d.sames[key]))
            this.with("same", false).property(key, d.sames[key]!, width);
    }

    private add(v: Value, title: Title): void {
        const p = this.with("create", true);
        title(p);
        p.value(v);
    }

    private del(v: Value, title: Title): void {
        const p = this.with("delete", true);
        title(p);
        p.value(v);
    }

    private valueDiff(title: Title, d: ValueDiff): void {
        const p = this.with("update", true);
        if (this.o.showSecrets && (d.old instanceof Secret || d.new instanceof Secret)) {
            const bare = (v: Value): Value => (v instanceof Secret ? v.element : v);
            const e = diffValues(bare(d.old), bare(d.new));
            if (e) return p.valueDiff(title, e);
        }
        if (d.array) {
            title(p);
            p.raw("[\n");
            const a = d.array;
            const length = Math.max(
                0,
                ...[a.adds, a.deletes, a.sames, a.updates].flatMap((m) => [...m.keys()].map((i) => i + 1)),
            );
            for (let i = 0; i < length; i++) {
                const e = p.indented(2);
                const t: Title = (q) => q.indented(-1).write(`[${i}]: `);
                if (a.adds.has(i)) e.add(a.adds.get(i)!, t);
                else if (a.deletes.has(i)) e.del(a.deletes.get(i)!, t);
                else if (a.updates.has(i)) e.valueDiff(t, a.updates.get(i)!);
                else if (a.sames.has(i) && !this.o.summary) {
                    const s = e.with("same", false);
                    t(s);
                    s.value(a.sames.get(i)!);
                }
            }
            p.plainIndented("]\n");
        } else if (d.object) {
            title(p);
            p.raw("{\n");
            p.indented(1).objectDiff(d.object);
            p.plainIndented("}\n");
        } else {
            const old = isWorthPrinting(d.old);
            const now = isWorthPrinting(d.new);
            if (old && now && isPrimitive(d.old) && isPrimitive(d.new)) {
                title(p);
                if (typeof d.old === "string" && typeof d.new === "string") return p.textDiff(d.old, d.new);
                p.with("delete").primitive(d.old);
                p.raw(" => ");
                p.with("create").primitive(d.new);
                return p.raw("\n");
            }
            if (old && now && d.old instanceof Asset && d.new instanceof Asset) return p.assetDiff(title, d.old, d.new);
            if (old) p.del(d.old, title);
            if (now) p.add(d.new, title);
        }
    }

    private assetDiff(title: Title, a: Asset, b: Asset): void {
        const change = (x: string, y: string): string => (x === y ? x : `${x}->${y}`);
        const hash = change(a.hash.slice(0, 7), b.hash.slice(0, 7));
        if (a.content.text !== undefined && b.content.text !== undefined) {
            title(this);
            this.raw(`asset(text:${hash}) {`);
            this.indented(1).textDiff(a.content.text, b.content.text);
            this.plainIndented("}\n");
        } else if (a.content.path !== undefined && b.content.path !== undefined) {
            title(this);
            this.raw(`asset(file:${hash}) { ${change(a.content.path, b.content.path)} }\n`);
        } else {
            this.del(a, title);
            this.add(b, title);
        }
    }

    private textDiff(old: string, now: string): void {
        const a = decode(old);
        const b = decode(now);
        if (a && b) {
            if (deepEquals(a.value, b.value)) return this.textDiff(goQuote(old), goQuote(now));
            this.raw(a.kind === b.kind ? `(${a.kind}) ` : `(${a.kind} => ${b.kind}) `);
            const d = diffValues(a.value, b.value, isInternalKey);
            if (d) this.valueDiff(() => undefined, d);
            return;
        }
        const dmp = new DiffMatchPatch();
        dmp.Diff_Timeout = 0;
        if (!old.includes("\n") && !now.includes("\n")) {
            const d = dmp.diff_main(old, now, false);
            dmp.diff_cleanupEfficiency(d);
            this.characterDiff(d);
        } else {
            const c = dmp.diff_linesToChars_(old, now);
            const d = dmp.diff_main(c.chars1, c.chars2, false);
            dmp.diff_charsToLines_(d, c.lineArray);
            this.indented(1).lineDiff(d);
        }
    }

    private characterDiff(diffs: [number, string][]): void {
        const side = (skip: number, op: Op): void => {
            this.raw('"');
            for (const [kind, text] of diffs)
                if (kind !== skip) this.with(kind === 0 ? "same" : op).raw(goEscape(text));
            this.raw('"');
        };
        side(1, "delete");
        this.raw(" => ");
        side(-1, "create");
        this.raw("\n");
    }

    private lineDiff(diffs: [number, string][]): void {
        this.raw("\n");
        const put = (op: Op, lines: string[]): void => {
            for (const l of lines) {
                if (l.trim() === "") continue;
                this.with(op, op !== "same").write(this.cut(l));
                this.out.push("\n");
            }
        };
        const gap = (): void => this.with("same", false).write("...\n");
        for (const [i, [kind, text]] of diffs.entries()) {
            const lines = text.split("\n");
            if (kind === 1) put("create", lines);
            else if (kind === -1) put("delete", lines);
            else {
                const full = lines.filter((l) => l.trim() !== "");
                if (i === 0 && full.length > CONTEXT + 1) {
                    gap();
                    put("same", full.slice(-CONTEXT));
                } else if (i > 0 && i === diffs.length - 1 && full.length > CONTEXT + 1) {
                    put("same", full.slice(0, CONTEXT));
                    gap();
                } else if (i > 0 && i < diffs.length - 1 && full.length > 2 * CONTEXT + 1) {
                    put("same", full.slice(0, CONTEXT));
                    gap();
                    put("same", full.slice(-CONTEXT));
                } else put("same", full);
            }
        }
    }
}

function truncate(s: string): string {
    const lines = s.split("\n");
    let cut = lines.length > MAX_LINES;
    for (let i = 0; i < Math.min(lines.length, MAX_LINES); i++)
        if (lines[i]!.length > MAX_LINE_LENGTH) {
            lines[i] = `${lines[i]!.slice(0, MAX_LINE_LENGTH)}...`;
            cut = true;
        }
    if (!cut) return s;
    return lines.length <= MAX_LINES ? lines.join("\n") : `${lines.slice(0, MAX_LINES).join("\n")}\n...`;
}

/** Strings that are JSON or (on several lines) YAML of a map or list are shown as such. */
function decode(text: string): { value: Value; kind: "json" | "yaml" } | undefined {
    const t = text.trim();
    const ok = (v: unknown): v is Value => typeof v === "object" && v !== null;
    if (/^[[{]/.test(t)) {
        try {
            const v: unknown = JSON.parse(t);
            if (ok(v)) return { value: v, kind: "json" };
        } catch {
            // maybe YAML
        }
    }
    if (!/[\r\n]/.test(t)) return undefined;
    try {
        const docs = parseAllDocuments(t, { logLevel: "silent" });
        if (!Array.isArray(docs) || docs.length !== 1 || docs[0]!.errors.length > 0) return undefined;
        const v: unknown = JSON.parse(JSON.stringify(docs[0]!.toJS()));
        if (ok(v)) return { value: v, kind: "yaml" };
    } catch {
        // no YAML either
    }
    return undefined;
}

/* ---------- from a provider's detailed diff to one that can be printed ---------- */

function child(key: string | number, v: Value | undefined): Value | undefined {
    if (Array.isArray(v)) return typeof key === "number" ? v[key] : undefined;
    if (v instanceof Computed || v instanceof Secret) return v;
    if (v !== undefined && isObject(v)) return typeof key === "string" ? v[key] : undefined;
    return undefined;
}

function addDiff(
    path: PropertyPath,
    kind: string,
    parent: ValueDiff,
    oldParent: Value | undefined,
    newParent: Value | undefined,
): void {
    const [key, ...rest] = path;
    const old = child(key!, oldParent);
    const now = child(key!, newParent);
    const put = {
        add(v: Value | undefined): void {
            const e = v === undefined ? Computed.value : v;
            if (typeof key === "number") arrayOf(parent).adds.set(key, e);
            else objectOf(parent).adds[key!] = e;
        },
        del(v: Value | undefined): void {
            const e = v === undefined ? Computed.value : v;
            if (typeof key === "number") arrayOf(parent).deletes.set(key, e);
            else objectOf(parent).deletes[key!] = e;
        },
        update(d: ValueDiff): void {
            if (typeof key === "number") arrayOf(parent).updates.set(key, d);
            else objectOf(parent).updates[key!] = d;
        },
        current(): ValueDiff | undefined {
            return typeof key === "number" ? arrayOf(parent).updates.get(key) : objectOf(parent).updates[key!];
        },
    };
    if (rest.length === 0) {
        if (kind.startsWith("add")) put.add(now);
        else if (kind.startsWith("delete")) put.del(old);
        else put.update(diffValues(old ?? null, now ?? null) ?? { old: old ?? null, new: now ?? null });
        return;
    }
    const empty = (v: Value | undefined): boolean => v === undefined || v === null;
    if (empty(old) && !empty(now)) put.add(now);
    else if (!empty(old) && empty(now)) put.del(old);
    else {
        const d = put.current() ?? { old: old ?? null, new: now ?? null };
        addDiff(rest, kind, d, old, now);
        put.update(d);
    }
}

function arrayOf(d: ValueDiff): NonNullable<ValueDiff["array"]> {
    return (d.array ??= { adds: new Map(), deletes: new Map(), sames: new Map(), updates: new Map() });
}
function objectOf(d: ValueDiff): ObjectDiff {
    return (d.object ??= emptyObjectDiff());
}

export interface StateParts {
    inputs: PropertyMap;
    outputs: PropertyMap;
    hideDiffs: string[];
}

export function translateDetailedDiff(
    detailed: DetailedDiff,
    old: StateParts,
    now: StateParts,
    refresh: boolean,
): { diff: ObjectDiff | undefined; hidden: string[] } {
    const root: ValueDiff = { old: null, new: null };
    const hidden = new Set<string>();
    const hide = now.hideDiffs.map((h) => ({ text: h, path: parsePath(h) }));
    for (const p of stable(Object.keys(detailed))) {
        const d = detailed[p]!;
        const path = parsePath(p);
        const h = hide.find((x) => pathContains(x.path, path));
        if (h) {
            hidden.add(h.text);
            continue;
        }
        addDiff(
            path,
            d.kind,
            root,
            d.inputDiff ? old.inputs : old.outputs,
            refresh && !d.inputDiff ? now.outputs : now.inputs,
        );
    }
    return { diff: root.object, hidden: stable(hidden) };
}

/** A diff of two property maps without the engine's own keys and without hidden paths. */
export function visibleDiff(
    old: PropertyMap,
    now: PropertyMap,
    hideDiffs: readonly string[],
): { diff: ObjectDiff | undefined; hidden: string[] } {
    const diff = diffMaps(old, now, isInternalKey);
    if (!diff || hideDiffs.length === 0) return { diff, hidden: [] };
    const tops = new Map(hideDiffs.map((h) => [String(parsePath(h)[0]), h]));
    const hidden = new Set<string>();
    const rest = diffMaps(old, now, (k) => {
        const h = tops.get(k);
        if (h === undefined) return isInternalKey(k);
        if (k in diff.adds || k in diff.deletes || k in diff.updates) hidden.add(h);
        return true;
    });
    return { diff: rest ?? (hidden.size > 0 ? emptyObjectDiff() : undefined), hidden: stable(hidden) };
}
