/** The data of a step as a preview has it, taken apart again: components/remote/bundle.ts writes it. Pure. */

/** Settings as lines, files by their paths. */
export interface Parts {
    /** `key: value`, in the bundle's order. */
    readonly settings: readonly string[];
    /** Content by path. The mode is the first line's, so that a change of it is one. */
    readonly files: ReadonlyMap<string, readonly string[]>;
}

const INDENT = "    ";
/** How the first line of a file begins. */
export const MODE = "# mode ";

/** The parts of a bundle; undefined where the text is none, as that of a secret. */
export function parseBundle(text: unknown): Parts | undefined {
    if (typeof text !== "string" || !text.endsWith("\nend: yes\n")) return undefined;
    const settings: string[] = [];
    const files = new Map<string, string[]>();
    let file: string[] | undefined;
    for (const line of text.slice(0, -"end: yes\n".length).split("\n").slice(0, -1)) {
        const [, path, mode] = /^file: (\S+) (\S+)$/.exec(line) ?? [];
        if (path !== undefined) files.set(path, (file = [MODE + mode]));
        else if (file === undefined) settings.push(line);
        else file.push(line.startsWith(INDENT) ? line.slice(INDENT.length) : line);
    }
    return { settings, files };
}

/** The values of a setting. */
export const valuesOf = (parts: Parts, key: string): string[] =>
    parts.settings.filter((line) => line.startsWith(`${key}: `)).map((line) => line.slice(key.length + 2));

/** The names of the settings that differ. */
export function changedSettings(before: Parts, after: Parts): string[] {
    const keys = new Set([...before.settings, ...after.settings].map((line) => line.split(": ")[0] as string));
    return [...keys].filter((key) => valuesOf(before, key).join("\n") !== valuesOf(after, key).join("\n"));
}

/** The paths of the files that differ. */
export function changedFiles(before: Parts, after: Parts): string[] {
    const text = (parts: Parts, path: string): string | undefined => parts.files.get(path)?.join("\n");
    return [...new Set([...before.files.keys(), ...after.files.keys()])].filter(
        (path) => text(before, path) !== text(after, path),
    );
}
