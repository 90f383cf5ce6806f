/**
 * Networks of a cluster that may not meet, and their forms: the nodes' addresses, the pods' and the services' networks (k3s's own ones
 * too), the VPN. On every node cni0 and kube-proxy take what lies in the pods' and services' networks, and SSH with it. What only a host
 * knows (docker's bridges, its other routes, its DNS) is looked at there, before anything is changed: components/scripts/routes.sh.
 */
import type { Report } from "../problems";
import { contains, listOf, networksOf, overlap, parseNetwork, type Network } from "../../model/networks";
import type { StackSettings } from "../../settings";
import { canonicalAddress, isAddress, isCidr, isIPv6Address, parseK3sVersion } from "../../values";
import { isLoopback, isMulticast } from "./nodes";

const CIDRS = ["cluster-cidr", "service-cidr"] as const;
const WHOSE = { "cluster-cidr": "the pods' network", "service-cidr": "the services' network" } as const;

/** A network with where it is written; k3s's own ones are written nowhere. */
interface Known {
    readonly key: (typeof CIDRS)[number];
    readonly network: Network;
    readonly written: boolean;
}

/** Where an address is written. */
interface At {
    readonly path: readonly PropertyKey[];
    readonly address: string;
    readonly what: string;
}

const familyOf = (address: string): 4 | 6 => (isIPv6Address(address) ? 6 : 4);

/** All of it; the order is the one in which somebody would correct them. */
export function checkNetworks(settings: StackSettings, report: Report): void {
    checkAddresses(settings, report);
    checkForms(settings, report);
    const known = knownNetworks(settings);
    checkFamilies(settings, known, report);
    checkSizes(settings, known, report);
    checkOverlaps(settings, known, report);
    checkDns(settings, known, report);
    checkArgs(settings, report);
}

/** Addresses that are no way to one host, and families that are mixed. */
function checkAddresses({ nodes }: StackSettings, report: Report): void {
    const first = nodes[0];
    nodes.forEach((node, i) => {
        const at = ["nodes", i, "address"];
        const { address } = node;
        if (isLinkLocal(address))
            report(at, address, "is a link-local address, which no other node can reach; use the VPN address");
        else if (isMapped(address))
            report(at, address, "is an IPv4 address in the form of IPv6; write it as the IPv4 address that it is");
        else if (first !== undefined && familyOf(address) !== familyOf(first.address))
            report(
                at,
                address,
                `is IPv${familyOf(address)} and nodes[0].address (${first.address}) is IPv${familyOf(first.address)}: two families in one cluster are not supported here, and k3s would end; give all nodes addresses of one`,
            );
        const outside = node.externalAddress;
        if (outside !== undefined && [isLinkLocal, isMapped, isLoopback, isMulticast].some((wrong) => wrong(outside)))
            report(
                ["nodes", i, "externalAddress"],
                outside,
                "is no address at which others reach this one host; give the address that it has outside of the VPN, or leave it out",
            );
    });
}

