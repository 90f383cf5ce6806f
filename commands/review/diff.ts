/** What differs between two texts, line by line. Pure. */

/** Changed lines that stand together, with the lines around them. */
export interface Hunk {
    /** Of indented lines the last one before that is not: the section of haproxy.cfg, a key of YAML. Else empty. */
    readonly section: string;
    readonly before: readonly string[];
    /** `-` or `+` and the line. */
    readonly lines: readonly string[];
    readonly after: readonly string[];
}

/** Longer texts than this many pairs of lines are shown as replaced. */
const MOST_PAIRS = 4_000_000;

/** A line of both texts: ` `, `-` or `+`, and the line. */
type Line = readonly [sign: " " | "-" | "+", text: string];

/** The middle of two texts, whose begin and end differ: the longest common subsequence. */
function middle(old: readonly string[], now: readonly string[]): Line[] {
    const removed = old.map((text): Line => ["-", text]);
    const added = now.map((text): Line => ["+", text]);
    if (old.length === 0 || now.length === 0 || old.length * now.length > MOST_PAIRS) return [...removed, ...added];
    const width = now.length + 1;
    const common = new Uint32Array((old.length + 1) * width);
    const at = (i: number, j: number): number => common[i * width + j] as number;
    for (let i = old.length - 1; i >= 0; i--)
        for (let j = now.length - 1; j >= 0; j--)
            common[i * width + j] = old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    const lines: Line[] = [];
    let [i, j] = [0, 0];
    while (i < old.length || j < now.length) {
        if (i < old.length && j < now.length && old[i] === now[j]) {
            lines.push([" ", old[i] as string]);
            i++;
            j++;
        } else if (j >= now.length || (i < old.length && at(i + 1, j) >= at(i, j + 1))) {
            lines.push(removed[i++] as Line);
        } else lines.push(added[j++] as Line);
    }
    return lines;
}

function linesOf(old: readonly string[], now: readonly string[]): Line[] {
    let begin = 0;
    while (begin < old.length && begin < now.length && old[begin] === now[begin]) begin++;
    let end = 0;
    while (end < old.length - begin && end < now.length - begin && old.at(-1 - end) === now.at(-1 - end)) end++;
    const same = (text: string): Line => [" ", text];
    return [
        ...old.slice(0, begin).map(same),
        ...middle(old.slice(begin, old.length - end), now.slice(begin, now.length - end)),
        ...old.slice(old.length - end).map(same),
    ];
}

/** The hunks between two texts, with up to `context` lines around each. */
export function hunks(old: readonly string[], now: readonly string[], context = 2): Hunk[] {
    const lines = linesOf(old, now);
    const found: Hunk[] = [];
    let section = "";
    for (let i = 0; i < lines.length;) {
        const [sign, text] = lines[i] as Line;
        if (sign === " ") {
            if (/^[^\s#-]/.test(text)) section = text;
            i++;
            continue;
        }
        let end = i;
        while (end < lines.length && lines[end]?.[0] !== " ") end++;
        const changed = lines.slice(i, end);
        found.push({
            section: changed.every(([, t]) => /^\s/.test(t)) ? section : "",
            before: unchanged(lines.slice(Math.max(0, i - context), i), true),
            lines: changed.map(([s, t]) => s + t),
            after: unchanged(lines.slice(end, end + context), false),
        });
        i = end;
    }
    return found;
}

/** Those that are next to the hunk, up to another one. */
function unchanged(lines: readonly Line[], atEnd: boolean): string[] {
    const nearest = atEnd ? [...lines].reverse() : [...lines];
    const other = nearest.findIndex(([sign]) => sign !== " ");
    const kept = (other < 0 ? nearest : nearest.slice(0, other)).map(([, text]) => text);
    return atEnd ? kept.reverse() : kept;
}
