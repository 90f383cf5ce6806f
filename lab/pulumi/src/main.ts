/** The command line: which command, with which flags, and the exit code. */
import { Parsed, checkArgs, type Command, type Flag, type Flags, helpText, parseArgs } from "./cli";
import {
    configGet,
    configList,
    configRemove,
    configSet,
    openStack,
    readConfig,
    stackExport,
    stackImport,
    stackInit,
    stackList,
    stackOutput,
    stackRemove,
    stackSelect,
    stackShow,
    stackUnselect,
} from "./commands";
import { login, openBackend } from "./backend";
import { BailError, CommandError } from "./errors";
import { anyChanges, type Changes, defaultParallel, type Kind, type OperationOptions, runOnce } from "./operation";
import { configKey, splitConfigPath } from "./project";
import { ask, isInteractive, useColor } from "./terminal";
import { VERSION } from "./version";

const GLOBAL: Flags = {
    color: { kind: "string", help: "Colorize output. Choices are: always, never, raw, auto" },
    cwd: { kind: "string", short: "C", help: "Run pulumi as if it had been started in another directory" },
    emoji: { kind: "bool", short: "e", help: "Enable emojis in the output (no effect here)" },
    "fully-qualify-stack-names": { kind: "bool", help: "Show fully-qualified stack names (no effect here)" },
    help: { kind: "bool", short: "h", help: "help for this command" },
    logflow: { kind: "bool", help: "Flow log settings to child processes (no effect here)" },
    logtostderr: { kind: "bool", help: "Log to stderr instead of to files (no effect here)" },
    "non-interactive": { kind: "bool", help: "Disable interactive mode for all commands" },
    verbose: { kind: "int", short: "v", help: "Enable verbose logging (no effect here)" },
};
const STACK: Flags = {
    stack: { kind: "string", short: "s", help: "The name of the stack to operate on. Defaults to the current stack" },
};
const SHOW: Flags = { "show-secrets": { kind: "bool", help: "Display secrets in plaintext" } };
const JSON_FLAG: Flags = { json: { kind: "bool", short: "j", help: "Emit output as JSON" } };
const PATH: Flags = { path: { kind: "bool", help: "The key contains a path to a property in a map or list" } };
const CONFIG_FILE: Flags = {
    "config-file": {
        kind: "string",
        help: "Use the configuration values in the specified file rather than detecting the file name",
    },
};

const OPERATION: Flags = {
    ...STACK,
    ...JSON_FLAG,
    ...CONFIG_FILE,
    "continue-on-error": { kind: "bool", help: "Continue updating resources even if an error is encountered" },
    debug: { kind: "bool", short: "d", help: "Print detailed debugging output (no effect here)" },
    diff: { kind: "bool", help: "Display operation as a rich diff showing the overall change" },
    "exec-kind": { kind: "string", help: "(no effect here)" },
    "exec-agent": { kind: "string", help: "(no effect here)" },
    "expect-no-changes": { kind: "bool", help: "Return an error if any changes occur" },
    "ignore-protect": { kind: "bool", help: "Ignore the protect resource option" },
    message: { kind: "string", short: "m", help: "Optional message (no effect here: there is no history)" },
    parallel: {
        kind: "int",
        short: "p",
        help: "Allow P resource operations to run in parallel at once (1 for no parallelism)",
    },
    "show-full-output": { kind: "bool", help: "Display full length of inputs & outputs" },
    "show-replacement-steps": {
        kind: "bool",
        help: "Show detailed resource replacement creates and deletes instead of a single step",
    },
    "show-sames": { kind: "bool", help: "Show resources that needn't be updated because they haven't changed" },
    "show-secrets": { kind: "bool", help: "Show secret outputs in the CLI output" },
    "suppress-outputs": { kind: "bool", help: "Suppress display of stack outputs" },
    "suppress-permalink": { kind: "optional", help: "Suppress display of the state permalink" },
    "suppress-progress": { kind: "bool", help: "Suppress display of periodic progress dots (no effect here)" },
    target: { kind: "strings", short: "t", help: "Specify a single resource URN to work on" },
    "target-dependents": {
        kind: "bool",
        help: "Allows updating of dependent targets discovered but not specified in --target list",
    },
    urns: { kind: "bool", help: "Display full URNs instead of short resource names" },
};
const CONFIRM: Flags = {
    yes: { kind: "bool", short: "y", help: "Automatically approve and perform the operation after previewing it" },
    "skip-preview": { kind: "bool", short: "f", help: "Do not calculate a preview before performing the operation" },
};
const PROGRAM: Flags = {
    config: { kind: "strings", short: "c", help: "Config to use during the operation" },
    "config-path": { kind: "bool", help: "Config keys contain a path to a property in a map or list to set" },
    refresh: { kind: "optional", short: "r", help: "Refresh the state of the stack's resources before this operation" },
    replace: { kind: "strings", help: "Specify a single resource URN to replace" },
    "show-config": { kind: "bool", help: "Show configuration keys and variables" },
    "skip-config-validation": {
        kind: "bool",
        help: "Skip validation of stack config values against the project config schema",
    },
    "target-replace": {
        kind: "strings",
        help: "Specify a single resource URN to replace; shorthand for --target urn --replace urn",
    },
};