function isLinkLocal(address: string): boolean {
    return address.startsWith("169.254.") || /^\[fe[89ab]/.test(canonicalAddress(address));
}

function isMapped(address: string): boolean {
    return canonicalAddress(address).startsWith("[::ffff:");
}

function checkForms({ server }: StackSettings, report: Report): void {
    const config = server.config ?? {};
    // An empty text is no default to k3s.
    const texts = (key: string): string[] =>
        [config[key] ?? []].flat().flatMap((item) =>
            String(item)
                .split(",")
                .map((text) => text.trim()),
        );
    for (const key of CIDRS)
        for (const text of texts(key))
            if (!isCidr(text)) report(["server", "config", key], text, "must be a network such as 10.42.0.0/16");
    for (const text of texts("cluster-dns"))
        if (!isAddress(text))
            report(["server", "config", "cluster-dns"], text, "must be an address such as 10.43.0.10");
    const domain = config["cluster-domain"];
    if (
        typeof domain === "string" &&
        !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(domain)
    )
        report(["server", "config", "cluster-domain"], domain, "must be a lower-case DNS name such as cluster.local");
}

/** The pods' and services' networks, written or k3s's own; malformed ones are told elsewhere. */
function knownNetworks({ nodes, server }: StackSettings): Known[] {
    const config = server.config ?? {};
    const networks = networksOf(config, familyOf(nodes[0]?.address ?? ""));
    return CIDRS.flatMap((key) =>
        networks[key].flatMap((text): Known[] => {
            const network = text.includes("/") ? parseNetwork(text) : undefined;
            return network ? [{ key, network, written: config[key] !== undefined }] : [];
        }),
    );
}

/** A node has one address here, so its family is the cluster's. */
function checkFamilies({ nodes }: StackSettings, known: readonly Known[], report: Report): void {
    const family = familyOf(nodes[0]?.address ?? "");
    for (const key of CIDRS) {
        const own = known.filter((k) => k.key === key && k.written);
        const texts = own.map((k) => k.network.text).join(",");
        const other = own.find((k) => k.network.family !== family);
        if (other !== undefined)
            report(
                ["server", "config", key],
                texts,
                own.length > 1
                    ? `has networks of both families, and each node has one address here: dual-stack is not supported, and k3s would end; leave ${other.network.text} out`
                    : `is IPv${other.network.family} and the nodes' addresses are IPv${family}: k3s ends unless both are of one family`,
            );
        else if (own.length > 1)
            report(["server", "config", key], texts, "has several networks of one family; k3s takes one");
    }
}

/** Room for every node, and for the addresses that k3s takes by itself. */
function checkSizes({ nodes, server, version }: StackSettings, known: readonly Known[], report: Report): void {
    for (const { key, network, written } of known) {
        if (!written) continue;
        const at = ["server", "config", key];
        if (key === "cluster-cidr") {
            const part = nodePart(server.config?.["kube-controller-manager-arg"], network.family);
            const room = part < network.bits ? 0 : 2 ** (part - network.bits);
            if (room < nodes.length)
                report(
                    at,
                    network.text,
                    `has room for ${room} nodes, each with a /${part}, and the stack has ${nodes.length}; take a larger one, such as a /${network.family === 4 ? 16 : 56}`,
                );
            // Kubernetes, pkg/controller/nodeipam/ipam/cidrset: clusterSubnetMaxDiff.
            if (network.family === 6 && part - network.bits > 16)
                report(
                    at,
                    network.text,
                    `is too large: the controller manager, and k3s with it, ends where a node's part (/${part}) is more than 16 bits smaller; take a /${part - 16} or smaller, such as a /56`,
                );
        } else if (network.last - network.first < 10n)
            report(
                at,
                network.text,
                "is too small: the cluster's DNS is its tenth address; take a larger one, such as a /16",
            );
        else if (network.last - network.first >= 2n ** 20n && (parseK3sVersion(version)?.minor ?? 0) < MANY_SERVICES)
            report(
                at,
                network.text,
                `is too large: the kube-apiserver of ${version}, and k3s with it, ends with more than 20 bits of addresses; take a /${network.family === 4 ? 12 : 108} or smaller`,
            );
    }
}

/** The first minor whose kube-apiserver counts Services one by one (DisableAllocatorDualWrite is on), so that their network has no limit. */
const MANY_SERVICES = 34;

/** The size of a node's part of the pods' network. */
function nodePart(args: unknown, family: 4 | 6): number {
    const asked = (Array.isArray(args) ? (args as unknown[]) : [args])
        .map((arg) => /^-{0,2}node-cidr-mask-size(?:-ipv([46]))?=(\d{1,3})$/.exec(String(arg)))
        .find((m) => m && (m[1] === undefined || Number(m[1]) === family));
    return asked ? Number(asked[2]) : family === 4 ? 24 : 64;
}

function checkOverlaps(settings: StackSettings, known: readonly Known[], report: Report): void {
    const [pods, services] = CIDRS.map((key) => known.filter((k) => k.key === key)) as [Known[], Known[]];
    for (const a of pods)
        for (const b of services) {
            if (!overlap(a.network, b.network)) continue;
            const [wrong, other] = a.written ? [a, b] : [b, a];
            report(
                ["server", "config", wrong.key],
                wrong.network.text,
                `meets ${describe(other)}; take two that have no address in common`,
            );
        }
    for (const at of addressesOf(settings)) {
        const address = parseNetwork(at.address);
        const met = address && known.find((k) => overlap(k.network, address));
        if (met)
            report(
                at.path,
                at.address,
                `lies in ${describe(met)}, which every node keeps to itself: ${at.what} would be cut off. Set k3s-ha:server.config.${met.key} to a network that nobody uses, before the cluster is founded`,
            );
    }
    settings.vpn.networks?.forEach((text, i) => {
        const network = parseNetwork(text);
        const met = network && known.find((k) => overlap(k.network, network) && !isWhole(network, k.network));
        if (met)
            report(
                ["vpn", "networks", i],
                text,
                `meets ${describe(met)}, whose routes would take the VPN's; set k3s-ha:server.config.${met.key} to another network before the cluster is founded, or name only the networks that the nodes lie in`,
            );
    });
}

/** Networks from which people cut theirs: that one of them is trusted as a whole says nothing of routes. */
const WHOLE = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fd00::/8",
];

