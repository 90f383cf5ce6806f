/** From settings as written to a {@link ClusterSpec}: relations between fields, defaults, warnings. Pure. */
import { checkReferences, inlineSecrets, placeholders } from "../haproxy";
import { apiBackendProblems } from "./checks/api-backend";
import { checkAuthentication } from "./checks/authentication";
import { checkFiles } from "./checks/files";
import { checkNetworks } from "./checks/networks";
import { bindProblems, checkPorts } from "./checks/ports";
import { checkClearSecrets, haproxySecrets } from "./checks/secrets";
import { haproxyModel } from "../model/proxy";
import {
    SECRET_SETTINGS,
    SpecError,
    configPath,
    isSecretKey,
    problemsOf,
    shown,
    type Problem,
    type Report,
} from "./problems";
import { EQUAL_ON_SERVERS, K3S_KEYS, MANAGED_KEYS } from "./k3s-keys";
import { isKubeletLabel } from "./kubelet-labels";
import { knownHostKey } from "./known-hosts";
import { stackSchema, type NodeSettings, type StackSettings } from "./schema";
import type { BastionSpec, ClusterSpec, K3sConfig, NodeSpec, Role, SshSpec } from "../model/cluster";
import {
    canonicalAddress,
    durationMs,
    hasBackport,
    isIPv6Address,
    nodeNetworks,
    parseK3sVersion,
    urlHost,
    type K3sVersion,
} from "../model/values";

/** Settings that become the files of step k3s. */
const K3S_SETTINGS = ["registries", "kubelet", "server", "agent", "authentication"] as const;

/** What the caller has read for the settings: nothing here does I/O. */
export interface Surroundings {
    /** The text of the file that `ssh.knownHosts` names; undefined when it is not set. */
    readonly knownHosts?: string;
    /** Settings that are encrypted in the stack file. */
    readonly encrypted?: ReadonlySet<string>;
}

/** Settings whose values reach the hosts within secret inputs when they are encrypted: as files of k3s, or of prepare. */
const MAY_BE_ENCRYPTED: ReadonlySet<string> = new Set([...K3S_SETTINGS, "host"]);

/** A spec and what the user should be told about it in every run. */
export interface CheckedSpec {
    readonly spec: ClusterSpec;
    readonly warnings: readonly string[];
}

/** Oldest releases whose servers may join through a proxy that lists themselves too (k3s of April 2024). */
const JOIN_THROUGH_PROXY: Readonly<Record<number, number>> = { 28: 9, 29: 4, 30: 0 };
/**
 * Oldest releases that leave anonymous-auth out when given an authentication-config (k3s-io/k3s#12245). 1.31 has that too, but
 * Kubernetes there refuses `anonymous` in the file (AnonymousAuthConfigurableEndpoints is alpha until 1.32).
 */
const SCOPED: Readonly<Record<number, number>> = { 32: 5, 33: 1 };

/** Releases that read /var/lib/rancher/k3s/agent/etc/kubelet.conf.d. */
const KUBELET_DROPIN: Readonly<Record<number, number>> = { 32: 0 };

/**
 * Checks a stack's settings and fills in the defaults.
 * @throws SpecError that lists every mistake found, with config path, value and what is allowed.
 */
