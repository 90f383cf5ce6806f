/** The review as Markdown for a comment on a pull request, which GitHub limits. Pure. */
import { distinctChanges, hunkLines, wholeDiff, type Distinct } from "./changed-lines";
import { effects } from "./effects";
import type { Preview } from "./preview";
import { lead, rows } from "./sentences";
import { block, code, count, nodesInWords, series, short, word } from "./words";

/** GitHub takes 65,536 characters. */
export const MOST = 64_000;
/** What each part before the whole diff may take of it, and each block in them. */
const PARTS = { rows: 12_000, changes: 20_000, messages: 10_000, block: 5_000 };

/** As many items as fit, then a line that tells how many do not. */
function fitting(items: readonly (readonly string[])[], most: number, what: string): string[] {
    const lines: string[] = [];
    let left = most - 100;
    for (const [i, item] of items.entries()) {
        const size = item.reduce((sum, line) => sum + line.length + 1, 0);
        if (size > left) return [...lines, "", `… and ${count(items.length - i, what)} more: see the preview itself.`];
        lines.push(...item);
        left -= size;
    }
    return lines;
}

/** Changes of the same file on the same nodes come in one block. */
function inBlocks(changes: readonly Distinct[]): (readonly Distinct[])[] {
    const blocks = new Map<string, Distinct[]>();
    for (const change of changes) {
        const key = JSON.stringify([change.file, [...change.owners].sort(), change.file ?? [...change.steps].sort()]);
        blocks.set(key, [...(blocks.get(key) ?? []), change]);
    }
    return [...blocks.values()];
}

function blockLines(changes: readonly Distinct[], preview: Preview): string[] {
    const [{ file, steps, owners }] = changes as [Distinct];
    const isNode = [...owners].filter((owner) => preview.nodes.some(({ name }) => name === owner));
    const nodes = isNode.length === 0 ? "" : ` on ${nodesInWords(isNode, preview.nodes)}`;
    const data = `Data of step${steps.size === 1 ? "" : "s"} ${series([...steps].map(word), 10)}`;
    const lines = changes.flatMap(({ hunk }, i) => {
        const title = hunk.section !== "" ? [`@@ ${hunk.section} @@`] : file !== undefined && i > 0 ? ["@@ @@"] : [];
        return [...title, ...hunkLines(hunk)];
    });
    return [`${file === undefined ? data : code(file)}${nodes}:`, "", ...block("diff", lines, PARTS.block), ""];
}

/** Refusals, then warnings: as code, since they may contain anything. */
function messageLines(preview: Preview): string[][] {
    const ranked = [...preview.diagnostics].sort((a, b) =>
        a.severity < b.severity ? -1 : a.severity > b.severity ? 1 : 0,
    );
    return ranked.map(({ severity, about, message }) => {
        const of = about === "" ? "" : ` (${word(about)})`;
        const lines = message.split("\n").map((line) => line.trimEnd());
        return [
            `**${severity.startsWith("error") ? "Refused or failed" : "Warning"}**${of}:`,
            "",
            ...block("text", lines, PARTS.block),
            "",
        ];
    });
}

/** The diff, folded away, cut to what is left of the comment. */
function folded(preview: Preview, left: number): string[] {
    const all = wholeDiff(preview).map((line) => short(line, 300));
    if (all.length === 0) return [];
    const frame = (lines: readonly string[]): string[] => [
        "<details>",
        `<summary>The whole diff (${count(preview.changes.length, "resource")})</summary>`,
        "",
        ...block("diff", lines),
        "",
        "</details>",
    ];
    const size = (lines: readonly string[]): number => frame(lines).join("\n").length;
    if (size(all) <= left) return frame(all);
    const cut = (n: number): string[] => [
        ...all.slice(0, n),
        `… cut here: ${count(all.length - n, "more line")}. All of it: pulumi preview --diff`,
    ];
    // Escapes make lines longer: the number that fits is searched for.
    let [low, high] = [0, all.length - 1];
    while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (size(cut(middle)) <= left) low = middle;
        else high = middle - 1;
    }
    return size(cut(low)) <= left ? frame(cut(low)) : [];
}

/** By this line a workflow finds the comment of a stack. */
export const marker = (stack: string): string => `<!-- k3s-ha review: ${stack.replace(/[^A-Za-z0-9_.]+/g, "-")} -->`;

/** The review of a stack's preview. */
export function review(preview: Preview, stack: string, most: number = MOST): string {
    const found = effects(preview);
    const part = (title: string, items: readonly (readonly string[])[], limit: number, what: string): string[] =>
        items.length === 0 ? [] : [`#### ${title}`, "", ...fitting(items, limit, what), ""];
    const blocks = inBlocks(distinctChanges(preview)).map((of) => blockLines(of, preview));
    const changes = part("Each change once", blocks, PARTS.changes, "change");
    const messages = part("Refusals and warnings", messageLines(preview), PARTS.messages, "message");
    const lines = [
        marker(stack),
        `### ${word(stack)}: what this change does`,
        "",
        lead(preview, found),
        "",
        ...fitting(
            rows(preview, found).map((line) => [line]),
            PARTS.rows,
            "line",
        ),
        "",
        // Why a preview failed comes first.
        ...(preview.failed ? [...messages, ...changes] : [...changes, ...messages]),
    ];
    const text = lines
        .join("\n")
        .replace(/\n{3,}/g, "\n\n")
        .trimEnd();
    const rest = folded(preview, most - text.length - 3).join("\n");
    return `${text}\n${rest === "" ? "" : `\n${rest}\n`}`;
}
