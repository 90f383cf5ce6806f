/**
 * Property values as the engine sees them, their wire form (protobuf Struct with special signatures), and the
 * comparison of two property maps. Plain JSON values stand for themselves; everything else is one of the classes below.
 */
import { createHash } from "node:crypto";
import type { Untyped } from "./untyped";

/** Marks an object that is no plain object but a secret, an asset, ... (official constant). */
export const SIG_KEY = "4dabf18193072939515e22adb298388d";
const SIG_SECRET = "1b47061264138c4ac30d75fd1eb44270";
const SIG_ASSET = "c44067f5952c0a294b673a41bacd8c17";
const SIG_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7";
const SIG_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e";
const SIG_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4";
/** What stands for a value not known before the update, on the wire and in provider references. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

export class Secret {
    constructor(readonly element: Value) {}
}

/** A value that only the update will know. */
export class Computed {
    private constructor() {}
    static readonly value = new Computed();
}

export interface AssetContent {
    text?: string;
    path?: string;
    uri?: string;
}

export class Asset {
    constructor(
        readonly content: AssetContent,
        readonly hash: string,
    ) {}
}

export class Archive {
    constructor(
        readonly content: { path?: string; uri?: string; assets?: Record<string, Asset | Archive> },
        readonly hash: string,
    ) {}
}

export class ResourceReference {
    constructor(
        readonly urn: string,
        readonly id: Value | undefined,
        readonly packageVersion: string,
    ) {}
}

export type Value =
    null | boolean | number | string | Value[] | PropertyMap | Secret | Computed | Asset | Archive | ResourceReference;
export interface PropertyMap {
    [key: string]: Value;
}

export function isObject(v: Value | undefined): v is PropertyMap {
    return typeof v === "object" && v !== null && !Array.isArray(v) && Object.getPrototypeOf(v) === Object.prototype;
}

export function isPrimitive(v: Value): boolean {
    return v === null || typeof v !== "object" || v instanceof Computed || v instanceof Secret;
}

/** True for null and for nothing at all: what counts as "no value" in a diff. */
function hasValue(v: Value | undefined): v is Value {
    return v !== undefined && v !== null;
}

export function containsUnknowns(v: Value | undefined): boolean {
    if (v instanceof Computed) return true;
    if (v instanceof Secret) return containsUnknowns(v.element);
    if (Array.isArray(v)) return v.some(containsUnknowns);
    if (isObject(v)) return Object.values(v).some(containsUnknowns);
    if (v instanceof ResourceReference) return containsUnknowns(v.id);
    return false;
}

export function containsSecrets(v: Value | undefined): boolean {
    if (v instanceof Secret) return true;
    if (Array.isArray(v)) return v.some(containsSecrets);
    if (isObject(v)) return Object.values(v).some(containsSecrets);
    return false;
}

export function unwrapSecrets(v: Value): Value {
    if (v instanceof Secret) return unwrapSecrets(v.element);
    if (Array.isArray(v)) return v.map(unwrapSecrets);
    if (isObject(v)) return mapObject(v, unwrapSecrets);
    return v;
}

export function mapObject(m: PropertyMap, f: (v: Value, k: string) => Value): PropertyMap {
    const out: PropertyMap = {};
    for (const k of Object.keys(m)) out[k] = f(m[k]!, k);
    return out;
}

/* ---------- wire form ---------- */

/**
 * Reads what a Struct's toJavaScript() gave. Nulls of top-level properties are dropped as the official engine does
 * for inputs unless keepNulls is set.
 */
export function fromWire(raw: unknown): Value {
    if (raw === UNKNOWN) return Computed.value;
    if (raw === null || raw === undefined) return null;
    if (typeof raw === "boolean" || typeof raw === "number" || typeof raw === "string") return raw;
    if (Array.isArray(raw)) return raw.map(fromWire);
    const o = raw as Record<string, unknown>;
    switch (o[SIG_KEY]) {
        case undefined: {
            const out: PropertyMap = {};
            for (const k of Object.keys(o)) out[k] = fromWire(o[k]);
            return out;
        }
        case SIG_SECRET:
            return makeSecret(fromWire(o.value));
        case SIG_OUTPUT: {
            const v = "value" in o ? fromWire(o.value) : Computed.value;
            return o.secret ? makeSecret(v) : v;
        }
        case SIG_RESOURCE:
            return new ResourceReference(
                String(o.urn),
                "id" in o ? fromWire(o.id) : undefined,
                String(o.packageVersion ?? ""),
            );
        case SIG_ASSET:
            return readAsset(o);
        case SIG_ARCHIVE:
            return readArchive(o);
        default:
            throw new Error(`unrecognized signature ${String(o[SIG_KEY])} in a property value`);
    }
}

