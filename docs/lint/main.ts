/** `npm run prose [FILE…]`: reads this repository's Markdown, and without FILE the words of its sources. Exit code 0: nothing found; 1: findings, one a line. */
import { documents, lint, lintSource, sourceFiles } from "./prose";
import { resolve } from "node:path";

async function main(): Promise<void> {
    const files = process.argv.slice(2);
    const findings: string[] = [];
    for (const file of files.length > 0 ? files : documents()) findings.push(...(await lint(resolve(file))));
    if (files.length === 0) findings.push(...sourceFiles().flatMap((file) => lintSource(file)));
    for (const finding of findings) console.log(finding);
    if (findings.length > 0) {
        console.log(`${findings.length} findings; words: docs/lint/vocabulary.yaml, limits: docs/lint/rules.ts`);
        process.exitCode = 1;
    }
}

void main();
