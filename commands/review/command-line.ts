/** A step's command line, taken apart: components/remote/node-command.ts writes it. Pure. */
import type { Inputs } from "./preview";

/** The last words of a command. */
export interface Command {
    readonly text: string;
    /** Digest of the step's script. */
    readonly digest?: string;
    /** The mark of the secrets that the step uses, or another small fact. */
    readonly note?: string;
}

/** The command that an update runs. A long one is several quoted words to the login shell. */
export function commandOf(inputs: Inputs): Command {
    const input = inputs["update"] ?? inputs["create"];
    const text = typeof input === "string" ? input.replaceAll("' '", "") : "";
    const [, digest, note] = / # ([0-9a-f]{12})(?: (.+?))?'?$/.exec(text) ?? [];
    return { text, digest, note };
}

/** Scripts of the kit with their digests, as step prepare's command has them. */
export function scriptsOf(inputs: Inputs): ReadonlyMap<string, string> {
    const { text } = commandOf({ create: inputs["create"] });
    return new Map([...text.matchAll(/# ([\w-]+\.sh) ([0-9a-f]{12})/g)].map(([, name, sum]) => [name!, sum!]));
}