export function makeSecret(v: Value): Secret {
    return v instanceof Secret ? v : new Secret(v);
}

function hash(parts: (string | Buffer)[]): string {
    const h = createHash("sha256");
    for (const p of parts) h.update(p);
    return h.digest("hex");
}

function readAsset(o: Record<string, unknown>): Asset {
    if (typeof o.text === "string" && (o.text !== "" || !("path" in o || "uri" in o)))
        return new Asset({ text: o.text }, hash([o.text]));
    if (typeof o.path === "string" && o.path) return new Asset({ path: o.path }, String(o.hash ?? ""));
    if (typeof o.uri === "string" && o.uri) throw new Error("assets from a URI are not supported");
    throw new Error("an asset must have a text or a path");
}

function readArchive(o: Record<string, unknown>): Archive {
    if (typeof o.path === "string" && o.path) return new Archive({ path: o.path }, String(o.hash ?? ""));
    if (typeof o.uri === "string" && o.uri) throw new Error("archives from a URI are not supported");
    if (o.assets && typeof o.assets === "object") {
        const assets: Record<string, Asset | Archive> = {};
        for (const [k, v] of Object.entries(o.assets)) {
            const a = fromWire(v);
            if (!(a instanceof Asset) && !(a instanceof Archive)) throw new Error(`archive entry ${k} is no asset`);
            assets[k] = a;
        }
        return new Archive({ assets }, String(o.hash ?? ""));
    }
    throw new Error("an archive must have a path or assets");
}

/** The form that Struct.fromJavaScript() takes. With keepSecrets false, secrets are given bare. */
export function toWire(v: Value, keepSecrets = true): Untyped {
    if (v instanceof Computed) return UNKNOWN;
    if (v instanceof Secret)
        return keepSecrets
            ? { [SIG_KEY]: SIG_SECRET, value: toWire(v.element, keepSecrets) }
            : toWire(v.element, keepSecrets);
    if (v instanceof Asset) return { [SIG_KEY]: SIG_ASSET, hash: v.hash, ...v.content };
    if (v instanceof Archive) {
        const { assets, ...rest } = v.content;
        const out: Record<string, unknown> = { [SIG_KEY]: SIG_ARCHIVE, hash: v.hash, ...rest };
        if (assets) out.assets = Object.fromEntries(Object.entries(assets).map(([k, a]) => [k, toWire(a)]));
        return out;
    }
    if (v instanceof ResourceReference)
        return {
            [SIG_KEY]: SIG_RESOURCE,
            urn: v.urn,
            packageVersion: v.packageVersion,
            ...(v.id === undefined ? {} : { id: toWire(v.id) }),
        };
    if (Array.isArray(v)) return v.map((e) => toWire(e, keepSecrets));
    if (isObject(v)) {
        const out: Record<string, unknown> = {};
        for (const k of Object.keys(v)) out[k] = toWire(v[k]!, keepSecrets);
        return out;
    }
    return v;
}

/** Plain JSON for display, with each secret replaced by what `secret` returns. */
export function toDisplayJSON(v: Value, secret: (s: Secret) => Value): Untyped {
    if (v instanceof Secret) {
        const r = secret(v);
        return r instanceof Secret ? toDisplayJSON(r.element, secret) : toDisplayJSON(r, secret);
    }
    if (Array.isArray(v)) return v.map((e) => toDisplayJSON(e, secret));
    if (isObject(v)) {
        const out: Record<string, unknown> = {};
        for (const k of Object.keys(v).sort()) out[k] = toDisplayJSON(v[k]!, secret);
        return out;
    }
    return toWire(v);
}

/* ---------- paths ---------- */

export type PropertyPath = (string | number)[];

/** Reads `a.b[0]["c d"]`; `[*]` and `*` are wildcards. Throws on malformed text. */
export function parsePath(text: string): PropertyPath {
    const path: PropertyPath = [];
    let i = text.startsWith(".") ? 1 : 0;
    while (i < text.length) {
        const c = text[i]!;
        if (c === ".") {
            i++;
            if (i >= text.length) throw new Error(`invalid property path ${JSON.stringify(text)}: expected a property`);
        } else if (c === "[") {
            if (text[i + 1] === '"') {
                let key = "";
                let j = i + 2;
                for (; j < text.length && text[j] !== '"'; j++) {
                    if (text[j] === "\\" && text[j + 1] === '"') j++;
                    key += text[j];
                }
                if (text.slice(j, j + 2) !== '"]')
                    throw new Error(`invalid property path ${JSON.stringify(text)}: missing closing quote`);
                path.push(key);
                i = j + 2;
            } else {
                const end = text.indexOf("]", i);
                if (end < 0) throw new Error(`invalid property path ${JSON.stringify(text)}: missing closing bracket`);
                const inner = text.slice(i + 1, end);
                if (inner === "*") path.push("*");
                else if (/^\d+$/.test(inner)) path.push(Number(inner));
                else throw new Error(`invalid property path ${JSON.stringify(text)}: invalid array index`);
                i = end + 1;
            }
        } else {
            let j = i;
            while (j < text.length && text[j] !== "." && text[j] !== "[") j++;
            path.push(text.slice(i, j));
            i = j;
        }
    }
    return path;
}

