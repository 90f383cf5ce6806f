/** Networks as ranges of addresses, and what of a cluster's networks follows from its settings. Pure. */
import { isIPv4, isIPv6 } from "node:net";
import { canonicalAddress, isAddress, isCidr } from "../values";

/** A network, or one address, as a range. */
export interface Network {
    /** As it was written. */
    readonly text: string;
    readonly family: 4 | 6;
    readonly bits: number;
    readonly first: bigint;
    readonly last: bigint;
}

/** An address as a number. IPv6 comes from the canonical spelling, which has no embedded IPv4 address. */
function numberOf(address: string): bigint {
    if (isIPv4(address)) return address.split(".").reduce((n, part) => n * 256n + BigInt(part), 0n);
    const [head = "", tail] = canonicalAddress(address).slice(1, -1).split("::");
    const groups = (text: string | undefined): string[] => (text ? text.split(":") : []);
    const [left, right] = [groups(head), groups(tail)];
    const all = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
    return all.reduce((n, group) => n * 65536n + BigInt(`0x${group}`), 0n);
}

/** The network that a text such as 10.42.0.0/16 or 10.42.0.1 means; undefined when it is neither. */
export function parseNetwork(text: string): Network | undefined {
    if (!isCidr(text) && !isAddress(text)) return undefined;
    const [address, prefix] = text.split("/") as [string, string | undefined];
    const family = isIPv6(address) ? 6 : 4;
    const width = family === 6 ? 128 : 32;
    const bits = prefix === undefined ? width : Number(prefix);
    const size = 1n << BigInt(width - bits);
    const first = (numberOf(address) / size) * size;
    return { text, family, bits, first, last: first + size - 1n };
}

/** Whether two networks have an address in common. */
export function overlap(a: Network, b: Network): boolean {
    return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Whether all of `inner` lies in `outer`. */
export function contains(outer: Network, inner: Network): boolean {
    return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** Texts of a k3s setting that is a list: one value, a list, or several in one text, separated by commas. */
export function listOf(value: unknown): string[] {
    const items = Array.isArray(value) ? (value as unknown[]) : value === undefined ? [] : [value];
    return items
        .flatMap((item) => String(item).split(","))
        .map((item) => item.trim())
        .filter((item) => item !== "");
}

/** k3s's own networks, by the family of its nodes (k3s, pkg/cli/server). */
export const K3S_NETWORKS = {
    4: { "cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16" },
    6: { "cluster-cidr": "fd00:42::/56", "service-cidr": "fd00:43::/112" },
} as const;

/** The pods' and the services' networks as k3s will have them. */
export function networksOf(
    config: Readonly<Record<string, unknown>>,
    family: 4 | 6,
): Readonly<Record<"cluster-cidr" | "service-cidr", readonly string[]>> {
    const of = (key: "cluster-cidr" | "service-cidr"): readonly string[] => {
        const own = listOf(config[key]);
        return own.length > 0 ? own : [K3S_NETWORKS[family][key]];
    };
    return { "cluster-cidr": of("cluster-cidr"), "service-cidr": of("service-cidr") };
}

/** The address of the cluster's DNS that k3s takes by itself: the tenth one of the services' network. */
export function defaultDns(serviceCidr: string): string | undefined {
    const network = parseNetwork(serviceCidr);
    if (network === undefined || network.first + 10n > network.last) return undefined;
    const at = network.first + 10n;
    if (network.family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((at >> shift) & 255n)).join(".");
    const groups = Array.from({ length: 8 }, (_, i) => ((at >> BigInt(112 - 16 * i)) & 65535n).toString(16));
    return canonicalAddress(groups.join(":")).slice(1, -1);
}
