/** A stack's settings, as the rules look at them: from its stack file, since the engine gives a policy pack no configuration. Pure. */
import { parse } from "yaml";
import { checkClearSecrets } from "../components/config/checks/secrets";
import { configPath } from "../components/config/problems";
import { settingOf } from "../components/config/source";
import { SECRET_SETTINGS, stackSchema } from "../components/settings";
import type { Stack } from "./rules";

const PROJECT = "k3s-ha";
/** In place of an encrypted value: no rule looks at it. */
const ENCRYPTED = "encrypted";

/**
 * The stack of this name. An encrypted setting has its default where a text cannot stand for it.
 * @throws where the file's settings have mistakes: the program says which.
 */
export function readStack(name: string, text: string): Stack {
    const { config } = parse(text) as { readonly config: Readonly<Record<string, unknown>> };
    const prefix = `${PROJECT}:`;
    const own = Object.entries(config)
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, value]) => [key.slice(prefix.length), value] as const);
    const encrypted = new Set(own.filter(([, value]) => holdsSecure(value)).map(([key]) => key));
    const all = Object.fromEntries(
        own
            .filter(([key]) => !SECRET_SETTINGS.has(key))
            .map(([key, value]) => [key, typeof value === "string" ? settingOf(key, value) : withoutSecure(value)]),
    );
    const open = Object.fromEntries(Object.entries(all).filter(([key]) => !encrypted.has(key)));
    const parsed = stackSchema.safeParse(all);
    const settings = parsed.data ?? stackSchema.safeParse(open).data;
    if (settings === undefined) throw new Error(`Pulumi.${name}.yaml has mistakes, which pulumi preview shows`);
    const clearSecrets = own
        .map(([key]) => key)
        .filter((key) => SECRET_SETTINGS.has(key) && !encrypted.has(key))
        .map((key) => `${configPath([key])} is in clear. Encrypt it: pulumi config set --secret ${configPath([key])}`);
    checkClearSecrets(
        settings,
        encrypted,
        (path, _value, message) => void clearSecrets.push(`${configPath(path)} ${message}`),
        clearSecrets,
    );
    return { name, settings, clearSecrets };
}

const isSecure = (value: object): boolean => Object.hasOwn(value, "secure");

/** Pulumi marks an encrypted value, or a part of one, by the key `secure`. */
function holdsSecure(value: unknown): boolean {
    if (value === null || typeof value !== "object") return false;
    return isSecure(value) || Object.values(value).some(holdsSecure);
}

function withoutSecure(value: unknown): unknown {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(withoutSecure);
    if (isSecure(value)) return ENCRYPTED;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutSecure(inner)]));
}