export function formatPath(path: PropertyPath): string {
    let out = "";
    for (const [i, p] of path.entries()) {
        if (typeof p === "number") out += `[${p}]`;
        else if (/^[\p{L}_$][\p{L}\p{N}_$-]*$/u.test(p)) out += (i > 0 ? "." : "") + p;
        else out += `["${p.replaceAll('"', '\\"')}"]`;
    }
    return out;
}

/** Is `other` at or below `path`? */
export function pathContains(path: PropertyPath, other: PropertyPath): boolean {
    if (other.length < path.length) return false;
    return path.every((p, i) => p === "*" || p === other[i]);
}

/** The value at a path; undefined when a part of the path is not there. Looks through secrets. */
export function getPath(v: Value | undefined, path: PropertyPath): Value | undefined {
    for (const p of path) {
        if (v instanceof Secret) v = v.element;
        if (typeof p === "number") v = Array.isArray(v) ? v[p] : undefined;
        else v = isObject(v) ? v[p] : undefined;
        if (v === undefined) return undefined;
    }
    return v;
}

/**
 * ignoreChanges: the inputs with the value at each path put back to the old one. Paths that exist on neither side are
 * left alone. Throws when a path cannot be applied.
 */
export function resetPaths(inputs: PropertyMap, old: PropertyMap, paths: readonly string[]): PropertyMap {
    let result: Value = inputs;
    for (const text of paths) result = resetOne(result, old, parsePath(text), text) ?? {};
    return result as PropertyMap;
}

function resetOne(cur: Value | undefined, old: Value | undefined, path: PropertyPath, text: string): Value | undefined {
    const [head, ...rest] = path;
    if (head === undefined) return old;
    if (cur instanceof Secret || old instanceof Secret) {
        const inner = resetOne(
            cur instanceof Secret ? cur.element : cur,
            old instanceof Secret ? old.element : old,
            path,
            text,
        );
        return inner === undefined ? undefined : new Secret(inner);
    }
    if (head === "*") {
        if (Array.isArray(cur) && Array.isArray(old))
            return cur.map((e, i) => (i < old.length ? resetOne(e, old[i], rest, text)! : e));
        if (isObject(cur) && isObject(old)) {
            let out: Value = cur;
            for (const k of new Set([...Object.keys(cur), ...Object.keys(old)]))
                out = resetOne(out, old, [k, ...rest], text)!;
            return out;
        }
        return cur;
    }
    if (typeof head === "number") {
        const o = Array.isArray(old) ? old[head] : undefined;
        if (!Array.isArray(cur)) return o === undefined ? cur : fail(text);
        if (head >= cur.length && o === undefined) return cur;
        if (head > cur.length) return fail(text);
        const out = [...cur];
        const v = resetOne(cur[head], o, rest, text);
        if (v !== undefined) out[head] = v;
        else out.splice(head, 1);
        return out;
    }
    const o = isObject(old) ? old[head] : undefined;
    if (!isObject(cur)) return o === undefined ? cur : fail(text);
    if (!(head in cur) && o === undefined) return cur;
    const others: PropertyMap = Object.fromEntries(Object.entries(cur).filter(([k]) => k !== head));
    const v = resetOne(cur[head], o, rest, text);
    return v === undefined ? others : { ...cur, [head]: v };
}

function fail(text: string): never {
    throw new Error(
        `cannot ignore changes to the following properties because one or more elements of the path are missing: ${JSON.stringify(text)}`,
    );
}

/* ---------- diff ---------- */

export interface ValueDiff {
    old: Value;
    new: Value;
    array?: ArrayDiff;
    object?: ObjectDiff;
}
export interface ObjectDiff {
    adds: Record<string, Value>;
    deletes: Record<string, Value>;
    sames: Record<string, Value>;
    updates: Record<string, ValueDiff>;
}
export interface ArrayDiff {
    adds: Map<number, Value>;
    deletes: Map<number, Value>;
    sames: Map<number, Value>;
    updates: Map<number, ValueDiff>;
}

export function emptyObjectDiff(): ObjectDiff {
    return { adds: {}, deletes: {}, sames: {}, updates: {} };
}

/** Keys that no diff shows: the engine's own. */
export const isInternalKey = (k: string): boolean => k.startsWith("__");