/** Prefixes of an operation: what is common to all of them. */
async function operate(p: Parsed, kind: Kind, previewOnly: boolean): Promise<void> {
    const interactive = isInteractive(p);
    const skip = p.bool("skip-preview");
    if (!previewOnly && !interactive && !p.bool("yes") && !skip)
        throw new CommandError(
            "--yes or --skip-preview or --preview-only must be passed in to proceed when running in non-interactive mode",
            2,
        );
    if (p.bool("preview-only") && (skip || p.bool("yes")))
        throw new CommandError(`${skip ? "--skip-preview" : "--yes"} and --preview-only cannot be used together`);
    const s = openStack(p);
    if (p.strings("config").length > 0) {
        for (const pair of p.strings("config")) {
            const eq = pair.indexOf("=");
            const name = eq < 0 ? pair : pair.slice(0, eq);
            const { key, below } = p.bool("config-path")
                ? splitConfigPath(s.project.name, name)
                : { key: configKey(s.project.name, name), below: [] };
            s.file.set(key, below, eq < 0 ? "" : pair.slice(eq + 1), undefined);
        }
        s.file.save();
    }
    const [crypter, config] = await Promise.all([
        s.crypter(),
        readConfig(s, kind === "update" && !p.bool("skip-config-validation")),
    ]);
    const parallel = p.int("parallel") ?? defaultParallel();
    const o: OperationOptions = {
        kind,
        project: s.project,
        backend: s.backend,
        ref: s.ref,
        crypter,
        config,
        display: {
            type: p.bool("diff") ? "diff" : "progress",
            json: p.bool("json"),
            showSames: p.bool("show-sames"),
            showSecrets: p.bool("show-secrets"),
            showReplacementSteps: p.bool("show-replacement-steps"),
            showConfig: p.bool("show-config"),
            suppressOutputs: p.bool("suppress-outputs"),
            truncate: !p.bool("show-full-output"),
            showUrns: p.bool("urns"),
            color: useColor(p),
            refresh: kind === "refresh",
        },
        parallel: parallel < 1 ? Infinity : parallel,
        refresh: p.has("refresh") && p.bool("refresh"),
        continueOnError: p.bool("continue-on-error") || process.env.PULUMI_CONTINUE_ON_ERROR === "true",
        ignoreProtect: p.bool("ignore-protect"),
        suppressPermalink: p.bool("suppress-permalink"),
        targets: [...p.strings("target"), ...p.strings("target-replace")],
        targetDependents: p.bool("target-dependents"),
        replaceTargets: [...p.strings("replace"), ...p.strings("target-replace")],
        clearPendingCreates: p.bool("clear-pending-creates"),
    };
    const expect = (c: Changes, preview: boolean): void => {
        if (p.bool("expect-no-changes") && anyChanges(c))
            throw new CommandError(`no changes were expected but changes ${preview ? "were proposed" : "occurred"}`, 7);
    };
    if (previewOnly) return expect(await runOnce(o, true), true);

    s.backend.lock(s.ref);
    const release = (): void => s.backend.unlock(s.ref);
    process.once("exit", release);
    try {
        if (!skip) {
            const planned = await runOnce(o, true);
            if (p.bool("preview-only")) return expect(planned, true);
            if (!p.bool("yes")) {
                const word = { update: "update", refresh: "refresh", destroy: "destroy" }[kind];
                const answer = await ask(`Do you want to perform this ${word}? (yes/no) `);
                if (answer !== "yes")
                    throw new CommandError(`confirmation declined, not proceeding with the ${word}`, 8);
            }
        }
        s.backend.backup(s.ref);
        const changes = await runOnce(o, false);
        expect(changes, false);
    } finally {
        process.off("exit", release);
        release();
    }
    if (kind === "destroy" && !o.display.json) {
        if (p.bool("remove")) {
            s.backend.remove(s.ref);
            process.stdout.write(
                `The resources in the stack have been deleted, and the stack '${s.ref.stack}' has been removed.\n`,
            );
        } else if (o.targets.length === 0)
            process.stdout.write(
                "The resources in the stack have been deleted, but the history and configuration associated with the stack are still maintained. \n" +
                    `If you want to remove the stack completely, run \`pulumi stack rm ${s.ref.stack}\`.\n`,
            );
    }
}

