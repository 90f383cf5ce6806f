/** From configuration texts to settings, and the files that a stack file names; for the program and for commands beside it. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { SECRET_SETTINGS, SpecError } from "./errors";

/** Settings whose config value is one text; all others are structures or numbers in YAML. */
const TEXT: ReadonlySet<string> = new Set(["cluster", "version", "readiness", "caHash", ...SECRET_SETTINGS]);

/** The value of a setting, from the text that Pulumi's configuration has of it. */
export function settingOf(key: string, text: string): unknown {
    if (TEXT.has(key)) return text;
    try {
        return JSON.parse(text) as unknown;
    } catch {
        return text;
    }
}

/** The file that a setting names, as an absolute path; relative names start at the project's folder. */
export function namedFile(folder: string, name: string): string {
    const expanded = name.replace(/^~(?=\/)/, homedir());
    return isAbsolute(expanded) ? expanded : join(folder, expanded);
}

/** The text of the file that a setting names; undefined when it is not set. @throws SpecError when there is no such file */
export function fileText(folder: string, name: unknown, setting: string): string | undefined {
    if (typeof name !== "string") return undefined;
    const path = namedFile(folder, name);
    if (!existsSync(path))
        throw new SpecError([
            {
                path: `k3s-ha:${setting}`,
                value: JSON.stringify(name),
                message: "names a file that does not exist (relative names start at the project's folder)",
            },
        ]);
    return readFileSync(path, "utf8");
}