export function checkSpec(raw: unknown, around: Surroundings = {}): CheckedSpec {
    const parsed = stackSchema.safeParse(raw);
    if (!parsed.success) {
        // Relations are checked on what is well formed, so that the user sees everything at once.
        throw new SpecError([...problemsOf(parsed.error, raw), ...relationsOfParts(raw)]);
    }
    const settings = parsed.data;
    const problems: Problem[] = [];
    const warnings: string[] = [];
    const report = (path: readonly PropertyKey[], value: unknown, message: string): void => {
        // Of a setting that is a secret nothing is told but where it stands.
        const hide = value === undefined || path.some((part) => typeof part === "string" && isSecretKey(part));
        problems.push({ path: configPath(path), value: hide ? undefined : shown(value), message });
    };

    const version = parseK3sVersion(settings.version) as K3sVersion;
    checkNodes(settings.nodes, report, warnings);
    checkVersion(settings, version, report);
    checkNetworks(settings, report);
    checkPorts(settings, portsOf(settings.proxy), report);
    checkK3sConfig(settings, report);
    checkDatastore(settings, report);
    checkSnapshots(settings, report);
    checkSecrets(settings, report);
    checkAuthentication(settings, report);
    checkClearSecrets(settings, around.encrypted ?? new Set(), report, warnings);
    checkFiles(settings, report);
    checkSeed(settings, report);
    checkAdoption(settings, report);
    checkEncrypted(around.encrypted, report);
    const nodes = settings.nodes.map((node, i) => nodeSpec(node, i, settings, around, report));
    warnAboutTrust(settings, warnings);
    // Without a server there is no cluster to look at.
    if (!settings.nodes.some((n) => n.role === "server" && n.lost !== true)) throw new SpecError(problems);

    const spec = fill(settings, nodes, isConfidential(settings, around.encrypted));
    if (spec.vpn.networks.length > 50)
        problems.push({
            path: "k3s-ha:vpn.networks",
            message: `is missing: the nodes' addresses lie in ${spec.vpn.networks.length} networks, and the proxies take at most 50; name the networks that may read stats and metrics`,
        });
    // The proxies' lines follow from the nodes: mistakes in those would be told again, as mistakes of the sections.
    if (!problems.some((p) => p.path.startsWith("k3s-ha:nodes"))) {
        checkProxy(spec, problems);
        problems.push(...bindProblems(spec, settings));
    }
    if (problems.length > 0) throw new SpecError(problems);
    return { spec, warnings };
}

/** Whether the data of step k3s hold something that is encrypted in the stack file; of host.files they hold the digests. */
function isConfidential({ host }: StackSettings, encrypted: ReadonlySet<string> | undefined): boolean {
    if (K3S_SETTINGS.some((key) => encrypted?.has(key))) return true;
    return encrypted?.has("host") === true && (host.files?.length ?? 0) > 0;
}

/** What a table has under a key of the user's, which may be called `constructor`. */
function entry<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
    return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** The few relations that can be told when other parts are malformed. */
function relationsOfParts(raw: unknown): Problem[] {
    const nodes = (raw as { nodes?: unknown } | null)?.nodes;
    if (!Array.isArray(nodes)) return [];
    const problems: Problem[] = [];
    const plain = nodes.map((n: unknown) => {
        const { name, address } = (n ?? {}) as { name?: unknown; address?: unknown };
        return {
            name: typeof name === "string" ? name : undefined,
            address: typeof address === "string" ? address : undefined,
        };
    });
    duplicates(plain, (path, value, message) =>
        problems.push({ path: configPath(path), value: shown(value), message }),
    );
    return problems;
}

function duplicates(nodes: readonly { name?: string; address?: string }[], report: Report): void {
    for (const field of ["name", "address"] as const) {
        const first = new Map<string, number>();
        nodes.forEach((node, i) => {
            const value = node[field];
            if (value === undefined) return;
            const key = field === "address" ? canonicalAddress(value) : value;
            const before = first.get(key);
            if (before === undefined) first.set(key, i);
            else
                report(
                    ["nodes", i, field],
                    value,
                    `is also the ${field} of nodes[${before}]; every node needs its own`,
                );
        });
    }
}

function checkNodes(nodes: readonly NodeSettings[], report: Report, warnings: string[]): void {
    duplicates(nodes, report);
    const servers = nodes.filter((n) => n.role === "server" && n.lost !== true).length;
    if (servers === 0)
        report(
            ["nodes"],
            undefined,
            "has no node with role server (that is not lost); at least one is needed, three for high availability",
        );
    if (servers > 0 && servers % 2 === 0) {
        warnings.push(
            `k3s-ha:nodes has ${servers} servers: etcd needs a majority, so ${servers} stand the loss of ${Math.floor((servers - 1) / 2)}, ` +
                `as ${servers - 1} would, with one more that can fail. Use ${servers - 1} or ${servers + 1}.`,
        );
    }
    nodes.forEach((node, i) => {
        if (isLoopback(node.address))
            report(
                ["nodes", i, "address"],
                node.address,
                "is a loopback or unspecified address; the other nodes must reach it over the VPN",
            );
        if (isMulticast(node.address)) report(["nodes", i, "address"], node.address, "is no address of one host");
        for (const key of Object.keys(node.labels ?? {}))
            if (!isKubeletLabel(key))
                report(
                    ["nodes", i, "labels", key],
                    node.labels?.[key],
                    "is a label that a kubelet may not give its own Node, and it would not start: in kubernetes.io and k8s.io only node.kubernetes.io/… and a few others are open to it. Use a name of your own, or kubectl label",
                );
        if (node.throughProxy !== undefined && node.role === "server")
            report(["nodes", i, "throughProxy"], node.throughProxy, "is for agents; a master asks its own API");
        if (node.externalAddress !== undefined && isIPv6Address(node.externalAddress) !== isIPv6Address(node.address)) {
            report(
                ["nodes", i, "externalAddress"],
                node.externalAddress,
                `is of another family than the node's address ${node.address}`,
            );
        }
    });
}

