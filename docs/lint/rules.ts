/** The rules for this repository's Markdown, for textlint's kernel: words, sentences, widths, links. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { TextlintRuleModule, TextlintRuleContext } from "@textlint/types";
import { split } from "sentence-splitter";
import { parse } from "yaml";

export const MAX_LINE = 200;
export const MAX_CELL = 120;
export const MAX_WORDS = 30;
/** First line of a file that a command wrote. */
export const GENERATED = "<!-- generated";

const ROOT = join(__dirname, "../..");

interface Entry {
    readonly not: string;
    readonly use: string;
    /** Not in the comments and messages of sources. */
    readonly documents?: boolean;
}

export const vocabulary = (parse(readFileSync(join(__dirname, "vocabulary.yaml"), "utf8")) as Entry[]).map(
    ({ not, use, documents }) => ({
        use,
        documents: documents === true,
        pattern: new RegExp(`(?<![\\w-])(?:${not.replaceAll(" ", "\\s+")})(?![\\w-])`, "gi"),
    }),
);

type Report = (index: number, message: string) => void;

/** Reports by a place in the whole text. */
function reporter(context: TextlintRuleContext, document: Parameters<TextlintRuleContext["report"]>[0]): Report {
    return (index, message) =>
        context.report(
            document,
            new context.RuleError(message, { padding: context.locator.range([index, index + 1]) }),
        );
}

/** Words that have a plainer or an agreed one. Code is left alone, since names in it are given. */
const words: TextlintRuleModule = (context) => ({
    [context.Syntax.Str](node) {
        const text = context.getSource(node);
        for (const { pattern, use } of vocabulary)
            for (const { index, 0: found } of text.matchAll(pattern))
                context.report(
                    node,
                    new context.RuleError(`"${found.replace(/\s+/g, " ")}": use ${use}`, {
                        padding: context.locator.range([index, index + found.length]),
                    }),
                );
    },
});

/** Long sentences. A piece of code or the target of a link counts as no more than one word. */
const sentences: TextlintRuleModule = (context) => ({
    [context.Syntax.Paragraph](node) {
        const text = context
            .getSource(node)
            .replace(/`[^`]*`/g, "code")
            .replace(/\]\([^)]*\)/g, "]");
        for (const { type, raw } of split(text)) {
            const count = type === "Sentence" ? raw.split(/\s+/).filter((word) => /\w/.test(word)).length : 0;
            if (count > MAX_WORDS)
                context.report(
                    node,
                    new context.RuleError(`a sentence of ${count} words, at most ${MAX_WORDS}: "${raw.slice(0, 50)}…"`),
                );
        }
    },
});

/** Lines and table cells that nobody can read in a terminal or in a diff. */
const widths: TextlintRuleModule = (context) => ({
    [context.Syntax.Document](node) {
        const report = reporter(context, node);
        const text = context.getSource(node);
        const generated = text.startsWith(GENERATED);
        let at = 0;
        for (const line of text.split("\n")) {
            if (line.length > MAX_LINE && !(generated && line.startsWith("|")))
                report(at, `a line of ${line.length} characters, at most ${MAX_LINE}`);
            at += line.length + 1;
        }
    },
    [context.Syntax.TableCell](node) {
        const { length } = context
            .getSource(node)
            .replace(/^\||\|$/g, "")
            .trim();
        if (length > MAX_CELL)
            context.report(node, new context.RuleError(`a table cell of ${length} characters, at most ${MAX_CELL}`));
    },
});

/** The anchors that GitHub makes of a file's headings. */
export function anchors(markdown: string): Set<string> {
    const found = new Set<string>();
    for (const [, heading] of markdown.replace(/^( *)```[^]*?^\1```/gm, "").matchAll(/^#{1,6} +(.*?) *#*$/gm)) {
        const slug = heading!
            .replace(/\]\([^)]*\)/g, "]")
            .toLowerCase()
            .replace(/[^\p{L}\p{N}\s_-]/gu, "")
            .replaceAll(" ", "-");
        let name = slug;
        for (let n = 1; found.has(name); n++) name = `${slug}-${n}`;
        found.add(name);
    }
    return found;
}

/** Why a link from `file` leads nowhere inside this repository; undefined where it does, or leads out of it. */
export function brokenLink(file: string, url: string): string | undefined {
    if (/^[a-z]+:/.test(url)) return undefined;
    const [path, anchor] = decodeURI(url).split("#") as [string, string?];
    const target = path === "" ? file : path.startsWith("/") ? join(ROOT, path) : join(dirname(file), path);
    if (!existsSync(target)) return `there is no ${relative(ROOT, target)}`;
    if (anchor === undefined || !target.endsWith(".md")) return undefined;
    return anchors(readFileSync(target, "utf8")).has(anchor)
        ? undefined
        : `${relative(ROOT, target)} has no heading #${anchor}`;
}

/** Paths of this repository as people write them in prose. */
const PATH = /^(?:components|commands|docs|tests|lab|load|monitoring|policy|\.github)\/[\w./-]*[\w/]$/;

/** Links, anchors and named files that are not there. */
const links: TextlintRuleModule = (context) => {
    const file = context.getFilePath() ?? "";
    const check = (node: Parameters<typeof context.report>[0], url: string): void => {
        const problem = brokenLink(file, url);
        if (problem !== undefined) context.report(node, new context.RuleError(`"${url}": ${problem}`));
    };
    return {
        [context.Syntax.Link]: (node) => check(node, node.url),
        [context.Syntax.Image]: (node) => check(node, node.url),
        [context.Syntax.Definition]: (node) => check(node, node.url),
        [context.Syntax.Code](node) {
            const path = node.value as string;
            if (PATH.test(path) && !existsSync(join(ROOT, path)))
                context.report(node, new context.RuleError(`"${path}": there is no such file`));
        },
    };
};

export const rules = { words, sentences, widths, links };