/** What differs, or undefined. Nulls and missing properties are the same. */
export function diffMaps(
    old: PropertyMap,
    now: PropertyMap,
    ignore: (k: string) => boolean = () => false,
): ObjectDiff | undefined {
    const d = emptyObjectDiff();
    let any = false;
    for (const k of Object.keys(old)) {
        if (ignore(k)) continue;
        const o = old[k]!;
        if (k in now) {
            const v = diffValues(o, now[k]!, ignore);
            if (!v) d.sames[k] = o;
            else {
                any = true;
                if (!hasValue(o)) d.adds[k] = now[k]!;
                else if (!hasValue(now[k])) d.deletes[k] = o;
                else d.updates[k] = v;
            }
        } else if (hasValue(o)) {
            d.deletes[k] = o;
            any = true;
        }
    }
    for (const k of Object.keys(now)) {
        if (ignore(k) || k in old || !hasValue(now[k])) continue;
        d.adds[k] = now[k]!;
        any = true;
    }
    return any ? d : undefined;
}

export function diffValues(
    old: Value,
    now: Value,
    ignore: (k: string) => boolean = () => false,
): ValueDiff | undefined {
    if (Array.isArray(old) && Array.isArray(now)) {
        const d: ArrayDiff = { adds: new Map(), deletes: new Map(), sames: new Map(), updates: new Map() };
        for (let i = old.length; i < now.length; i++) d.adds.set(i, now[i]!);
        for (let i = now.length; i < old.length; i++) d.deletes.set(i, old[i]!);
        for (let i = 0; i < Math.min(old.length, now.length); i++) {
            const e = diffValues(old[i]!, now[i]!, ignore);
            if (e) d.updates.set(i, e);
            else d.sames.set(i, old[i]!);
        }
        return d.adds.size + d.deletes.size + d.updates.size > 0 ? { old, new: now, array: d } : undefined;
    }
    if (isObject(old) && isObject(now)) {
        const d = diffMaps(old, now, ignore);
        return d && { old, new: now, object: d };
    }
    return deepEquals(old, now) ? undefined : { old, new: now };
}

export function deepEquals(a: Value | undefined, b: Value | undefined): boolean {
    if (a === b) return !(a instanceof Computed);
    if (!hasValue(a) || !hasValue(b)) return !hasValue(a) && !hasValue(b);
    if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((e, i) => deepEquals(e, b[i]));
    if (a instanceof Secret) return b instanceof Secret && deepEquals(a.element, b.element);
    if (a instanceof Asset) return b instanceof Asset && a.hash === b.hash;
    if (a instanceof Archive) return b instanceof Archive && a.hash === b.hash;
    if (a instanceof ResourceReference)
        return b instanceof ResourceReference && a.urn === b.urn && deepEquals(a.id, b.id);
    if (isObject(a)) {
        if (!isObject(b)) return false;
        for (const k of Object.keys(a)) if (!deepEquals(a[k], b[k])) return false;
        for (const k of Object.keys(b)) if (!(k in a) && hasValue(b[k])) return false;
        return true;
    }
    return false;
}

/* ---------- detailed diffs, as providers give them ---------- */

export type DiffKind = "add" | "add-replace" | "delete" | "delete-replace" | "update" | "update-replace";
export interface PropertyDiff {
    kind: DiffKind;
    inputDiff: boolean;
}
export type DetailedDiff = Record<string, PropertyDiff>;

/** One entry per changed leaf, with the path as key. */
export function detailedDiff(diff: ObjectDiff | undefined, inputDiff = false): DetailedDiff {
    const out: DetailedDiff = {};
    const ofValue = (path: PropertyPath, d: ValueDiff): void => {
        if (d.object) ofObject(path, d.object);
        else if (d.array) {
            for (const [i, e] of d.array.updates) ofValue([...path, i], e);
            for (const i of d.array.adds.keys()) out[formatPath([...path, i])] = { kind: "add", inputDiff };
            for (const i of d.array.deletes.keys()) out[formatPath([...path, i])] = { kind: "delete", inputDiff };
        } else {
            const kind = d.old === null ? "add" : d.new === null ? "delete" : "update";
            out[formatPath(path)] = { kind, inputDiff };
        }
    };
    const ofObject = (path: PropertyPath, d: ObjectDiff): void => {
        for (const k of Object.keys(d.updates)) ofValue([...path, k], d.updates[k]!);
        for (const k of Object.keys(d.adds)) out[formatPath([...path, k])] = { kind: "add", inputDiff };
        for (const k of Object.keys(d.deletes)) out[formatPath([...path, k])] = { kind: "delete", inputDiff };
    };
    if (diff) ofObject([], diff);
    return out;
}

export function toReplace(kind: DiffKind): DiffKind {
    return kind.endsWith("-replace") ? kind : (`${kind}-replace` as DiffKind);
}
