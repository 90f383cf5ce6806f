/**
 * Secrets that stand in the stack file in clear: in git, in previews, in the state. One rule for every setting that can hold one: what is
 * certainly a secret is refused, as in proxy.haproxy, with the way to encrypt it; what only looks like one gives a warning, since a false
 * alarm must not stop anybody.
 */
import type { HaproxyConfig } from "../../haproxy";
import { holdsSecret } from "./manifests";
import { configPath, isSecretKey, type Report } from "../problems";
import type { Problem } from "../../haproxy/problem";
import type { StackSettings } from "../../settings";
import type { K3sConfig } from "../../model/cluster";

/** k3s settings whose value is a secret, whatever it is; those that the program sets itself are refused for that. */
const K3S_SECRETS: ReadonlySet<string> = new Set(["etcd-s3-session-token", "vpn-auth"]);

/** Flags of components that are given a secret itself, not a file, a switch or a time. */
const SECRET_FLAG = /^-{0,2}[a-z0-9-]*(password|passwd|secret|token|api-?key|secret-?key|access-?key)\+?=(.+)$/i;
const NO_SECRET = /^(\/.*|true|false|\d+(\.\d+)?(ms|s|m|h)?)$/;

// Schemes are short; without a limit a file of one long word takes hours.
const URL_PASSWORD = /[a-z][a-z0-9+.-]{0,30}:\/\/[^/\s:@'"]*:[^/\s@'"]+@/i;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const AUTHORIZATION = /\bauthorization['":\s,[]+(basic|bearer)\s+(?!%\[|\$)\S/i;
/** A line of a file that says so; a reference to another place is none. */
const LOOKS_SECRET =
    /^\s*["']?[\w.-]*(password|passwd|secret|token|api_?key|access_?key)["']?\s*[:=]\s*["']?(?![/$%{<]|@@|true|false|null|\d+\b)[^\s"']{6,}/im;

/** Why a text is certainly a secret; undefined when it is not. */
function certain(text: string): string | undefined {
    if (PRIVATE_KEY.test(text)) return "a private key";
    if (URL_PASSWORD.test(text)) return "a password in a URL";
    if (AUTHORIZATION.test(text)) return "an Authorization header";
    return undefined;
}

/** Settings that hold one in clear; `warnings` gets those that only look like it. */
export function checkClearSecrets(
    settings: StackSettings,
    encrypted: ReadonlySet<string>,
    report: Report,
    warnings: string[],
): void {
    const tell = (path: readonly PropertyKey[], what: string): void =>
        report(path, undefined, `holds ${what} in clear; ${wayOut(path)}`);
    for (const role of ["server", "agent"] as const)
        if (!encrypted.has(role)) {
            checkConfig(settings[role].config, [role, "config"], tell);
            walk(settings[role].environment, [role, "environment"], tell);
        }
    settings.nodes.forEach((node, i) => checkConfig(node.config, ["nodes", i, "config"], tell));
    for (const key of ["registries", "kubelet", "authentication"] as const)
        if (!encrypted.has(key)) walk(settings[key], [key], tell);
    if (!encrypted.has("manifests"))
        settings.manifests.forEach(({ name, content = "" }, i) => {
            const at = ["manifests", i, "content"];
            const what = certain(content) ?? (holdsSecret(content) ? "a Secret" : undefined);
            if (what !== undefined) tell(at, what);
            else if (LOOKS_SECRET.test(content))
                warnings.push(
                    `${configPath(at)} (${name}) looks as if it held a secret in clear; if it does, ${wayOut(at)}.`,
                );
        });
    if (!encrypted.has("host"))
        settings.host.files?.forEach(({ path, content }, i) => {
            const at = ["host", "files", i, "content"];
            const what = certain(content);
            if (what !== undefined) tell(at, what);
            else if (LOOKS_SECRET.test(content))
                warnings.push(
                    `${configPath(at)} (${path}) looks as if it held a secret in clear; if it does, ${wayOut(at)}.`,
                );
        });
}

function wayOut(path: readonly PropertyKey[]): string {
    if (path[0] === "nodes")
        return "of nodes[] nothing can be encrypted: put it into server.config or agent.config and encrypt it there, or into a file that only the host has";
    return `encrypt it, after it was changed where it is used: pulumi config set --secret --path '${configPath(path)}'`;
}

function checkConfig(
    config: K3sConfig | undefined,
    path: readonly PropertyKey[],
    tell: (path: readonly PropertyKey[], what: string) => void,
): void {
    for (const [key, value] of Object.entries(config ?? {})) {
        if (K3S_SECRETS.has(key)) tell([...path, key], "a secret");
        (Array.isArray(value) ? value : [value]).forEach((item, i) => {
            const text = String(item);
            const flag = key.endsWith("-arg") ? SECRET_FLAG.exec(text) : null;
            const what = certain(text) ?? (flag && !NO_SECRET.test(flag[2]!) ? "a secret" : undefined);
            if (what !== undefined) tell(Array.isArray(value) ? [...path, key, i] : [...path, key], what);
        });
    }
}

/** Content of YAML files: by the names of its keys, and by what its texts are. */
function walk(
    value: unknown,
    path: readonly PropertyKey[],
    tell: (path: readonly PropertyKey[], what: string) => void,
): void {
    if (typeof value === "string") {
        const last = [...path].reverse().find((part) => typeof part === "string");
        const what = certain(value) ?? (isSecretKey(String(last)) && value !== "" ? "a secret" : undefined);
        if (what !== undefined) tell(path, what);
    } else if (Array.isArray(value)) {
        value.forEach((inner, i) => walk(inner, [...path, i], tell));
    } else if (value !== null && typeof value === "object") {
        for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key], tell);
    }
}

/** Lines of own haproxy sections in which passwords have a place of their own; placeholders and variables are none. */
const HAPROXY_LINES = /\b(stats\s+auth\s+\S+?:(?!@@|\$|%\[)\S|(insecure-)?password\s+(?!@@|\$|%\[)\S)/i;

/** Secrets in lines and headers of own haproxy sections, besides those that have a field (inlineSecrets). */
export function haproxySecrets(own: HaproxyConfig): Problem[] {
    const problems: Problem[] = [];
    const look = (value: unknown, path: readonly PropertyKey[]): void => {
        if (typeof value === "string") {
            const what = certain(value) ?? (HAPROXY_LINES.test(value) ? "a password" : undefined);
            if (what !== undefined)
                problems.push({
                    path: configPath(path),
                    message: `holds ${what} in clear, and nothing in proxy can be encrypted; write a placeholder (@@stats-password@@), or let haproxy read it from a file that only the host has`,
                });
        } else if (value !== null && typeof value === "object") {
            const list = Array.isArray(value);
            for (const [key, inner] of Object.entries(value))
                if (!["passwd", "password", "insecure_password"].includes(key))
                    look(inner, [...path, list ? Number(key) : key]);
        }
    };
    look(own, ["proxy", "haproxy"]);
    return problems;
}
