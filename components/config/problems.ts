/** One message per mistake, all at once: config path, value, what is allowed. */
import type { z } from "zod";
import type { Problem } from "../haproxy";
import { SECRET_SETTINGS } from "../settings";

export { SECRET_SETTINGS, type Problem };

/** Takes one mistake: where, what stood there (undefined: nothing, or a secret), what is allowed. */
export type Report = (path: readonly PropertyKey[], value: unknown, message: string) => void;

/** Mistakes that one message tells; a list with thousands of them is wrong as a whole. */
const MOST = 100;

/** Thrown before any resource is registered; its message lists every problem of the stack file. */
export class SpecError extends Error {
    public constructor(public readonly problems: readonly Problem[]) {
        const told = [
            ...new Set(
                problems.map((p) => visible(`  ${p.path}: ${p.value === undefined ? "" : `${p.value} `}${p.message}`)),
            ),
        ];
        const lines = told.length <= MOST ? told : [...told.slice(0, MOST), `  … and ${told.length - MOST} more`];
        super(
            `the stack's configuration has ${problems.length} mistake${problems.length === 1 ? "" : "s"}; no host was touched:\n${lines.join("\n")}`,
        );
        this.name = "SpecError";
    }
}

/** A path in the user's spelling. */
export function configPath(path: readonly PropertyKey[]): string {
    return path.reduce<string>((text, key, i) => {
        if (i === 0) return `k3s-ha:${visible(String(key))}`;
        if (typeof key === "number") return `${text}[${key}]`;
        return /^[A-Za-z0-9_-]+$/.test(String(key)) ? `${text}.${String(key)}` : `${text}[${shown(String(key))}]`;
    }, "k3s-ha:");
}

/** Characters that a terminal would act on, or that turn text around, as escapes; the rest of a message stays as it is. */
function visible(text: string): string {
    return text.replace(
        /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}

/** True for names of keys whose texts are secrets, in settings, YAML files and k3s's configuration. */
export function isSecretKey(key: string): boolean {
    return /^(auth|authorization|datastore-endpoint|vpn-auth|insecure_password|((.*[_-])?(passwd|password|token|secret|(access|secret)[_-]?key))|identity_?token)$/i.test(
        key,
    );
}

/** A flag of a component that is given a secret itself, up to its value. */
const SECRET_FLAG = /^(-{0,2}[a-z0-9-]*(?:password|passwd|secret|token|api-?key|secret-?key|access-?key)\+?=).+$/i;

/** A value as it appears in a message: JSON without passwords, also those in URLs and flags, at most 80 characters. */
export function shown(value: unknown): string {
    const masked = (v: unknown): unknown =>
        typeof v === "string"
            ? v.replace(/(:\/\/[^/\s:@'"]*:)[^/\s@'"]+@/g, "$1[secret]@").replace(SECRET_FLAG, "$1[secret]")
            : v;
    const text = visible(
        JSON.stringify(value, (key, v: unknown) =>
            isSecretKey(key) && typeof v !== "object" ? "[secret]" : masked(v),
        ) ?? String(value),
    );
    return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
    return path.reduce<unknown>(
        (at, key) =>
            at !== null && typeof at === "object" && Object.hasOwn(at, key)
                ? (at as Record<PropertyKey, unknown>)[key]
                : undefined,
        root,
    );
}

function problem(root: unknown, path: readonly PropertyKey[], message: string): Problem {
    const value = valueAt(root, path);
    const hide =
        value === undefined || SECRET_SETTINGS.has(String(path[0])) || isSecretKey(String(path[path.length - 1]));
    return { path: configPath(path), value: hide ? undefined : shown(value), message };
}

/** zod's findings as problems. */
export function problemsOf(error: z.ZodError, root: unknown): Problem[] {
    return error.issues.flatMap((issue): Problem[] => {
        if (issue.code === "unrecognized_keys") {
            return issue.keys.map((key) => problem(root, [...issue.path, key], "is not a known setting here"));
        }
        if (issue.code === "invalid_key") {
            return [problem(root, issue.path, `has a key that ${issue.issues[0]?.message ?? "is not allowed"}`)];
        }
        if (issue.code === "invalid_type" && valueAt(root, issue.path) === undefined) {
            return [{ path: configPath(issue.path), message: `is missing; it must be ${kind(issue.expected)}` }];
        }
        return [problem(root, issue.path, allowed(issue))];
    });
}

/** What is allowed, in words where zod has only its own. */
function allowed(issue: z.core.$ZodIssue): string {
    if (!issue.message.startsWith("Invalid ")) return issue.message;
    if (issue.code === "invalid_type") return `must be ${kind(issue.expected)}`;
    if (issue.code === "invalid_value") return `must be ${issue.values.map(String).join(" or ")}`;
    return "has a wrong type";
}

function kind(expected: string): string {
    const names: Readonly<Record<string, string>> = {
        string: "text (in quotes where YAML would read a number or yes/no)",
        array: "a list",
        object: "a map",
        record: "a map",
        number: "a number",
        int: "a whole number",
        boolean: "true or false",
    };
    return names[expected] ?? expected;
}