function isMulticast(address: string): boolean {
    return /^(22[4-9]|2[34]\d|25[0-5])\./.test(address) || canonicalAddress(address).startsWith("[ff");
}

function isLoopback(address: string): boolean {
    return /^127\.|^0\./.test(address) || ["[::1]", "[::]"].includes(canonicalAddress(address));
}

function checkVersion(settings: StackSettings, version: K3sVersion, report: Report): void {
    if (!hasBackport(version, JOIN_THROUGH_PROXY)) {
        report(
            ["version"],
            settings.version,
            "is too old: before v1.28.9, v1.29.4 and v1.30.0 a server that joins through a proxy which lists it too may found a second cluster",
        );
    }
    if (Object.keys(settings.kubelet).length > 0 && !hasBackport(version, KUBELET_DROPIN)) {
        report(["kubelet"], settings.kubelet, `needs k3s v1.32 or newer, which reads kubelet.conf.d; use kubelet-arg`);
    }
    if (settings.readiness === "scoped" && !hasBackport(version, SCOPED)) {
        report(
            ["readiness"],
            settings.readiness,
            `needs k3s v1.32.5, v1.33.1 or newer and the version is ${settings.version}: with older ones the apiserver exits; use anonymous`,
        );
    }
}

function checkK3sConfig(settings: StackSettings, report: Report): void {
    const check = (config: K3sConfig | undefined, role: Role, path: readonly PropertyKey[], perNode: boolean): void => {
        for (const [key, value] of Object.entries(config ?? {})) {
            const at = [...path, key];
            const name = key.replace(/\+$/, "");
            const kind = entry(K3S_KEYS[role], name);
            if (kind === undefined) {
                const other = entry(K3S_KEYS[role === "server" ? "agent" : "server"], name) !== undefined;
                report(
                    at,
                    value,
                    other
                        ? `is a setting of k3s ${role === "server" ? "agents" : "servers"} only; k3s ${role}s ${role === "agent" ? "die of it" : "ignore it"}`
                        : `is not a k3s setting; a server would ignore it and an agent would not start`,
                );
            } else if (entry(MANAGED_KEYS, name) !== undefined) {
                report(at, value, `cannot be set by hand: ${entry(MANAGED_KEYS, name)}`);
            } else if (perNode && role === "server" && EQUAL_ON_SERVERS.has(name)) {
                report(at, value, "must be equal on all servers; put it under k3s-ha:server.config");
            } else if (key.endsWith("+")) {
                report(at, value, "use the key without +: lists of the node and of its role are joined");
            } else {
                const wrong = kindProblem(kind, value);
                if (wrong) report(at, value, wrong);
            }
        }
    };
    check(settings.server.config, "server", ["server", "config"], false);
    check(settings.agent.config, "agent", ["agent", "config"], false);
    settings.nodes.forEach((node, i) => check(node.config, node.role, ["nodes", i, "config"], true));
}

function kindProblem(kind: string, value: unknown): string | undefined {
    const scalar = (v: unknown): boolean => typeof v === "string" || typeof v === "number";
    switch (kind) {
        case "bool":
            return typeof value === "boolean" ? undefined : "must be true or false, without quotes";
        case "int":
            return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
                ? undefined
                : "must be a whole number";
        case "duration":
            return typeof value === "string" && /^(\d+(\.\d+)?(ms|s|m|h))+$/.test(value)
                ? undefined
                : "must be a duration such as 10m";
        case "list":
            return scalar(value) || (Array.isArray(value) && value.every(scalar))
                ? undefined
                : "must be a list of text";
        default:
            return typeof value === "string"
                ? undefined
                : "must be text, in quotes (YAML reads 0644 as a number and no as false)";
    }
}

