/**
 * npm run review -- --stack NAME [--from FILE]: what a change of the stack file does to the cluster, as Markdown for a comment on a pull
 * request. Runs `pulumi preview --json`, or reads what one printed (`--from -`: from stdin). Exit code 0: the preview could be made. 1: it
 * failed or was refused, as that of `pulumi preview`; the Markdown tells why.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { review } from "./markdown";
import { readPreview } from "./preview";

const FOLDER = join(__dirname, "../..");
const USAGE = "npm run review -- --stack NAME [--from FILE]";

/** What the command printed, and whether it failed. */
interface Printed {
    readonly text: string;
    readonly failed: boolean;
}

function printed(stack: string, from: string | undefined): Printed {
    if (from !== undefined) return { text: readFileSync(from === "-" ? 0 : from, "utf8"), failed: false };
    const run = spawnSync("pulumi", ["preview", "--json", "--show-sames", "--non-interactive", "--stack", stack], {
        cwd: FOLDER,
        encoding: "utf8",
        maxBuffer: 1024 * 1024 * 1024,
        stdio: ["ignore", "pipe", "inherit"],
    });
    if (run.error) throw run.error;
    return { text: run.stdout, failed: run.status !== 0 };
}

/** The JSON that a preview printed; an error that a reader understands where it printed none. */
export function parsed(text: string): unknown {
    try {
        return JSON.parse(text);
    } catch {
        return { error: "pulumi printed no preview: see the log of the command" };
    }
}

/** The review, and the exit code. */
export function reviewOf(
    stack: string,
    { text, failed }: Printed,
): { readonly markdown: string; readonly code: number } {
    const preview = readPreview(parsed(text), failed);
    return { markdown: review(preview, stack), code: preview.failed ? 1 : 0 };
}

function main(): number {
    const { values } = parseArgs({ options: { stack: { type: "string" }, from: { type: "string" } } });
    if (!values.stack) throw new Error(`which stack? ${USAGE}`);
    const { markdown, code } = reviewOf(values.stack, printed(values.stack, values.from));
    process.stdout.write(markdown);
    return code;
}

if (require.main === module) {
    try {
        process.exitCode = main();
    } catch (error) {
        console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
        process.exitCode = 1;
    }
}