function isWhole(network: Network, inner: Network): boolean {
    return WHOLE.includes(network.text) && contains(network, inner) && network.bits < inner.bits;
}

function describe({ key, network, written }: Known): string {
    return `${WHOSE[key]} ${network.text} (${written ? `k3s-ha:server.config.${key}` : `k3s's own ${key}`})`;
}

/** Every address of a host that the stack file knows. */
function addressesOf({ nodes, ssh, proxy, kubeconfig }: StackSettings): At[] {
    const found: At[] = [];
    const add = (path: readonly PropertyKey[], address: string | undefined, what: string): void => {
        if (address !== undefined && isAddress(address)) found.push({ path, address, what });
    };
    add(["ssh", "bastion", "host"], ssh.bastion?.host, "SSH from it");
    add(["proxy", "stats", "address"], proxy.stats?.address, "the stats page");
    if (kubeconfig.server !== undefined)
        add(["kubeconfig", "server"], new URL(kubeconfig.server).hostname.replace(/^\[|\]$/g, ""), "the API there");
    nodes.forEach((node, i) => {
        add(["nodes", i, "address"], node.address, "the node");
        add(["nodes", i, "externalAddress"], node.externalAddress, "the node");
        add(["nodes", i, "ssh", "host"], node.ssh?.host, "SSH to the node");
        add(["nodes", i, "ssh", "bastion", "host"], node.ssh?.bastion?.host, "SSH from it");
    });
    return found;
}

/** The cluster's DNS is a Service, unless k3s is to bring none. */
function checkDns({ server }: StackSettings, known: readonly Known[], report: Report): void {
    const config = server.config ?? {};
    if (listOf(config["disable"]).includes("coredns")) return;
    const services = known.filter((k) => k.key === "service-cidr");
    for (const text of listOf(config["cluster-dns"])) {
        const address = isAddress(text) ? parseNetwork(text) : undefined;
        if (!address || services.length === 0) continue;
        const at = ["server", "config", "cluster-dns"];
        if (!services.some((k) => contains(k.network, address)))
            report(
                at,
                text,
                `lies outside of ${services.map(describe).join(", ")}: CoreDNS is a Service, and gets no such address. Take one of them, or leave it out (the tenth one); a DNS of your own: server.config.disable: [coredns]`,
            );
        else if (services.some((k) => [k.network.first, k.network.first + 1n].includes(address.first)))
            report(
                at,
                text,
                "is the network's own address, or that of Service kubernetes; take a later one, such as the tenth",
            );
    }
}

/** Flags of components whose values k3s has settings for: given as flags, only one of several components would know them. */
const AS_SETTINGS: Readonly<Record<string, readonly string[]>> = {
    "kube-apiserver-arg": ["service-cluster-ip-range", "service-node-port-range"],
    "kube-controller-manager-arg": ["cluster-cidr", "service-cluster-ip-range"],
    "kube-proxy-arg": ["cluster-cidr"],
};

function checkArgs({ server, agent, nodes }: StackSettings, report: Report): void {
    const look = (config: Readonly<Record<string, unknown>> | undefined, path: readonly PropertyKey[]): void => {
        for (const [key, flags] of Object.entries(AS_SETTINGS)) {
            const args = config?.[key];
            (Array.isArray(args) ? (args as unknown[]) : args === undefined ? [] : [args]).forEach((arg, i) => {
                const flag = /^-{0,2}([a-z-]+)\+?=/.exec(String(arg))?.[1];
                if (flag === undefined || !flags.includes(flag)) return;
                const setting = flag === "service-cluster-ip-range" ? "service-cidr" : flag;
                report(
                    [...path, key, i],
                    arg,
                    `sets for one component what all must know; write k3s-ha:server.config.${setting} instead`,
                );
            });
        }
    };
    look(server.config, ["server", "config"]);
    look(agent.config, ["agent", "config"]);
    nodes.forEach((node, i) => look(node.config, ["nodes", i, "config"]));
}