const command = (
    usage: string,
    help: string,
    flags: Flags,
    minArgs: number,
    maxArgs: number,
    run: Command["run"],
): Command => ({
    usage,
    help,
    flags,
    minArgs,
    maxArgs,
    run,
});

const COMMANDS: Record<string, Command> = {
    up: command(
        "up [flags]",
        "Create or update the resources in a stack",
        { ...OPERATION, ...CONFIRM, ...PROGRAM, "preview-only": { kind: "bool", help: "Only show a preview" } },
        0,
        0,
        (p) => operate(p, "update", false),
    ),
    preview: command(
        "preview [flags]",
        "Show a preview of updates to a stack's resources",
        { ...OPERATION, ...PROGRAM },
        0,
        0,
        (p) => operate(p, "update", true),
    ),
    refresh: command(
        "refresh [flags]",
        "Refresh the resources in a stack",
        {
            ...OPERATION,
            ...CONFIRM,
            "preview-only": { kind: "bool", help: "Only show a preview of the refresh" },
            "clear-pending-creates": { kind: "bool", help: "Clear all pending creates, dropping them from the state" },
        },
        0,
        0,
        (p) => operate(p, "refresh", false),
    ),
    destroy: command(
        "destroy [flags]",
        "Destroy all existing resources in a stack",
        {
            ...OPERATION,
            ...CONFIRM,
            refresh: PROGRAM.refresh!,
            "preview-only": { kind: "bool", help: "Only show a preview of the destroy" },
            remove: { kind: "bool", help: "Remove the stack after all resources have been deleted" },
        },
        0,
        0,
        (p) => operate(p, "destroy", false),
    ),
    stack: command(
        "stack [flags]",
        "Manage stacks and view stack state",
        {
            ...STACK,
            ...SHOW,
            "show-name": { kind: "bool", help: "Display only the stack name" },
            "show-urns": { kind: "bool", short: "u", help: "Display each resource's URN" },
        },
        0,
        0,
        stackShow,
    ),
    "stack init": command(
        "stack init [name]",
        "Create an empty stack with the given name",
        {
            ...STACK,
            "no-select": { kind: "bool", help: "Do not select the stack" },
            "secrets-provider": { kind: "string", help: "default or passphrase" },
        },
        0,
        1,
        stackInit,
    ),
    "stack select": command(
        "stack select [name]",
        "Switch the current workspace to the given stack",
        { ...STACK, create: { kind: "bool", short: "c", help: "If selected stack does not exist, create it" } },
        0,
        1,
        stackSelect,
    ),
    "stack unselect": command("stack unselect", "Reset the current workspace's stack", {}, 0, 0, stackUnselect),
    "stack ls": command(
        "stack ls",
        "List stacks",
        {
            ...JSON_FLAG,
            all: { kind: "bool", short: "a", help: "List all stacks instead of just stacks for the current project" },
        },
        0,
        0,
        stackList,
    ),
    "stack output": command(
        "stack output [property-name]",
        "Show a stack's output properties",
        { ...STACK, ...JSON_FLAG, ...SHOW, shell: { kind: "bool", help: "Emit output as a shell script" } },
        0,
        1,
        stackOutput,
    ),
    "stack export": command(
        "stack export",
        "Export a stack's deployment to standard out",
        { ...STACK, ...SHOW, file: { kind: "string", help: "A filename to write stack output to" } },
        0,
        0,
        stackExport,
    ),
    "stack import": command(
        "stack import",
        "Import a deployment from standard in into an existing stack",
        {
            ...STACK,
            file: { kind: "string", help: "A filename to read stack input from" },
            force: {
                kind: "bool",
                short: "f",
                help: "Force the import to occur, even if apparent errors are discovered beforehand",
            },
        },
        0,
        0,
        stackImport,
    ),
    "stack rm": command(
        "stack rm [name]",
        "Remove a stack and its configuration",
        {
            ...STACK,
            yes: CONFIRM.yes!,
            force: {
                kind: "bool",
                short: "f",
                help: "Forces deletion of the stack, leaving behind any resources managed by the stack",
            },
            "preserve-config": {
                kind: "bool",
                help: "Do not delete the corresponding Pulumi.<stack-name>.yaml configuration file",
            },
        },
        0,
        1,
        stackRemove,
    ),
    config: command(
        "config [flags]",
        "Manage configuration",
        { ...STACK, ...JSON_FLAG, ...SHOW, ...CONFIG_FILE },
        0,
        0,
        configList,
    ),
    "config get": command(
        "config get <key>",
        "Get a single configuration value",
        { ...STACK, ...JSON_FLAG, ...PATH, ...CONFIG_FILE },
        1,
        1,
        configGet,
    ),
    "config set": command(
        "config set <key> [value]",
        "Set configuration value",
        {
            ...STACK,
            ...PATH,
            ...CONFIG_FILE,
            secret: { kind: "bool", help: "Encrypt the value instead of storing it in plaintext" },
            plaintext: { kind: "bool", help: "Save the value as plaintext (unencrypted)" },
        },
        1,
        2,
        configSet,
    ),
    "config rm": command(
        "config rm <key>",
        "Remove configuration value",
        { ...STACK, ...PATH, ...CONFIG_FILE },
        1,
        1,
        configRemove,
    ),
    cancel: command(
        "cancel [stack-name]",
        "Cancel a stack's currently running update, if any",
        { ...STACK, yes: CONFIRM.yes! },
        0,
        1,
        async (p) => {
            const s = openStack(p, p.args[0] ?? p.string("stack"));
            if (!p.bool("yes")) {
                if (!isInteractive(p))
                    throw new CommandError(
                        "--yes must be passed in to proceed when running in non-interactive mode",
                        2,
                    );
                if (
                    (await ask(
                        `This will irreversibly cancel the currently running update for '${s.ref.stack}'! (yes/no) `,
                    )) !== "yes"
                )
                    throw new CommandError("confirmation declined", 8);
            }
            s.backend.removeLocks(s.ref);
            process.stdout.write(`The currently running update for '${s.ref.stack}' has been canceled!\n`);
        },
    ),
    login: command(
        "login [url]",
        "Log in to a file backend",
        { local: { kind: "bool", short: "l", help: "Use Pulumi in local-only mode" } },
        0,
        1,
        async (p) => {
            const url = p.bool("local") ? "file://~" : p.args[0];
            if (!url) throw new CommandError("only file://DIR and --local are supported by this stand-in for pulumi");
            login(url);
            process.stdout.write(`Logged in to ${openBackend(undefined).url}\n`);
        },
    ),
    whoami: command("whoami", "Display the current logged-in user", {}, 0, 0, async () => {
        const { userInfo } = await import("node:os");
        process.stdout.write(`${userInfo().username}\n`);
    }),
    version: command(
        "version",
        "Print Pulumi's version number",
        {},
        0,
        0,
        async () => void process.stdout.write(`v${VERSION}\n`),
    ),
};
const ALIASES: Record<string, string> = {
    update: "up",
    pre: "preview",
    down: "destroy",
    dn: "destroy",
    "stack list": "stack ls",
    "stack new": "stack init",
    "stack remove": "stack rm",
    "config remove": "config rm",
};

