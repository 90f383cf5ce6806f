/**
 * `npm run settings`: writes what follows from components/settings. With `--check` it writes nothing: exit code 1 when a file is not
 * current.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generated } from "./files";

const ROOT = join(__dirname, "../..");

async function main(): Promise<void> {
    const check = process.argv.includes("--check");
    for (const [path, text] of Object.entries(await generated(ROOT))) {
        const file = join(ROOT, path);
        if (existsSync(file) && readFileSync(file, "utf8") === text) continue;
        if (check) {
            console.log(`${path} does not fit components/settings: run npm run settings`);
            process.exitCode = 1;
        } else writeFileSync(file, text);
    }
}

void main();