function checkDatastore(settings: StackSettings, report: Report): void {
    const servers = settings.nodes.filter((n) => n.role === "server").length;
    if (settings.server.datastore === "sqlite" && servers > 1)
        report(
            ["server", "datastore"],
            "sqlite",
            `is for a single server and the stack has ${servers}; leave it out (etcd): the next up moves the data of the first server to etcd, then the others join`,
        );
}

/** Settings of k3s that have a place of their own, in one place only. */
function checkSnapshots(settings: StackSettings, report: Report): void {
    const { snapshots } = settings;
    if (settings.server.datastore === "sqlite" && Object.keys(snapshots).length > 0)
        report(["snapshots"], snapshots, "are of etcd, and server.datastore is sqlite");
    const typed: Readonly<Record<string, unknown>> = {
        "etcd-snapshot-schedule-cron": snapshots.schedule,
        "etcd-snapshot-retention": snapshots.retention,
        "etcd-snapshot-compress": snapshots.compress,
    };
    for (const key of Object.keys(settings.server.config ?? {})) {
        if (entry(typed, key) !== undefined || (snapshots.s3 !== undefined && key.startsWith("etcd-s3")))
            report(
                ["server", "config", key],
                settings.server.config?.[key],
                "is set by k3s-ha:snapshots; keep one of them",
            );
    }
    if (snapshots.s3?.insecure === true && snapshots.s3.endpointCa !== undefined)
        report(
            ["snapshots", "s3", "endpointCa"],
            undefined,
            "is of no use beside snapshots.s3.insecure: over plain HTTP there is no certificate; leave one of them out",
        );
    const keys = [settings.s3AccessKey, settings.s3SecretKey].filter((k) => k !== undefined).length;
    if (keys === 1)
        report(
            [settings.s3AccessKey === undefined ? "s3AccessKey" : "s3SecretKey"],
            undefined,
            "is missing beside the other one; give both, or none where the hosts have a role of their own",
        );
    if (keys > 0 && snapshots.s3 === undefined) report(["s3AccessKey"], undefined, "is of no use without snapshots.s3");
    if (snapshots.restore !== undefined && settings.token === undefined)
        report(
            ["token"],
            undefined,
            "is missing: a snapshot can be read only with the server token of the cluster that it was taken of; pulumi config set --secret k3s-ha:token",
        );
}

function checkSecrets(settings: StackSettings, report: Report): void {
    for (const key of ["token", "agentToken"] as const) {
        const value = settings[key];
        if (value === undefined) continue;
        if (value.startsWith("K10") || value.includes("::") || /^[a-z0-9]{6}\.[a-z0-9]{16}$/.test(value)) {
            report(
                [key],
                undefined,
                "must be a plain password: not the full form K10…::server:…, nor shaped like a kubeadm token, which k3s reads differently",
            );
        }
    }
    // A cluster that is taken over may have one token for both.
    if (settings.token !== undefined && settings.token === settings.agentToken && !settings.allow.includes("adopt")) {
        report(
            ["agentToken"],
            undefined,
            "must differ from token: whoever holds the server token can read every secret of the cluster",
        );
    }
    if (settings.sshPrivateKey !== undefined && settings.ssh.privateKeyFile !== undefined) {
        report(
            ["ssh", "privateKeyFile"],
            settings.ssh.privateKeyFile,
            "cannot stand beside the secret sshPrivateKey; give one of them, or none to use the SSH agent",
        );
    }
}

/** A secret in a setting that is shown in previews would be one no longer. */
function checkEncrypted(encrypted: ReadonlySet<string> | undefined, report: Report): void {
    for (const key of encrypted ?? [])
        if (!SECRET_SETTINGS.has(key) && !MAY_BE_ENCRYPTED.has(key))
            report(
                [key],
                undefined,
                `holds an encrypted value, and would be shown in previews and states in clear; only ${[...SECRET_SETTINGS, ...MAY_BE_ENCRYPTED].join(", ")} may`,
            );
}

