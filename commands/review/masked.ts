/**
 * Nothing secret leaves this file: every value of a preview goes through {@link masked} before anything looks at it. What the engine
 * marks as secret is gone as a whole, also where it stands in another text; what looks like a secret is gone from its line. Pure.
 */
import { isSecretKey } from "../../components/config/problems";

/** What stands for a secret. */
export const SECRET = "[secret]";

/** What the engine writes for a value that no preview can know yet. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** The key by which the engine marks a value as a secret, an asset, an output. */
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270";
/** Signatures of what is not secret. */
const OPEN = new Set([
    "c44067f5952c0a294b673a41bacd8c17", // asset
    "0def7320c3a5731c473e5ecbe6d01bc7", // archive
    "5cf8f73096256a8f31e491e813e4eb8e", // resource reference
    "d0e6a833031e9bbcd3f4e8bde6ca49a4", // output
]);
/** Shorter lines of a secret are too common to be looked for in other texts. */
const SHORTEST = 6;

const isSecret = (value: object): boolean =>
    Object.hasOwn(value, SIGNATURE) && !OPEN.has(String((value as Record<string, unknown>)[SIGNATURE]));

/** Every text below a value; a text in JSON counts decoded too, which is how the engine writes a secret in the clear. */
function textsIn(value: unknown): string[] {
    if (typeof value === "string") return [value, ...decoded(value)];
    if (typeof value === "number") return [String(value)];
    return value !== null && typeof value === "object" ? Object.values(value).flatMap(textsIn) : [];
}

function decoded(text: string): string[] {
    if (!/^["[{]/.test(text)) return [];
    try {
        return textsIn(JSON.parse(text));
    } catch {
        return [];
    }
}

/** The texts of all secrets, and their lines: longest first, so that none is left in part. */
function secretsIn(root: unknown): string[] {
    const found = new Set<string>();
    const look = (value: unknown): void => {
        if (value === null || typeof value !== "object") return;
        if (isSecret(value)) {
            for (const [key, inner] of Object.entries(value))
                if (key !== SIGNATURE)
                    for (const text of textsIn(inner)) for (const part of [text, ...text.split("\n")]) found.add(part);
        } else Object.values(value).forEach(look);
    };
    look(root);
    const known = new Set([SECRET, SECRET_SIGNATURE, UNKNOWN]);
    const worth = [...found].map((text) => text.trim()).filter((text) => text.length >= SHORTEST && !known.has(text));
    return [...new Set(worth)].sort((a, b) => b.length - a.length);
}

const PUBLIC = /^(\[secret\]|@@[a-z-]+@@|"@@[a-z-]+@@"|"?\[secret\]"?)$/;

/** `KEY: VALUE` as the rest of a line, with the name of a secret. */
const WHOLE = /^(\s*(?:- )*["']?([A-Za-z][A-Za-z0-9_.-]*)["']?\s*:\s+)(\S.*)$/;
/** The key of `KEY: VALUE`, `"KEY":"VALUE"` and `KEY=VALUE` in a line, and the value. */
const KEY = /(["']?)([A-Za-z][A-Za-z0-9_.-]*)\1\s*[:=]\s*/g;
const VALUE = /\[secret\]|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;}\]]+/y;
/** A flag of a component that is given a secret itself: also behind another flag, so wherever it stands. */
const FLAG = /(-{0,2}[a-z0-9_-]*(?:password|passwd|secret|token|api-?key|secret-?key|access-?key)\+?=)[^\s"']+/gi;

const hasSecret = (key: string, value: string): boolean =>
    (isSecretKey(key) || key.endsWith("-key-data")) && !PUBLIC.test(value);

/** A line without the values of keys that are secrets' names. */
function withoutPairs(line: string): string {
    let [text, done] = ["", 0];
    KEY.lastIndex = 0;
    for (let found = KEY.exec(line); found !== null; found = KEY.exec(line)) {
        VALUE.lastIndex = KEY.lastIndex;
        const value = VALUE.exec(line)?.[0];
        if (value === undefined || !hasSecret(found[2] as string, value)) continue;
        text += line.slice(done, KEY.lastIndex) + SECRET;
        KEY.lastIndex = done = VALUE.lastIndex;
    }
    return text + line.slice(done);
}

/** A line without what looks like a secret in it. */
export function maskedLine(line: string): string {
    const [, before, key, value] = WHOLE.exec(line) ?? [];
    if (key !== undefined && hasSecret(key, value as string)) return `${before}${SECRET}`;
    const open = line
        .replace(/(:\/\/[^/\s:@'"]*:)[^/\s'"]+@/g, `$1${SECRET}@`)
        .replace(/K10[0-9a-f]+::[^\s"']*/g, SECRET)
        .replace(/\bBearer\s+[^\s"',;]+/g, SECRET)
        .replace(/(\bauthorization["']?\s*[:=]\s*["']?(?:basic\s+)?)[^\s"',;]+/gi, `$1${SECRET}`)
        .replace(FLAG, `$1${SECRET}`);
    return withoutPairs(open)
        .replace(/(\buser\s+\S+\s+(?:insecure-)?password\s+)(?!@@|\[secret\])\S+/g, `$1${SECRET}`)
        .replace(/(\bstats\s+auth\s+[^\s:]+:)(?!@@|\[secret\])\S+/g, `$1${SECRET}`);
}

/** A text without what looks like a secret in it. */
export function maskedText(text: string): string {
    return text
        .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, SECRET)
        .split("\n")
        .map(maskedLine)
        .join("\n");
}

/** The value with {@link SECRET} for every secret. */
export function masked(root: unknown): unknown {
    const secrets = secretsIn(root);
    const without = (text: string): string =>
        maskedText(secrets.reduce((left, secret) => left.replaceAll(secret, SECRET), text));
    const mask = (value: unknown, key: string): unknown => {
        if (typeof value === "string") return isSecretKey(key) && value !== "" ? SECRET : without(value);
        if (typeof value === "number" && isSecretKey(key)) return SECRET;
        if (value === null || typeof value !== "object") return value;
        if (isSecret(value)) return SECRET;
        if (Array.isArray(value)) return value.map((inner) => mask(inner, key));
        return Object.fromEntries(Object.entries(value).map(([k, inner]) => [without(k), mask(inner, k)]));
    };
    return mask(root, "");
}
