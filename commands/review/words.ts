/** Names and texts as a comment on a pull request has them: nothing in them is Markdown, HTML or a mention. Pure. */
import type { ReviewNode } from "./preview";

/** Nodes that are named; more are counted. */
const NAMED = 6;

/** Characters that turn text around or that a terminal acts on, as escapes. Ends of lines stay. */
export function printable(text: string): string {
    return text.replace(
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}

/** At most so many characters of a line. */
export const short = (line: string, most: number): string =>
    line.length <= most ? line : `${line.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…`;

/** A run of backticks that is longer than any in the text. */
function ticks(text: string, least: number): string {
    const longest = Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
    return "`".repeat(Math.max(least, longest + 1));
}

/** Text as code in a line. */
export function code(text: string): string {
    const line = short(printable(text.replaceAll("\n", " ")), 120);
    const fence = ticks(line, 1);
    const space = /^`|`$|^ .* $/.test(line) ? " " : "";
    return `${fence}${space}${line === "" ? " " : line}${space}${fence}`;
}

/** A name in a sentence. */
export const word = (name: string): string => (/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(name) ? name : code(name));

/** Lines as a block of code, of at most so many characters; a last line tells how many are left out. */
export function block(language: string, lines: readonly string[], most = Infinity): string[] {
    const whole = lines.map((line) => short(printable(line.replaceAll("\n", " ")), Math.min(most, 2000)));
    const shown: string[] = [];
    let left = most;
    for (const line of whole) {
        left -= line.length + 1;
        if (left < 0 && shown.length > 0) break;
        shown.push(line);
    }
    if (shown.length < whole.length) shown.push(`… ${count(whole.length - shown.length, "more line")}`);
    const fence = ticks(shown.join("\n"), 3);
    return [fence + language, ...shown, fence];
}

/** `a`, `a and b`, `a, b and c`; beyond six `a, b, c, d, e, f and 3 more`. */
export function series(items: readonly string[], most = NAMED): string {
    const shown = items.length <= most ? items : [...items.slice(0, most), `${items.length - most} more`];
    return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

export const count = (n: number, one: string): string => `${n} ${one}${n === 1 ? "" : "s"}`;

/** Nodes in a sentence: all of them, all of a role, or by name in their order. */
export function nodesInWords(names: readonly string[], nodes: readonly ReviewNode[]): string {
    const wanted = new Set(names);
    const isAll = (of: readonly ReviewNode[]): boolean =>
        of.length > 2 && of.length === wanted.size && of.every(({ name }) => wanted.has(name));
    if (isAll(nodes)) return `all ${nodes.length} nodes`;
    for (const role of ["server", "agent"] as const) {
        const of = nodes.filter((node) => node.role === role);
        if (isAll(of)) return `all ${of.length} ${role}s`;
    }
    return series(inOrder([...wanted], nodes).map(word));
}

/** The first server, the other servers, the agents; then those that are no node any more, by name. */
export function inOrder(names: readonly string[], nodes: readonly ReviewNode[]): string[] {
    const rank = new Map(nodes.map(({ name }, i) => [name, i]));
    const at = (name: string): number => rank.get(name) ?? nodes.length;
    return [...names].sort((a, b) => at(a) - at(b) || (a < b ? -1 : a > b ? 1 : 0));
}
