/** Reads the stack's configuration: the one place that knows pulumi.Config and the files a stack file names. */
import * as pulumi from "@pulumi/pulumi";
import type { GivenSecrets, SshAccess } from "../model/credentials";
import { checkSpec, type CheckedSpec } from "./check";
import { SECRET_SETTINGS, SpecError } from "./problems";
import type { Problem } from "../haproxy/problem";
import { stackSchema, type SecretName } from "../settings";
import { settingOf, sshFiles } from "./source";

/** Everything the program is told. */
export interface StackInput extends CheckedSpec {
    readonly access: SshAccess;
    readonly given: GivenSecrets;
}

/**
 * Reads and checks the configuration of the current stack.
 * @param folder the project's folder, to which relative file names refer
 * @throws RunError listing every mistake
 */
export function readStack(folder: string): StackInput {
    const config = new pulumi.Config();
    // Without a prototype, so that a setting called __proto__ is one like any other.
    const raw = Object.create(null) as Record<string, unknown>;
    for (const key of keysOf(config.name)) {
        const text = config.get(key);
        if (text === undefined || text === "") continue;
        raw[key] = settingOf(key, text);
    }
    // Which keys are encrypted: the engine says so here (SDK: runtime/config, configSecretKeysEnvKey), but exports no question for it.
    const secretKeys = JSON.parse(process.env["PULUMI_CONFIG_SECRET_KEYS"] ?? "[]") as string[];
    const encrypted = new Set(Object.keys(raw).filter((key) => secretKeys.includes(`${config.name}:${key}`)));
    const open = Object.keys(raw).filter((key) => SECRET_SETTINGS.has(key) && !encrypted.has(key));
    const problems: Problem[] = open.map((key) => ({
        path: `k3s-ha:${key}`,
        message: `stands in the stack file in clear; set it with: pulumi config set --secret k3s-ha:${key}, and change it where it was used`,
    }));
    const { knownHosts, privateKey: keyFile } = sshFiles(folder, raw["ssh"], problems);
    const checked = orMistakes(problems, encrypted, () => checkSpec(raw, { knownHosts, encrypted }));
    const secret = (key: SecretName): pulumi.Output<string> | undefined =>
        raw[key] === undefined ? undefined : pulumi.secret(raw[key] as string);
    return { ...checked, ...credentials(secret, keyFile) };
}

/** Who logs in, and the secrets of the cluster: `secret` gives what the user has set, `keyFile` is the file that `ssh` names. */
export function credentials(
    secret: (key: SecretName) => pulumi.Output<string> | undefined,
    keyFile: string | undefined,
): Pick<StackInput, "access" | "given"> {
    return {
        access: {
            privateKey: secret("sshPrivateKey") ?? (keyFile === undefined ? undefined : pulumi.secret(keyFile)),
            privateKeyPassword: secret("sshPrivateKeyPassword"),
        },
        given: {
            token: secret("token"),
            agentToken: secret("agentToken"),
            statsPassword: secret("statsPassword"),
            s3AccessKey: secret("s3AccessKey"),
            s3SecretKey: secret("s3SecretKey"),
        },
    };
}

/** The known keys, and the unknown ones that the stack sets, so that they are refused. */
function keysOf(project: string): string[] {
    const set = Object.keys(pulumi.runtime.allConfig()).filter((k) => k.startsWith(`${project}:`));
    return [...new Set([...Object.keys(stackSchema.shape), ...set.map((k) => k.slice(project.length + 1))])];
}

/**
 * What the check returns; where it or others found mistakes, one error with all of them, without values of encrypted settings.
 * @throws RunError, which Pulumi shows as its message alone
 */
export function orMistakes<T>(others: readonly Problem[], encrypted: ReadonlySet<string>, check: () => T): T {
    const hidden = (p: Problem): boolean => [...encrypted].some((key) => p.path.startsWith(`k3s-ha:${key}`));
    let problems = others;
    try {
        const checked = check();
        if (others.length === 0) return checked;
    } catch (error) {
        if (!(error instanceof SpecError)) throw error;
        problems = [...others, ...error.problems.map((p) => (hidden(p) ? { ...p, value: undefined } : p))];
    }
    // Its stack is the message too: the SDK renders the stack with colours, and Node 20 takes a minute and more for the
    // source-mapped lines of one.
    const told = new pulumi.RunError(new SpecError(problems).message);
    told.stack = told.message;
    throw told;
}