/** The seed's values are to the letter, so what would change them is refused and not left out in silence. */
function checkSeed({ proxy }: StackSettings, report: Report): void {
    if (proxy.preset !== "seed") return;
    const refuse = (section: object | undefined, path: readonly string[], used: readonly string[]): void => {
        for (const [key, value] of Object.entries(section ?? {}))
            if (!used.includes(key) && value !== undefined)
                report(
                    ["proxy", ...path, key],
                    undefined,
                    "has no effect with proxy.preset: seed, whose values are the role's; leave it out, write it in an own section of proxy.haproxy, or take the preset recommended",
                );
    };
    refuse(proxy, [], ["preset", "port", "stats", "haproxy"]);
    refuse(proxy.stats, ["stats"], ["port", "address"]);
}

/** Mistakes in the user's own haproxy sections that show only beside the preset's. */
function checkProxy(spec: ClusterSpec, problems: Problem[]): void {
    const own = spec.proxy.haproxy;
    if (own === undefined) return;
    const at = (path: string): string => `k3s-ha:proxy.haproxy.${path}`;
    for (const path of inlineSecrets(own)) {
        problems.push({
            path: at(path),
            message: `holds a password in the stack file; write ${placeholders.statsPassword} (or ${placeholders.statsPasswordHash} for its hash) and set the secret k3s-ha:statsPassword`,
        });
    }
    problems.push(...haproxySecrets(own));
    // Sections are found by name in the merged configuration; the user knows them by their place in the stack file.
    const merged = haproxyModel(spec, spec.nodes[0] as NodeSpec);
    const placeOf = (path: string): string =>
        path.replace(/^(\w+)\[(\d+)\]/, (whole, key: keyof typeof merged, i: string) => {
            const name = (merged[key] as readonly { name?: string }[])[Number(i)]?.name;
            const place = (own[key] as readonly { name?: string }[] | undefined)?.findIndex((s) => s.name === name);
            return place === undefined || place < 0 ? whole : `${key}[${place}]`;
        });
    for (const { path, message } of checkReferences(merged)) problems.push({ path: at(placeOf(path)), message });
    // Of two sections with one name the merge would keep the last without a word.
    for (const { path, message } of checkReferences(own))
        if (message.endsWith("is used twice") && /^\w+\[\d+\]\.name$/.test(path))
            problems.push({ path: at(path), message });
    for (const { path, message } of apiBackendProblems(spec, own)) problems.push({ path: at(path), message });
    own.backend?.forEach((backend, i) => {
        if (backend.server_dynamic !== undefined)
            problems.push({
                path: at(`backend[${i}].server_dynamic`),
                message: "takes its servers from Ansible's inventory, which is not there: list them in server",
            });
    });
}

function sshSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): SshSpec {
    const host = node.ssh?.host ?? node.address;
    const port = node.ssh?.port ?? settings.ssh.port ?? 22;
    const user = node.ssh?.user ?? settings.ssh.user ?? "root";
    const insecure = settings.ssh.insecureIgnoreHostKey === true;
    const keyOf = (own: string | undefined, h: string, p: number, path: readonly PropertyKey[]): string | undefined => {
        if (insecure) return undefined;
        const key = own ?? knownHostKey(around.knownHosts ?? "", h, p);
        if (key === undefined) {
            report(
                path,
                undefined,
                `is missing and ssh.knownHosts has no line for ${p === 22 ? h : `[${h}]:${p}`}: an unpinned host could be anybody. Compare and pin the output of ssh-keyscan -t ed25519 ${p === 22 ? "" : `-p ${p} `}${h}`,
            );
        }
        return key;
    };
    const b = node.ssh?.bastion ?? settings.ssh.bastion;
    const bastion: BastionSpec | undefined = b && {
        host: b.host,
        port: b.port ?? 22,
        user: b.user ?? user,
        hostKey: keyOf(
            b.hostKey,
            b.host,
            b.port ?? 22,
            node.ssh?.bastion ? ["nodes", i, "ssh", "bastion", "hostKey"] : ["ssh", "bastion", "hostKey"],
        ),
    };
    return {
        host,
        port,
        user,
        hostKey: keyOf(node.ssh?.hostKey, host, port, ["nodes", i, "ssh", "hostKey"]),
        bastion,
        dialErrorLimit: settings.ssh.dialErrorLimit ?? DEFAULTS.dialErrorLimit,
    };
}

