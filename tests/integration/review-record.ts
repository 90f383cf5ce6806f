/**
 * Records `pulumi preview --json` of every case, for the unit tests: node --require ./load/register.cjs tests/integration/review-record.ts
 * [CASE…]. Left out is what no review reads: outputs, and resources that stay the same but for the description.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CASES } from "./review-cases";
import { ReviewStack } from "./review-stack";

const FOLDER = join(__dirname, "../unit/commands/previews");

type Json = Record<string, unknown>;
const pick = (value: unknown, ...keys: string[]): Json | undefined =>
    value === undefined || value === null
        ? undefined
        : Object.fromEntries(Object.entries(value).filter(([key]) => keys.includes(key)));

/** Smaller, and otherwise as the engine printed it. */
export function trimmed(preview: Json): Json {
    const steps = (preview["steps"] as Json[]).map((step) => {
        const urn = step["urn"] as string;
        if (step["op"] === "same" && !urn.endsWith("::description")) return pick(step, "op", "urn");
        return {
            ...pick(step, "op", "urn", "diffReasons", "replaceReasons", "detailedDiff"),
            oldState: pick(step["oldState"], "inputs", "retainOnDelete"),
            newState: pick(step["newState"], "inputs", "retainOnDelete"),
        };
    });
    const config = pick(preview["config"], "k3s-ha:nodes", "k3s-ha:allow", "k3s-ha:rollout");
    return { ...pick(preview, "diagnostics", "changeSummary"), config, steps };
}

async function main(): Promise<void> {
    const only = process.argv.slice(2);
    const stack = await ReviewStack.make("review");
    try {
        for (const of of CASES.filter(({ name }) => only.length === 0 || only.includes(name))) {
            const { code, stdout, stderr } = await stack.previewOf(of);
            if ((code !== 0) !== (of.refused ?? false)) throw new Error(`${of.name}: ${stderr}${stdout.slice(-3000)}`);
            const text = stack.settled(JSON.stringify(trimmed(JSON.parse(stdout) as Json), null, 1));
            writeFileSync(join(FOLDER, `${of.name}.json`), `${text}\n`);
            console.log(of.name, text.length);
        }
    } finally {
        stack.end();
    }
}

if (require.main === module)
    main().catch((error: unknown) => {
        console.error(error);
        process.exitCode = 1;
    });
