/** Is there somebody to ask, and asking. */
import { createInterface } from "node:readline/promises";
import type { Parsed } from "./cli";

export function isInteractive(p: Parsed): boolean {
    return (
        !p.bool("non-interactive") && !process.env.CI && process.stdin.isTTY === true && process.stdout.isTTY === true
    );
}

export async function ask(prompt: string): Promise<string> {
    const rl = createInterface({ input: process.stdin, output: process.stdout });
    try {
        return (await rl.question(prompt)).trim();
    } finally {
        rl.close();
    }
}

/** `--color auto|always|never|raw`; auto follows the terminal and NO_COLOR. */
export function useColor(p: Parsed): boolean {
    const c = p.string("color") ?? "auto";
    if (c === "always") return true;
    return c === "auto" && process.stdout.isTTY === true && !process.env.NO_COLOR;
}
