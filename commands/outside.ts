/**
 * The settings of a stack for commands that run outside of Pulumi: asked of the `pulumi` command line, checked as the program checks
 * them. Secrets are not shown, so what is secret is absent here.
 */
import { execFileSync } from "node:child_process";
import { checkSpec, type CheckedSpec } from "../components/config/check";
import { SECRET_SETTINGS, SpecError } from "../components/config/problems";
import type { Problem } from "../components/haproxy/problem";
import { fileText, namedFile, settingOf } from "../components/config/source";

/** A stack as a command outside of Pulumi sees it. */
export interface OutsideStack extends CheckedSpec {
    /** Names of the settings that are secret in the stack file. */
    readonly secret: ReadonlySet<string>;
    /** Absolute path of `ssh.privateKeyFile`, if set. */
    readonly privateKeyFile?: string;
}

/** Runs `pulumi` in the project's folder and returns what it printed; its messages go to our stderr. */
export function pulumi(folder: string, args: readonly string[], input?: string): string {
    return execFileSync("pulumi", [...args, "--non-interactive", "--color", "never"], {
        cwd: folder,
        input: input ?? "",
        encoding: "utf8",
        maxBuffer: 1024 * 1024 * 1024,
        stdio: ["pipe", "pipe", "inherit"],
    });
}

/** The checked settings of a stack. @throws SpecError listing every mistake */
export function readOutside(folder: string, stack: string): OutsideStack {
    return parseOutside(folder, pulumi(folder, ["config", "--json", "--stack", stack]));
}

/** From the text of `pulumi config --json`; reads the files that the settings name. */
export function parseOutside(folder: string, configJson: string): OutsideStack {
    const config = JSON.parse(configJson) as Record<string, { value?: string; secret?: boolean }>;
    const raw: Record<string, unknown> = {};
    const secret = new Set<string>();
    for (const [name, { value, secret: hidden }] of Object.entries(config)) {
        const key = /^k3s-ha:(.+)$/.exec(name)?.[1];
        if (key === undefined) continue;
        if (hidden === true && SECRET_SETTINGS.has(key)) {
            secret.add(key);
            // The bucket's keys are checked against each other by their presence.
            if (key.startsWith("s3")) raw[key] = "secret-is-not-shown";
        } else if (value !== undefined && value !== "") raw[key] = settingOf(key, value);
    }
    const ssh = (raw["ssh"] ?? {}) as { knownHosts?: unknown; privateKeyFile?: unknown };
    const problems: Problem[] = [];
    const knownHosts = fileText(folder, ssh.knownHosts, "ssh.knownHosts", problems);
    if (problems.length > 0) throw new SpecError(problems);
    const checked = checkSpec(raw, { knownHosts });
    const file = typeof ssh.privateKeyFile === "string" ? namedFile(folder, ssh.privateKeyFile) : undefined;
    return { ...checked, secret, privateKeyFile: file };
}
