/** From configuration texts to settings, and the files that a stack file names; for the program and for the commands. */
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { shown } from "./problems";
import type { Problem } from "../haproxy/problem";
import { TEXT_SETTINGS } from "../settings";

/** The value of a setting, from the text that Pulumi's configuration has of it. */
export function settingOf(key: string, text: string): unknown {
    if (TEXT_SETTINGS.has(key)) return text;
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

/** Text of the file that a setting names; a file that cannot be read is a mistake of the setting. */
export function fileText(folder: string, name: unknown, setting: string, problems: Problem[]): string | undefined {
    if (typeof name !== "string" || name.includes("\0")) return undefined;
    const path = namedFile(folder, name);
    try {
        // Not a device, which may have no end.
        if (statSync(path).isFile()) return readFileSync(path, "utf8");
        problems.push({ path: `k3s-ha:${setting}`, value: shown(name), message: "must name a file, and this is none" });
    } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        const why = code === "ENOENT" ? "does not exist" : `cannot be read (${code})`;
        problems.push({
            path: `k3s-ha:${setting}`,
            value: shown(name),
            message: `names a file that ${why} (relative names start at the project's folder)`,
        });
    }
    return undefined;
}

/** Texts of the files that `ssh` names; mistakes are added to the list. */
export function sshFiles(
    folder: string,
    ssh: unknown,
    problems: Problem[],
): { readonly knownHosts?: string; readonly privateKey?: string } {
    const { knownHosts, privateKeyFile } = (ssh ?? {}) as { knownHosts?: unknown; privateKeyFile?: unknown };
    return {
        knownHosts: fileText(folder, knownHosts, "ssh.knownHosts", problems),
        privateKey: fileText(folder, privateKeyFile, "ssh.privateKeyFile", problems),
    };
}