function nodeSpec(
    node: NodeSettings,
    i: number,
    settings: StackSettings,
    around: Surroundings,
    report: Report,
): NodeSpec {
    const shared = (node.role === "server" ? settings.server.config : settings.agent.config) ?? {};
    return {
        name: node.name,
        role: node.role,
        address: node.address,
        externalAddress: node.externalAddress,
        ssh: sshSpec(node, i, settings, around, report),
        labels: node.labels ?? {},
        taints: node.taints ?? [],
        config: joined(node.role, shared, node.config ?? {}),
        rebuilt: node.rebuilt ?? 0,
        lost: node.lost ?? false,
        throughProxy: node.throughProxy ?? settings.agent.throughProxy ?? true,
    };
}

/** A node's own settings over those of its role; what is a list to k3s is joined, however it is written: one of them would be lost. */
function joined(role: Role, shared: K3sConfig, own: K3sConfig): K3sConfig {
    const merged: K3sConfig = { ...shared, ...own };
    for (const [key, value] of Object.entries(own)) {
        const base = shared[key];
        if (base !== undefined && entry(K3S_KEYS[role], key) === "list")
            merged[key] = [base, value].flat() as K3sConfig[string];
    }
    return merged;
}

/** The CA is what tells the cluster that is meant from another one. */
function checkAdoption(settings: StackSettings, report: Report): void {
    if (settings.allow.includes("adopt") && settings.caHash === undefined) {
        report(
            ["caHash"],
            undefined,
            "is missing, and k3s-ha:allow: [adopt] takes over only the cluster that it names: sed 's/^K10//; s/::.*//' /var/lib/rancher/k3s/server/token on a master",
        );
    }
}

function warnAboutTrust(settings: StackSettings, warnings: string[]): void {
    if (settings.ssh.insecureIgnoreHostKey === true) {
        warnings.push(
            "k3s-ha:ssh.insecureIgnoreHostKey is true: no host's key is verified, and whoever answers at an address receives the cluster's tokens.",
        );
    }
    if (settings.snapshots.s3?.insecure === true) {
        warnings.push(
            "k3s-ha:snapshots.s3.insecure is true: snapshots, with every secret of the cluster, go to the bucket over plain HTTP, where anybody on the path can read and replace them.",
        );
    }
    // k3s's own setting, which beside snapshots.s3 is refused.
    for (const key of ["etcd-s3-insecure", "etcd-s3-skip-ssl-verify"])
        if (settings.server.config?.[key] === true)
            warnings.push(
                `k3s-ha:server.config.${key} is true: whoever answers at the bucket's endpoint receives the snapshots.`,
            );
    if (settings.proxy.check?.verify === false || settings.proxy.preset === "seed") {
        warnings.push(
            "The proxies do not verify the masters' certificates (check-ssl verify none): a health check can be answered by anybody on the path.",
        );
    }
    const stats = settings.proxy.stats;
    if (settings.proxy.preset === "seed" || stats?.allowedNetworks?.some((n) => n.endsWith("/0")) === true) {
        warnings.push(
            "The metrics on the stats port are open to every network that reaches the hosts, without a password; guard the port with a firewall.",
        );
    }
    if (stats?.admin === true) {
        warnings.push(
            "k3s-ha:proxy.stats.admin is true: any page opened in a browser on a host can post to the stats page (CSRF); the admin socket is the safer way.",
        );
    }
    const open = Object.values(settings.download.sha256 ?? {}).length === 0;
    if (settings.download.baseUrl?.startsWith("http:") === true && open) {
        warnings.push(
            "k3s-ha:download.baseUrl is plain http and no sum is pinned: the sum file can be changed together with the binary. Pin k3s-ha:download.sha256.",
        );
    }
}

const DEFAULTS = {
    proxyPort: 16443,
    statsPort: 1936,
    dialErrorLimit: 30,
    rolloutAgents: 3,
    baseUrl: "https://github.com/k3s-io/k3s/releases/download",
} as const;

