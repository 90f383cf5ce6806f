/** URNs: `urn:pulumi:<stack>::<project>::<qualified type>::<name>`, and provider references `<urn>::<id>`. */

export const STACK_TYPE = "pulumi:pulumi:Stack";

export interface Urn {
    stack: string;
    project: string;
    /** Parent types joined by `$`, the own type last. */
    qualifiedType: string;
    type: string;
    name: string;
}

export function parseUrn(urn: string): Urn {
    const [head, project, qualifiedType, ...name] = urn.split("::");
    if (!head?.startsWith("urn:pulumi:") || project === undefined || qualifiedType === undefined || name.length === 0)
        throw new Error(`invalid URN ${JSON.stringify(urn)}`);
    return {
        stack: head.slice("urn:pulumi:".length),
        project,
        qualifiedType,
        type: qualifiedType.slice(qualifiedType.lastIndexOf("$") + 1),
        name: name.join("::"),
    };
}

export function makeUrn(
    stack: string,
    project: string,
    parentQualifiedType: string,
    type: string,
    name: string,
): string {
    const q = parentQualifiedType && parentQualifiedType !== STACK_TYPE ? `${parentQualifiedType}$${type}` : type;
    return `urn:pulumi:${stack}::${project}::${q}::${name}`;
}

export const urnName = (urn: string): string => parseUrn(urn).name;
export const urnType = (urn: string): string => parseUrn(urn).type;
export const isRootStack = (urn: string): boolean => urn !== "" && parseUrn(urn).qualifiedType === STACK_TYPE;

/** `a:b/d:D` is shown as `a:b:D`. */
export function displayType(type: string): string {
    const [pkg, mod, name, ...rest] = type.split(":");
    if (!pkg || !mod || !name || rest.length > 0) return type;
    const slash = mod.lastIndexOf("/");
    if (slash < 0 || mod.slice(slash + 1) !== name.charAt(0).toLowerCase() + name.slice(1)) return type;
    return `${pkg}:${mod.slice(0, slash)}:${name}`;
}

export const isProviderType = (type: string): boolean => type.startsWith("pulumi:providers:");
export const packageOf = (type: string): string =>
    isProviderType(type) ? type.slice("pulumi:providers:".length) : type.slice(0, type.indexOf(":"));

export function parseReference(ref: string): { urn: string; id: string } {
    const i = ref.lastIndexOf("::");
    return { urn: ref.slice(0, i), id: ref.slice(i + 2) };
}

/** Does a --target pattern (`*` without colons, `**` with anything) fit? */
export function matchesTarget(pattern: string, urn: string): boolean {
    if (!pattern.includes("*")) return pattern === urn;
    const re = pattern
        .split(/(\*\*|\*)/)
        .map((p) => (p === "**" ? ".*" : p === "*" ? "[^:]*" : p.replace(/[.+?^${}()|[\]\\]/g, "\\$&")))
        .join("");
    return new RegExp(`^${re}$`).test(urn);
}