/** The command's words come first; flags may stand between them. */
function findCommand(argv: string[]): { name: string; rest: string[] } {
    const takesValue = ([, f]: [string, Flag]): boolean => f.kind !== "bool" && f.kind !== "optional";
    const all = [GLOBAL, ...Object.values(COMMANDS).map((c) => c.flags)].flatMap((f) =>
        Object.entries(f).filter(takesValue),
    );
    const valued = new Set([...all.map(([n]) => `--${n}`), "-s", "-C", "-v"]);
    const words: number[] = [];
    for (let i = 0; i < argv.length && words.length < 2; i++) {
        const a = argv[i]!;
        if (a === "--") break;
        if (a.startsWith("-")) {
            // `stack --stack dev output`: a value is no word.
            if (valued.has(a)) i++;
            continue;
        }
        words.push(i);
    }
    const first = words[0] === undefined ? "" : argv[words[0]]!;
    const second = words[1] === undefined ? undefined : argv[words[1]]!;
    const resolve = (n: string): string => ALIASES[n] ?? n;
    if (second !== undefined) {
        const two = resolve(`${resolve(first)} ${second}`);
        if (COMMANDS[two]) return { name: two, rest: argv.filter((_, i) => i !== words[0] && i !== words[1]) };
    }
    const one = resolve(first);
    if (!COMMANDS[one]) {
        if (first === "") throw new CommandError("no command given; see `pulumi --help`", 1);
        throw new CommandError(`unknown command "${first}" for "pulumi"`);
    }
    if (second !== undefined && (one === "stack" || one === "config"))
        throw new CommandError(`unknown command "${second}" for "pulumi ${one}"`);
    return { name: one, rest: argv.filter((_, i) => i !== words[0]) };
}

