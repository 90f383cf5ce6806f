/** Command-line parsing with cobra's rules and words. */
import { CommandError } from "./errors";

export type FlagKind = "bool" | "string" | "strings" | "optional" | "int";
export interface Flag {
    kind: FlagKind;
    short?: string;
    help: string;
}
export type Flags = Record<string, Flag>;

export class Parsed {
    constructor(
        readonly args: string[],
        private readonly values: Map<string, string[]>,
    ) {}

    has(name: string): boolean {
        return this.values.has(name);
    }
    bool(name: string): boolean {
        const v = this.values.get(name)?.at(-1);
        return v === "true" || v === "1" || v === "t" || v === "T" || v === "TRUE" || v === "True";
    }
    string(name: string): string | undefined {
        return this.values.get(name)?.at(-1);
    }
    strings(name: string): string[] {
        return this.values.get(name) ?? [];
    }
    int(name: string): number | undefined {
        const v = this.string(name);
        if (v === undefined) return undefined;
        if (!/^-?\d+$/.test(v))
            throw new CommandError(
                `invalid argument "${v}" for "--${name}" flag: strconv.ParseInt: parsing "${v}": invalid syntax`,
            );
        return Number(v);
    }
}

const BOOLS = new Set(["true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False"]);

export function parseArgs(argv: readonly string[], flags: Flags): Parsed {
    const values = new Map<string, string[]>();
    const args: string[] = [];
    const byShort = new Map(Object.entries(flags).flatMap(([name, f]) => (f.short ? [[f.short, name] as const] : [])));
    const set = (name: string, v: string): void => {
        const f = flags[name]!;
        if (f.kind === "bool" && !BOOLS.has(v))
            throw new CommandError(
                `invalid argument "${v}" for "--${name}" flag: strconv.ParseBool: parsing "${v}": invalid syntax`,
            );
        values.set(name, f.kind === "strings" ? [...(values.get(name) ?? []), v] : [v]);
    };
    for (let i = 0; i < argv.length; i++) {
        const a = argv[i]!;
        if (a === "--") {
            args.push(...argv.slice(i + 1));
            break;
        }
        if (a.startsWith("--")) {
            const eq = a.indexOf("=");
            const name = eq < 0 ? a.slice(2) : a.slice(2, eq);
            const f = flags[name];
            if (!f) throw new CommandError(`unknown flag: --${name}`);
            if (eq >= 0) set(name, a.slice(eq + 1));
            else if (f.kind === "bool" || f.kind === "optional") set(name, "true");
            else if (i + 1 >= argv.length) throw new CommandError(`flag needs an argument: --${name}`);
            else set(name, argv[++i]!);
        } else if (a.startsWith("-") && a !== "-") {
            for (let j = 1; j < a.length; j++) {
                const name = byShort.get(a[j]!);
                if (!name) throw new CommandError(`unknown shorthand flag: '${a[j]}' in ${a}`);
                const f = flags[name]!;
                if (f.kind === "bool" || f.kind === "optional") {
                    if (a[j + 1] === "=") {
                        set(name, a.slice(j + 2));
                        break;
                    }
                    set(name, "true");
                } else {
                    const rest = a.slice(j + 1).replace(/^=/, "");
                    if (a.length > j + 1) set(name, rest);
                    else if (i + 1 >= argv.length) throw new CommandError(`flag needs an argument: '${a[j]}' in ${a}`);
                    else set(name, argv[++i]!);
                    break;
                }
            }
        } else args.push(a);
    }
    return new Parsed(args, values);
}

export interface Command {
    usage: string;
    help: string;
    flags: Flags;
    minArgs: number;
    maxArgs: number;
    run(p: Parsed): Promise<void>;
}

export function checkArgs(name: string, c: Command, n: number): void {
    if (c.minArgs === c.maxArgs && n !== c.minArgs) {
        if (c.maxArgs === 0) throw new CommandError(`unknown command for "${name}": accepts 0 arg(s), received ${n}`);
        throw new CommandError(`accepts ${c.minArgs} arg(s), received ${n}`);
    }
    if (n < c.minArgs) throw new CommandError(`requires at least ${c.minArgs} arg(s), only received ${n}`);
    if (n > c.maxArgs) throw new CommandError(`accepts at most ${c.maxArgs} arg(s), received ${n}`);
}

export function helpText(name: string, c: Command, global: Flags): string {
    const list = (flags: Flags): string =>
        Object.entries(flags)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(
                ([n, f]) =>
                    `  ${f.short ? `-${f.short},` : "   "} --${`${n}${f.kind === "bool" || f.kind === "optional" ? "" : ` ${f.kind}`}`.padEnd(30)} ${f.help}`,
            )
            .join("\n");
    return `${c.help}\n\nUsage:\n  ${name} ${c.usage}\n\nFlags:\n${list(c.flags)}\n\nGlobal Flags:\n${list(global)}\n`;
}
