/**
 * The package `random`: RandomPassword, RandomString, RandomId, RandomBytes, RandomUuid, RandomInteger. Values are made
 * once; any changed input replaces. Limits and default characters as in the Terraform provider behind the official one.
 */
import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { hash as bcrypt } from "bcryptjs";
import { notSupported } from "../errors";
import {
    Computed,
    containsUnknowns,
    detailedDiff,
    diffMaps,
    isInternalKey,
    makeSecret,
    type PropertyMap,
    Secret,
    unwrapSecrets,
    type Value,
} from "../values";
import {
    type CheckResult,
    diffOf,
    type DiffResult,
    noDiff,
    type PackageDefinition,
    type Provider,
    type Request,
} from "./provider";
import type { Untyped } from "../untyped";

const SPECIAL = "!@#$%&*()-_=+[]{}<>:?";
const LOWER = "abcdefghijklmnopqrstuvwxyz";
const UPPER = LOWER.toUpperCase();
const DIGITS = "0123456789";
const BCRYPT_COST = 10;
/** bcrypt looks at no more. */
const BCRYPT_MAX_BYTES = 72;

type Kind = "int" | "bool" | "string" | "map";
interface Type {
    inputs: Record<string, Kind>;
    required: string[];
    /** Outputs that are no inputs. */
    outputs: string[];
    secret: string[];
    defaults: PropertyMap;
    make(inputs: Record<string, Untyped>): Promise<{ id: string; outputs: PropertyMap }>;
}

const TEXT: Record<string, Kind> = {
    keepers: "map",
    length: "int",
    lower: "bool",
    minLower: "int",
    minNumeric: "int",
    minSpecial: "int",
    minUpper: "int",
    number: "bool",
    numeric: "bool",
    overrideSpecial: "string",
    special: "bool",
    upper: "bool",
};
const TEXT_DEFAULTS: PropertyMap = {
    lower: true,
    minLower: 0,
    minNumeric: 0,
    minSpecial: 0,
    minUpper: 0,
    number: true,
    numeric: true,
    special: true,
    upper: true,
};

const TYPES: Record<string, Type> = {
    "random:index/randomPassword:RandomPassword": {
        inputs: TEXT,
        required: ["length"],
        outputs: ["result", "bcryptHash"],
        secret: ["result", "bcryptHash"],
        defaults: TEXT_DEFAULTS,
        async make(i) {
            const result = randomText(i);
            const bytes = Buffer.from(result).subarray(0, BCRYPT_MAX_BYTES).toString();
            return { id: "none", outputs: { result, bcryptHash: await bcrypt(bytes, BCRYPT_COST) } };
        },
    },
    "random:index/randomString:RandomString": {
        inputs: TEXT,
        required: ["length"],
        outputs: ["result"],
        secret: [],
        defaults: TEXT_DEFAULTS,
        async make(i) {
            const result = randomText(i);
            return { id: result, outputs: { result } };
        },
    },
    "random:index/randomId:RandomId": {
        inputs: { byteLength: "int", keepers: "map", prefix: "string" },
        required: ["byteLength"],
        outputs: ["b64Std", "b64Url", "dec", "hex"],
        secret: [],
        defaults: {},
        async make(i) {
            const b = randomBytes(i.byteLength);
            const prefix: string = i.prefix ?? "";
            const hex = b.toString("hex");
            return {
                id: b.toString("base64url"),
                outputs: {
                    b64Std: prefix + b.toString("base64"),
                    b64Url: prefix + b.toString("base64url"),
                    dec: prefix + BigInt(`0x${hex}`).toString(),
                    hex: prefix + hex,
                },
            };
        },
    },
    "random:index/randomBytes:RandomBytes": {
        inputs: { length: "int", keepers: "map" },
        required: ["length"],
        outputs: ["base64", "hex"],
        secret: ["base64", "hex"],
        defaults: {},
        async make(i) {
            const b = randomBytes(i.length);
            return { id: "none", outputs: { base64: b.toString("base64"), hex: b.toString("hex") } };
        },
    },
    "random:index/randomUuid:RandomUuid": {
        inputs: { keepers: "map" },
        required: [],
        outputs: ["result"],
        secret: [],
        defaults: {},
        async make() {
            const result = randomUUID();
            return { id: result, outputs: { result } };
        },
    },
    "random:index/randomInteger:RandomInteger": {
        inputs: { keepers: "map", max: "int", min: "int", seed: "string" },
        required: ["max", "min"],
        outputs: ["result"],
        secret: [],
        defaults: {},
        async make(i) {
            if (i.seed) throw notSupported("the seed of a RandomInteger");
            const result = randomInt(i.min, i.max + 1);
            return { id: String(result), outputs: { result } };
        },
    },
};