async function main(argv: string[]): Promise<void> {
    if (argv.length === 0 || (argv.length === 1 && ["--help", "-h", "help"].includes(argv[0]!))) {
        const list = Object.entries(COMMANDS).map(([n, c]) => `  ${n.padEnd(16)} ${c.help}`);
        process.stdout.write(
            `A stand-in for the pulumi command line (v${VERSION}), for the lab only.\n\nCommands:\n${list.join("\n")}\n`,
        );
        if (argv.length === 0) throw new BailError();
        return;
    }
    if (argv.length === 1 && argv[0] === "--version") argv = ["version"];
    const { name, rest } = findCommand(argv);
    const c = COMMANDS[name]!;
    const p = parseArgs(rest, { ...GLOBAL, ...c.flags });
    if (p.bool("help")) return void process.stdout.write(helpText("pulumi", c, GLOBAL));
    checkArgs(`pulumi ${name}`, c, p.args.length);
    const color = p.string("color");
    if (color !== undefined && !["always", "never", "raw", "auto"].includes(color))
        throw new CommandError(`unsupported color option: '${color}'.  Supported values are: always, never, raw, auto`);
    const cwd = p.string("cwd");
    if (cwd !== undefined) {
        try {
            process.chdir(cwd);
        } catch {
            throw new CommandError(`chdir ${cwd}: no such file or directory`);
        }
    }
    await c.run(p);
}

main(process.argv.slice(2)).then(
    () => {
        process.exitCode ??= 0;
        // Connections of programs that hang on must not keep us.
        process.stdout.write("", () => process.exit());
    },
    (e: Error) => {
        if (!(e instanceof BailError))
            process.stderr.write(`error: ${e instanceof CommandError ? e.message : (e.stack ?? e.message)}\n`);
        process.exitCode = e instanceof CommandError ? e.exitCode : 255;
        process.stdout.write("", () => process.exit());
    },
);
