/** Parsers for the small values that stack files hold: addresses, networks, versions, durations. */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** A k3s release such as `v1.36.3+k3s1`, taken apart. */
export interface K3sVersion {
    readonly text: string;
    readonly major: number;
    readonly minor: number;
    readonly patch: number;
    /** The `k3sN` counter of the same Kubernetes release. */
    readonly release: number;
}

/** The form a release has to have; release candidates (`-rc1`) are accepted as GitHub names them. */
export const K3S_VERSION_FORM = "a k3s release such as v1.36.3+k3s1";

/** Returns the release, or undefined when the text does not have the form of {@link K3S_VERSION_FORM}. */
export function parseK3sVersion(text: string): K3sVersion | undefined {
    const m = /^v(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:-rc\d{1,2})?\+k3s(\d{1,3})$/.exec(text);
    if (!m) return undefined;
    const [major, minor, patch, release] = m.slice(1).map(Number) as [number, number, number, number];
    return { text, major, minor, patch, release };
}

/** Oldest patch by minor of Kubernetes 1.x that has a change; newer minors have it too. */
export type Backports = Readonly<Record<number, number>>;

/**
 * True when the release contains a change that was back-ported: `since` maps a minor of Kubernetes 1 to its first patch
 * release with the change; minors above the highest one named have it, minors below the lowest one have not.
 */
export function hasBackport(v: K3sVersion, since: Backports): boolean {
    if (v.major !== 1) return v.major > 1;
    const minors = Object.keys(since).map(Number);
    if (v.minor > Math.max(...minors)) return true;
    const patch = since[v.minor];
    return patch !== undefined && v.patch >= patch;
}

/** True for a plain IPv4 or IPv6 address (no zone, no prefix). */
export function isAddress(text: string): boolean {
    return isIP(text) !== 0 && !text.includes("%");
}

/** True for a network in prefix form, such as 10.90.0.0/24 or fd00::/8. */
export function isCidr(text: string): boolean {
    const m = /^([^/]+)\/(\d{1,3})$/.exec(text);
    if (!m) return false;
    const [, address, bits] = m as unknown as [string, string, string];
    return (
        (isIPv4(address) && Number(bits) <= 32) || (isIPv6(address) && !address.includes("%") && Number(bits) <= 128)
    );
}

/** An address as it stands in a URL or before a port: IPv6 in brackets. */
export function urlHost(address: string): string {
    return isIPv6(address) ? `[${address}]` : address;
}

/** The same address in one spelling, to find duplicates (IPv6 has many). */
export function canonicalAddress(address: string): string {
    return isIPv6(address) && isAddress(address) ? new URL(`http://[${address}]/`).hostname : address;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Milliseconds of a haproxy-style duration (`500ms`, `2s`, `1m`, `4h`, `1d`), or undefined when malformed, zero or longer than
 * haproxy's timers reach (2^31 ms, almost 25 days).
 */
export function durationMs(text: string): number | undefined {
    const m = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
    if (!m) return undefined;
    const ms = Number(m[1]) * UNIT_MS[m[2] as string]!;
    return ms > 0 && ms < 2 ** 31 ? ms : undefined;
}

/** True for a lower-case DNS label (RFC 1123). */
export function isLabel(text: string): boolean {
    return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/** True for a node's name: a lower-case DNS name; at most 63 characters, since it is also the value of label kubernetes.io/hostname. */
export function isNodeName(text: string): boolean {
    return text.length <= 63 && text.split(".").every(isLabel);
}

/** True for a DNS name or an address: what may stand as an SSH host or in a certificate. */
export function isHost(text: string): boolean {
    return (
        isAddress(text) ||
        (text.length <= 253 &&
            /^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?$/.test(
                text,
            ))
    );
}

/** True for an IPv6 address, false for IPv4. */
export function isIPv6Address(address: string): boolean {
    return isIPv6(address);
}

/** Networks that are never routed on the internet (RFC 1918, RFC 6598, RFC 4193): where VPNs live. */
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/**
 * The private networks that the addresses lie in; a public address stands for itself. Short whatever the number of nodes,
 * and the same when one more node comes.
 */
export function nodeNetworks(addresses: readonly string[]): string[] {
    const network = (address: string): string => {
        const family = isIPv6(address) ? "ipv6" : "ipv4";
        const found = PRIVATE.find((cidr) => {
            const [base, bits] = cidr.split("/") as [string, string];
            if (isIPv6(base) !== isIPv6(address)) return false;
            const list = new BlockList();
            list.addSubnet(base, Number(bits), family);
            return list.check(address, family);
        });
        return found ?? `${address}/${family === "ipv6" ? 128 : 32}`;
    };
    return [...new Set(addresses.map(network))].sort();
}

/** What a table has under a key of the user's, which may be called `constructor`. */
export function entry<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
    return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** `T` with what is optional in it, but is filled in. */
export type Filled<T, K extends keyof T> = Omit<T, K> & Required<Pick<T, K>>;