/** The proxy's own ports on every node. */
function portsOf(proxy: StackSettings["proxy"]): { proxyPort: number; statsPort: number } {
    return { proxyPort: proxy.port ?? DEFAULTS.proxyPort, statsPort: proxy.stats?.port ?? DEFAULTS.statsPort };
}

function proxySpec(proxy: StackSettings["proxy"], networks: readonly string[]): ClusterSpec["proxy"] {
    return {
        preset: proxy.preset ?? "recommended",
        port: portsOf(proxy).proxyPort,
        ipv6: proxy.ipv6 ?? true,
        stats: {
            port: portsOf(proxy).statsPort,
            address: proxy.stats?.address ?? (proxy.preset === "seed" ? "0.0.0.0" : "node"),
            allowedNetworks: proxy.stats?.allowedNetworks ?? networks,
            metricsPassword: proxy.stats?.metricsPassword ?? false,
            admin: proxy.stats?.admin ?? proxy.preset === "seed",
        },
        check: { ...proxy.check, verify: proxy.check?.verify ?? true },
        balance: proxy.balance,
        timeouts: proxy.timeouts,
        maxconn: proxy.maxconn,
        slowstart: proxy.slowstart,
        observe: proxy.observe ?? false,
        haproxy: proxy.haproxy,
    };
}

function fill(settings: StackSettings, nodes: readonly NodeSpec[], confidential: boolean): ClusterSpec {
    const { proxy, vpn } = settings;
    const live = nodes.filter((n) => n.role === "server" && !n.lost);
    const founder = live.find((n) => n.rebuilt === 0) ?? (live[0] as NodeSpec);
    const networks = vpn.networks ?? nodeNetworks(nodes.map((n) => n.address));
    const seconds = (text: string | undefined, standard: number): number =>
        text === undefined ? standard : Math.ceil((durationMs(text) as number) / 1000);
    return deepFreeze({
        cluster: settings.cluster,
        version: settings.version,
        readiness: settings.readiness,
        nodes: [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1)),
        founder: founder.name,
        vpn: { interface: vpn.interface, unit: vpn.unit, networks },
        proxy: proxySpec(proxy, networks),
        jwt: settings.authentication.jwt ?? [],
        kubelet: settings.kubelet,
        registries: settings.registries,
        download: {
            baseUrl: (settings.download.baseUrl ?? DEFAULTS.baseUrl).replace(/\/+$/, ""),
            sha256: settings.download.sha256 ?? {},
            file: settings.download.file,
        },
        kubeconfig: {
            context: settings.kubeconfig.context ?? settings.cluster,
            server: settings.kubeconfig.server ?? `https://${urlHost(founder.address)}:6443`,
        },
        publicInfoViewer: settings.publicInfoViewer.via ?? "provider",
        host: {
            packages: [...(settings.host.packages ?? [])].sort(),
            sysctl: Object.fromEntries(Object.entries(settings.host.sysctl ?? {}).map(([k, v]) => [k, String(v)])),
            files: (settings.host.files ?? []).map((f) => ({
                path: f.path,
                mode: f.mode ?? "0644",
                content: f.content,
            })),
        },
        timeouts: {
            server: seconds(settings.timeouts.server, 300),
            agent: seconds(settings.timeouts.agent, 300),
            download: seconds(settings.timeouts.download, 600),
        },
        datastore: settings.server.datastore ?? "etcd",
        rollout: {
            agents: settings.rollout.agents ?? DEFAULTS.rolloutAgents,
            drainSeconds: settings.rollout.drain === true ? seconds(settings.rollout.drainTimeout, 300) : undefined,
            leaveSeconds: seconds(settings.rollout.drainTimeout, 300),
        },
        allow: settings.allow,
        snapshots: { ...settings.snapshots, beforeUpgrade: settings.snapshots.beforeUpgrade ?? true },
        confidential,
        rotate: { token: 0, agentToken: 0, statsPassword: 0, metricsPassword: 0, certificates: 0, ...settings.rotate },
        caHash: settings.caHash,
    });
}

function deepFreeze<T>(value: T): T {
    if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
        Object.freeze(value);
        Object.values(value).forEach(deepFreeze);
    }
    return value;
}