function randomText(i: Record<string, Untyped>): string {
    const sets: [boolean, string, number][] = [
        [i.special !== false, i.overrideSpecial || SPECIAL, i.minSpecial ?? 0],
        [i.upper !== false, UPPER, i.minUpper ?? 0],
        [i.lower !== false, LOWER, i.minLower ?? 0],
        [i.numeric !== false && i.number !== false, DIGITS, i.minNumeric ?? 0],
    ];
    const pick = (from: string): string => from[randomInt(from.length)]!;
    const all = sets.map(([on, s]) => (on ? s : "")).join("");
    if (!all) throw new Error("the character set specified is empty");
    const chars: string[] = [];
    for (const [, s, n] of sets) for (let k = 0; k < n; k++) chars.push(pick(s));
    while (chars.length < i.length) chars.push(pick(all));
    for (let k = chars.length - 1; k > 0; k--) {
        const j = randomInt(k + 1);
        [chars[k], chars[j]] = [chars[j]!, chars[k]!];
    }
    return chars.join("");
}

export function randomPackage(): PackageDefinition {
    return {
        checkConfig: (inputs) => ({ inputs, failures: [] }),
        diffConfig: (olds, news) => {
            const d = diffMaps(olds, news);
            return d
                ? { ...noDiff, changes: true, changedKeys: Object.keys({ ...d.adds, ...d.deletes, ...d.updates }) }
                : noDiff;
        },
        configure: () => new RandomProvider(),
    };
}

function typeOf(name: string): Type {
    const t = TYPES[name];
    if (!t) throw notSupported(`resource type ${name}`);
    return t;
}

class RandomProvider implements Provider {
    check(r: Request, _olds: PropertyMap | undefined, news: PropertyMap): CheckResult {
        const t = typeOf(r.type);
        const failures: CheckResult["failures"] = [];
        const inputs: PropertyMap = {};
        for (const [k, v] of Object.entries(news)) {
            if (v === null || k === "version" || isInternalKey(k)) continue;
            const kind = t.inputs[k];
            if (!kind) {
                failures.push({ property: k, reason: `${JSON.stringify(k)} is not expected here` });
                continue;
            }
            const u = unwrapSecrets(v);
            const fits =
                u instanceof Computed ||
                (kind === "int" && Number.isInteger(u)) ||
                (kind === "bool" && typeof u === "boolean") ||
                (kind === "string" && typeof u === "string") ||
                (kind === "map" && typeof u === "object");
            if (!fits) failures.push({ property: k, reason: `expected ${kind}` });
            inputs[k] = v;
        }
        for (const k of t.required)
            if (inputs[k] === undefined)
                failures.push({ property: k, reason: `The argument "${k}" is required, but no definition was found.` });
        const n = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, unwrapSecrets(v)])) as Record<
            string,
            Untyped
        >;
        const mins = (n.minLower ?? 0) + (n.minUpper ?? 0) + (n.minNumeric ?? 0) + (n.minSpecial ?? 0);
        if (typeof n.length === "number" && (n.length < 1 || n.length < mins))
            failures.push({
                property: "length",
                reason: `Attribute length value must be at least ${Math.max(1, mins)}, got: ${n.length}`,
            });
        return { inputs, failures };
    }

    diff(
        r: Request,
        _id: string,
        oldInputs: PropertyMap,
        _oldOutputs: PropertyMap,
        newInputs: PropertyMap,
    ): DiffResult {
        const t = typeOf(r.type);
        // What is given in words and equals the default is no change.
        const full = (m: PropertyMap): PropertyMap => {
            const out: PropertyMap = { ...t.defaults };
            for (const [k, v] of Object.entries(m)) if (!isInternalKey(k) && k !== "version") out[k] = unwrapSecrets(v);
            return out;
        };
        return diffOf(detailedDiff(diffMaps(full(oldInputs), full(newInputs)), true), () => true);
    }

    async create(r: Request, inputs: PropertyMap): Promise<{ id: string; outputs: PropertyMap }> {
        const t = typeOf(r.type);
        const outputs: PropertyMap = { ...t.defaults, ...inputs };
        const secret = (k: string, v: Value): Value => (t.secret.includes(k) ? makeSecret(v) : v);
        if (r.preview || containsUnknowns(inputs)) {
            for (const k of t.outputs) outputs[k] = secret(k, Computed.value);
            return { id: "", outputs };
        }
        const plain = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, unwrapSecrets(v)]));
        const made = await t.make(plain);
        for (const k of t.outputs) outputs[k] = secret(k, made.outputs[k]!);
        return { id: made.id, outputs };
    }

    async update(): Promise<PropertyMap> {
        throw new Error("random values are replaced, never updated");
    }

    async delete(): Promise<void> {
        // Nothing is kept outside the state.
    }

    async read(
        _r: Request,
        id: string,
        inputs: PropertyMap,
        outputs: PropertyMap,
    ): Promise<{ id: string; inputs: PropertyMap; outputs: PropertyMap }> {
        return { id, inputs, outputs };
    }
}

export type { Secret };
