/** What a careful operator wants of a stack: rules over its settings. Pure. */
import type { StackSettings } from "../components/settings";

/** A stack, as the rules look at it. */
export interface Stack {
    /** Its name, such as `prod`. */
    readonly name: string;
    readonly settings: StackSettings;
    /** What of the stack file is a secret in clear, or looks like one. */
    readonly clearSecrets: readonly string[];
}

/** Configuration of rule `servers`. */
export interface ServersConfig {
    /** Names of the stacks that the rule is for; `*` is any text. */
    readonly stacks?: readonly string[];
}

/** A rule and the violations that it finds in a stack; none: the stack keeps it. */
export interface Rule {
    /** As the policy configuration names it. */
    readonly name: string;
    readonly description: string;
    readonly violations: (stack: Stack, config: ServersConfig) => readonly string[];
}

const PRODUCTION = ["*prod*"];

const matches = (name: string, pattern: string): boolean =>
    new RegExp(`^${pattern.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll("\\*", ".*")}$`).test(name);

/** A rule that finds at most one thing. */
const one = (found: boolean, text: string): readonly string[] => (found ? [text] : []);

/** Who may connect to the stats port: the networks, or everybody. */
function openMetrics({ proxy, vpn }: StackSettings): boolean {
    const { stats, preset } = proxy;
    const networks = stats.allowedNetworks ?? vpn.networks ?? [];
    const everybody = networks.some((network) => network.endsWith("/0"));
    return (preset === "ansible-role" || everybody) && !stats.metricsPassword;
}

export const RULES: readonly Rule[] = [
    {
        name: "servers",
        description: "Production stacks have three or five servers.",
        violations: ({ name, settings }, { stacks = PRODUCTION }) => {
            const count = settings.nodes.filter((node) => node.role === "server" && node.lost !== true).length;
            return one(
                stacks.some((pattern) => matches(name, pattern)) && count !== 3 && count !== 5,
                `k3s-ha:nodes has ${count} server${count === 1 ? "" : "s"}. Three tolerate the loss of one, five of two; other numbers tolerate no more than the next lower of these`,
            );
        },
    },
    {
        name: "host-keys",
        description: "Host keys are pinned.",
        violations: ({ settings }) =>
            one(
                settings.ssh.insecureIgnoreHostKey,
                "k3s-ha:ssh.insecureIgnoreHostKey is true. Pin the hosts' keys (ssh.knownHosts or nodes[].ssh.hostKey)",
            ),
    },
    {
        name: "downloads",
        description: "Downloads are verified.",
        violations: ({ settings: { download, images, snapshots, server } }) => [
            ...one(
                download.baseUrl.startsWith("http:") &&
                    Object.values(download.sha256).every((sum) => sum === undefined),
                "k3s-ha:download.baseUrl is plain HTTP, and no sum is pinned. Pin k3s-ha:download.sha256, or use https",
            ),
            ...one(
                download.baseUrl.startsWith("http:") &&
                    images.source === "release" &&
                    Object.values(images.sha256).every((sum) => sum === undefined),
                "k3s-ha:images is of a mirror over plain HTTP, and no sum is pinned. Pin k3s-ha:images.sha256, or use https",
            ),
            ...one(
                snapshots.s3?.insecure === true,
                "k3s-ha:snapshots.s3.insecure is true: a snapshot that is restored could be anybody's. Use https",
            ),
            ...["etcd-s3-insecure", "etcd-s3-skip-ssl-verify"].flatMap((key) =>
                one(
                    server.config[key] === true,
                    `k3s-ha:server.config.${key} is true. Use https with a certificate that is verified`,
                ),
            ),
        ],
    },
    {
        name: "certificates",
        description: "The proxies verify the servers' certificates.",
        violations: ({ settings: { proxy } }) =>
            one(
                !proxy.check.verify || proxy.preset === "ansible-role",
                proxy.preset === "ansible-role"
                    ? "k3s-ha:proxy.preset ansible-role does not verify certificates. Use the preset recommended"
                    : "k3s-ha:proxy.check.verify is false",
            ),
    },
    {
        name: "metrics",
        description: "Metrics are not open to every network.",
        violations: ({ settings }) =>
            one(
                openMetrics(settings),
                "the stats port answers every network without a password. Narrow k3s-ha:proxy.stats.allowedNetworks, or set k3s-ha:proxy.stats.metricsPassword",
            ),
    },
    {
        name: "readiness",
        description: "Proxies get a real answer of /readyz.",
        violations: ({ settings }) =>
            one(
                settings.readiness === "unauthorized",
                "k3s-ha:readiness is unauthorized: a proxy takes a server for ready while only its authentication works. Use scoped or anonymous",
            ),
    },
    {
        name: "snapshots",
        description: "etcd snapshots are kept somewhere else than on the servers.",
        violations: ({ settings: { server, snapshots } }) =>
            one(
                server.datastore === "etcd" && snapshots.s3 === undefined && server.config["etcd-s3"] !== true,
                "k3s-ha:snapshots.s3 is not set: the snapshots are on the servers alone, and are lost with them",
            ),
    },
    {
        name: "clear-secrets",
        description: "The stack file has no secrets in clear.",
        violations: ({ clearSecrets }) => clearSecrets,
    },
    {
        name: "allow",
        description: "No permission for a dangerous change is left in the stack file.",
        violations: ({ settings }) =>
            one(
                settings.allow.length > 0,
                `k3s-ha:allow is [${settings.allow.join(", ")}]. Take it out again when the change is done`,
            ),
    },
];

/** What every remote command must be like. */
export interface Command {
    readonly connection?: { readonly host?: string; readonly hostKey?: string };
    readonly addPreviousOutputInEnv?: boolean;
    readonly environment?: Readonly<Record<string, unknown>>;
}

/** Violations of one command. Its environment and the former output would be in the host's process list or log. */
export function commandViolations(command: Command): readonly string[] {
    return [
        ...one(
            command.connection?.hostKey === undefined,
            `logs in on ${command.connection?.host ?? "a host"} without a pinned host key`,
        ),
        ...one(command.addPreviousOutputInEnv !== false, "has its former output in its environment"),
        ...one(command.environment !== undefined, "has an environment, which the host may log"),
    ];
}
