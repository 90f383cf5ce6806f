/** textlint's kernel with this repository's rules. */
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { TextlintKernel } from "@textlint/kernel";
import markdown from "@textlint/textlint-plugin-markdown";
import { rules } from "./rules";

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
