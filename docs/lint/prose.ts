/** textlint's kernel with this repository's rules. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { TextlintKernel } from "@textlint/kernel";
import markdown from "@textlint/textlint-plugin-markdown";
import { rules, vocabulary } from "./rules";

const ROOT = join(__dirname, "../..");

/** Every Markdown file of this repository. */
export function documents(): string[] {
    const below = (folder: string): string[] =>
        readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
            const path = join(folder, entry.name);
            if (!entry.isDirectory()) return path.endsWith(".md") ? [path] : [];
            // Neither packages nor labs nor git's own; nor what npm run review prints, with lines of hosts' files in it.
            const isOther = /^(node_modules|\.(?!github$).*)$/.test(entry.name) || path === "tests/integration/reviews";
            return isOther ? [] : below(path);
        });
    return below("");
}

/** What people read of the program: its comments and messages, in TypeScript and in the scripts of the hosts. */
export function sourceFiles(): string[] {
    const below = (path: string): string[] =>
        statSync(join(ROOT, path)).isDirectory()
            ? readdirSync(join(ROOT, path)).flatMap((name) => below(join(path, name)))
            : /\.(ts|sh)$/.test(path)
              ? [path]
              : [];
    return ["components", "commands", "index.ts"].flatMap(below);
}

/** Words in a source that have a plainer or an agreed one, in the form of {@link lint}. */
export function lintSource(file: string, text = readFileSync(join(ROOT, file), "utf8")): string[] {
    return text
        .split("\n")
        .flatMap((line, i) =>
            vocabulary
                .filter(({ documents }) => !documents)
                .flatMap(({ pattern, use }) =>
                    [...line.matchAll(pattern)].map(
                        ({ index, 0: found }) => `${file}:${i + 1}:${index + 1} words: "${found}": use ${use}`,
                    ),
                ),
        );
}

/** The findings in one text, as `file:line:column rule: message`. */
export async function lint(file: string, text = readFileSync(file, "utf8")): Promise<string[]> {
    const { messages } = await new TextlintKernel().lintText(text, {
        ext: ".md",
        filePath: file,
        plugins: [{ pluginId: "markdown", plugin: markdown }],
        rules: Object.entries(rules).map(([ruleId, rule]) => ({ ruleId, rule })),
    });
    return messages.map(
        ({ ruleId, message, loc: { start } }) =>
            `${relative(ROOT, file)}:${start.line}:${start.column} ${ruleId}: ${message}`,
    );
}
