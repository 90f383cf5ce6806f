/** Each distinct change of the steps' data once, with the nodes that it holds for. Pure. */
import { MODE, changedFiles, changedSettings, parseBundle, type Parts } from "./bundle";
import { dataOf } from "./data";
import { hunks, type Hunk } from "./diff";
import { UNKNOWN } from "./masked";
import type { Change, Preview } from "./preview";

/** One change, and where it is. */
export interface Distinct {
    /** A file's path; undefined for settings of the steps. */
    readonly file?: string;
    readonly hunk: Hunk;
    readonly steps: ReadonlySet<string>;
    readonly owners: ReadonlySet<string>;
}

const settingsOnly = (parts: Parts, keys: readonly string[]): string[] =>
    parts.settings.filter((line) => keys.includes(line.split(": ")[0] as string));

/** The hunks of one change, settings first. */
export function hunksOf(before: Parts, after: Parts): { readonly file?: string; readonly hunk: Hunk }[] {
    const keys = changedSettings(before, after);
    const settings = hunks(settingsOnly(before, keys), settingsOnly(after, keys), 0).map((hunk) => ({
        hunk: { ...hunk, section: "" },
    }));
    const files = changedFiles(before, after).flatMap((file) =>
        hunks(before.files.get(file) ?? [], after.files.get(file) ?? []).map((hunk) => ({
            file,
            hunk: { ...hunk, before: hunk.before.filter((line) => !line.startsWith(MODE)) },
        })),
    );
    return [...settings, ...files];
}

/** Lines around a change that all nodes have in common: the end of those before it, the begin of those after it. */
function common(a: readonly string[], b: readonly string[], atEnd: boolean): string[] {
    const [x, y] = atEnd ? [[...a].reverse(), [...b].reverse()] : [[...a], [...b]];
    const end = x.findIndex((line, i) => line !== y[i]);
    const same = end < 0 ? x : x.slice(0, end);
    return atEnd ? same.reverse() : same;
}

/** All distinct changes of a preview, in the order in which it has them. */
export function distinctChanges({ changes }: Preview): Distinct[] {
    const found = new Map<string, { file?: string; hunk: Hunk; steps: Set<string>; owners: Set<string> }>();
    for (const change of changes) {
        const data = change.op === "update" || change.op === "replace" ? dataOf(change) : { is: "same" as const };
        if (data.is !== "open") continue;
        for (const { file, hunk } of hunksOf(data.before, data.after)) {
            const key = JSON.stringify([file, hunk.section, hunk.lines]);
            const known = found.get(key);
            if (known === undefined) {
                const owners = new Set([change.owner]);
                found.set(key, { file, hunk, steps: new Set([change.step ?? ""]), owners });
                continue;
            }
            known.steps.add(change.step ?? "");
            known.owners.add(change.owner);
            known.hunk = {
                ...hunk,
                before: common(known.hunk.before, hunk.before, true),
                after: common(known.hunk.after, hunk.after, false),
            };
        }
    }
    return [...found.values()];
}

/** A hunk as lines of a diff. */
export const hunkLines = ({ before, lines, after }: Hunk): string[] => [
    ...before.map((line) => ` ${line}`),
    ...lines,
    ...after.map((line) => ` ${line}`),
];

const SIGN = { create: "+", update: "~", replace: "+-", delete: "-" } as const;

/** A value as lines. The text of a long command is its words put together again, with the ends of lines that they had (login-shell.ts). */
function linesIn(value: unknown): string[] {
    if (value === undefined) return [];
    if (typeof value !== "string") return (JSON.stringify(value, null, 2) ?? "").split("\n");
    if (value.includes(UNKNOWN)) return linesIn(value.replaceAll(UNKNOWN, "[known after the up]"));
    const standIn = /^\/bin\/sh -c 's=\$\(printf %s "\$@" \| tr (\S) /.exec(value)?.[1];
    return (standIn === undefined ? value : value.replaceAll("' '", "").replaceAll(standIn, "\n")).split("\n");
}

function bundleLines(value: unknown, sign: string): string[] {
    const parts = parseBundle(value);
    if (parts === undefined) return linesIn(value).map((line) => `${sign}   ${line}`);
    const files = [...parts.files].flatMap(([path, lines]) => [path, ...lines.map((line) => `    ${line}`)]);
    return [...parts.settings, ...files].map((line) => `${sign}   ${line}`);
}

function inputLines(change: Change, key: string): string[] {
    const [old, now] = [change.before[key], change.after[key]];
    const data = key === "stdin" ? dataOf(change) : undefined;
    if (data?.is === "open") {
        const found = hunksOf(data.before, data.after);
        return found.flatMap(({ file, hunk }) => [
            `@@ ${file ?? "settings"}${hunk.section === "" ? "" : `, ${hunk.section}`} @@`,
            ...hunkLines(hunk),
        ]);
    }
    const [before, after] = [linesIn(old), linesIn(now)];
    const found = hunks(before, after, 1);
    // What is secret looks the same on both sides.
    const lines = found.length === 0 ? after.map((line) => ` ${line}`) : found.flatMap(hunkLines);
    return [`@@ ${key} @@`, ...lines];
}

/** Everything that the preview has, resource by resource, as lines of a diff. */
export function wholeDiff({ changes }: Preview): string[] {
    return changes.flatMap((change) => {
        const what = change.changed.length > 0 ? `: ${change.changed.join(", ")}` : "";
        const title = `# ${SIGN[change.op]} ${change.name} (${change.type}, ${change.op}${what})`;
        if (change.op === "update" || change.op === "replace")
            return [title, ...change.changed.flatMap((key) => inputLines(change, key)), ""];
        if (change.op === "delete") return [title, ""];
        const lines = Object.entries(change.after).flatMap(([key, value]) =>
            key === "stdin"
                ? [`+ ${key}:`, ...bundleLines(value, "+")]
                : linesIn(value).map((line, i) => (i === 0 ? `+ ${key}: ${line}` : `+   ${line}`)),
        );
        return [title, ...lines, ""];
    });
}
