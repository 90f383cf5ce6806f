/** What a change of step server or agent is: the same that k3s-files.sh and k3s-start.sh look at. Pure. */
import { parse } from "yaml";
import { changedFiles, changedSettings, valuesOf, type Parts } from "./bundle";
import type { Kind } from "./consequences";
import { dataOf, secretsChanged, type Around, type Effect } from "./data";
import type { Change } from "./preview";

type Found = Omit<Effect, "owner">;

const CONFIG = "/etc/rancher/k3s/config.yaml";
const REGISTRATION = "/etc/rancher/k3s/config.yaml.d/40-registration.yaml";

/** Settings of the bundle whose change restarts k3s. */
export const RESTARTS: Readonly<Record<string, Kind>> = {
    version: "k3s-version",
    reads: "k3s-own-file",
    "from-servers": "k3s-from-servers",
    renew: "k3s-certificates",
    encryption: "k3s-encryption",
    datastore: "k3s-datastore",
    "flannel-backend": "k3s-network",
};

/** Those that only run the step again: what they change in k3s's files is seen there. A setting that is in neither list is named as unknown. */
export const QUIET: readonly string[] = [
    "node",
    "address",
    "join-url",
    "snapshot",
    "rotates",
    "no-node-ready",
    "no-node-initialized",
    "drain-seconds",
    "backend",
    "proxy-ca",
    "wait-seconds",
];

/** The keys of a YAML map that differ; none where one is no map. */
function changedKeys(before: readonly string[], after: readonly string[]): string[] {
    const [old, now] = [before, after].map(mapOf) as [Record<string, unknown>, Record<string, unknown>];
    const keys = new Set([...Object.keys(old), ...Object.keys(now)]);
    return [...keys].filter((key) => JSON.stringify(old[key]) !== JSON.stringify(now[key])).sort();
}

function mapOf(lines: readonly string[]): Record<string, unknown> {
    try {
        const value: unknown = parse(lines.join("\n"), { version: "1.1", logLevel: "silent" });
        return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
    } catch {
        return {};
    }
}

function fileEffects(path: string, before: Parts, after: Parts): Found[] {
    if (path === REGISTRATION) return [{ kind: "k3s-registration" }];
    if (path.startsWith("/etc/systemd/system/")) return [{ kind: "k3s-unit" }];
    if (path !== CONFIG) return [{ kind: "k3s-file", detail: path }];
    const keys = changedKeys(before.files.get(path) ?? [], after.files.get(path) ?? []);
    return keys.length === 0 ? [{ kind: "k3s-config" }] : keys.map((detail) => ({ kind: "k3s-config", detail }));
}

function settingEffect(setting: string, before: Parts, after: Parts): Found {
    const quiet: Kind = QUIET.includes(setting) ? "k3s-quiet" : "other";
    const kind = RESTARTS[setting] ?? (setting === "rebuilt" ? "rebuilt" : quiet);
    if (kind === "k3s-version")
        return { kind, detail: `${valuesOf(before, setting).join()} → ${valuesOf(after, setting).join()}` };
    const added = (a: Parts, b: Parts): string[] =>
        valuesOf(a, setting).filter((line) => !valuesOf(b, setting).includes(line));
    if (kind === "k3s-own-file" || kind === "k3s-from-servers") {
        const words = [...added(after, before), ...added(before, after)].map((line) => line.split(/[ =]/)[0] as string);
        return { kind, detail: [...new Set(words)].join(", ") };
    }
    return kind === quiet ? { kind, detail: setting } : { kind };
}

/** The rows of an update. */
export function k3sEffects(change: Change, { generated }: Around): Found[] {
    const found: Found[] = [];
    const data = dataOf(change);
    if (data.is === "hidden") found.push({ kind: "k3s-hidden" });
    if (data.is === "open") {
        const { before, after } = data;
        found.push(...changedFiles(before, after).flatMap((path) => fileEffects(path, before, after)));
        found.push(...changedSettings(before, after).map((setting) => settingEffect(setting, before, after)));
    }
    const isServer = change.step === "server";
    const mine = generated.has("agent-token") || (isServer && generated.has("token"));
    if (secretsChanged(change, mine)) found.push({ kind: isServer ? "k3s-tokens" : "k3s-agent-token" });
    return found;
}
