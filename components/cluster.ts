/** A highly available k3s cluster: every part and the order they come in. */
import type { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { descriptionOf } from "./config/description";
import type { ClusterHooks } from "./hooks";
import { liveNodes, servers, type ClusterSpec, type NodeSpec } from "./model/cluster";
import type { GivenSecrets, SshAccess } from "./model/credentials";
import type { LastRead } from "./model/kubeconfig";
import { statsEndpoint } from "./model/proxy";
import { READINESS } from "./model/readiness";
import { tellOf, type Plan } from "./plan";
import { ClusterSecrets } from "./secrets";
import { agent } from "./steps/agent";
import { anonymousCheck } from "./steps/anonymous-check";
import type { StepContext } from "./steps/context";
import { Host } from "./steps/host";
import { readKubeconfig } from "./steps/kubeconfig";
import { lostNodes } from "./steps/lost-nodes";
import { pruneManifests } from "./steps/prune-manifests";
import { members } from "./steps/members";
import { publicInfoViewer } from "./steps/public-info-viewer";
import { server } from "./steps/server";
import { snapshot } from "./steps/snapshot";
import { urlHost } from "./values";

/** Arguments of {@link Cluster}. */
export interface ClusterArgs {
    /** From the validated description, which decides which resources exist. */
    readonly plan: Plan;
    /** How Pulumi logs in on the hosts. */
    readonly access: SshAccess;
    /** Tokens and passwords of the user's; what is absent is generated. */
    readonly given: GivenSecrets;
    /** What the last `up` knew of the kubeconfig. */
    readonly lastRead: pulumi.Input<LastRead>;
    /** The time that certificates are held against. */
    readonly now: Date;
    /** What the engine calls back; see {@link ClusterHooks}. */
    readonly hooks: ClusterHooks;
}

/** A node as the outputs have it, below its name. */
export interface NodeInfo {
    readonly role: string;
    readonly address: string;
    /** The k3s release it runs. */
    readonly version: string;
}

/** One entry of Prometheus' file_sd form (https://prometheus.io/docs/guides/file-sd/). */
export interface PrometheusTarget {
    readonly targets: readonly string[];
    readonly labels: Readonly<Record<string, string>>;
}

/**
 * Order: every host prepared, its haproxy started, binary, images and manifests in place, side by side → the first server → its CA read,
 * lost nodes forgotten → the other servers one by one → agents side by side → labels, taints and drains of the Nodes → removed nodes
 * uninstalled. public-info-viewer as soon as the first server serves, the proof of the anonymous surface after it and the last server.
 */
export class Cluster extends pulumi.ComponentResource {
    /** Secret. Contexts: the chosen one, and one per server. */
    public readonly kubeconfig: pulumi.Output<string>;
    /** When the kubeconfig's certificate ends. */
    public readonly kubeconfigNotAfter: pulumi.Output<string>;
    /** The day on which it was last read again because its end was near. */
    public readonly kubeconfigReadAgain: pulumi.Output<string>;
    /** SHA-256 of the cluster's CA. */
    public readonly caHash: pulumi.Output<string>;
    /** Secret. Of user `admin` on every stats page. */
    public readonly statsPassword: pulumi.Output<string>;
    /** Secret. Of user `prometheus`, where /metrics asks for a password; else undefined. */
    public readonly metricsPassword?: pulumi.Output<string>;
    /** Where the snapshot that was asked for lies. */
    public readonly snapshot?: pulumi.Output<string>;

    public constructor(name: string, args: ClusterArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:index:Cluster", name, {}, opts);
        const { plan, access, hooks } = args;
        const { spec } = plan;
        const secrets = new ClusterSecrets(
            `${name}-secrets`,
            { ...args.given, metrics: spec.proxy.stats.metricsPassword, rotate: spec.rotate },
            { parent: this },
        );
        const context: StepContext = { ...plan, access, secrets, hooks, cluster: this };
        const hosts = this.prepareHosts(context, this.describe(plan, hooks));
        const first = hosts.of(spec.firstServer);
        const founded = foundCluster(context, hosts);

        const entry = readKubeconfig(context, args.lastRead, args.now, { on: first.node, after: [founded] });
        // Kept as it was read at first, so that reading again leaves nobody's command unknown in a preview.
        const ca = new pulumi.Stash(`${name}-ca`, { input: entry.caHash }, { parent: this });
        const caHash = spec.caHash ?? (ca.output as pulumi.Output<string>);

        const lost = lostNodes(context, { on: first.node, after: [entry.command] });
        const last = joinServers(context, hosts, { caHash, founded, after: [lost, ca] });
        const agents = joinAgents(context, hosts, { caHash, after: [last, lost, ca] });
        keepLost(context, hosts, caHash);
        members(context, { on: first.node, after: [last, ...hosts.proxies, ...agents] });

        const checked: pulumi.Resource[] = [last];
        // As soon as one server is ready: the role is the cluster's, so the others come up with it cut down. None waits for it.
        if (READINESS[spec.readiness].cutsPublicRole)
            checked.push(publicInfoViewer(context, entry.kubeconfig, { on: first.node, after: [founded] }));
        anonymousCheck(context, { on: first.node, after: checked });
        pruneManifests(context, { on: first.node, after: [last, ...hosts.manifests] });
        if (spec.snapshots.now !== undefined)
            this.snapshot = snapshot(context, spec.snapshots.now, { on: first.node, after: [last] });

        this.kubeconfig = pulumi.secret(entry.kubeconfig);
        this.kubeconfigNotAfter = entry.notAfter;
        this.kubeconfigReadAgain = entry.readAgain;
        this.caHash = pulumi.output(caHash);
        this.statsPassword = pulumi.secret(secrets.statsPassword);
        this.metricsPassword = secrets.metricsPassword;
        // The kubeconfig and the passwords are in the stack's outputs; a second copy would only make the state larger.
        this.registerOutputs({ caHash: this.caHash, kubeconfigNotAfter: this.kubeconfigNotAfter });
    }

    /** What the last `up` began with is in the state, where a hook compares; it refuses before any host is touched. */
    private describe({ spec, tell, prefix }: Plan, hooks: ClusterHooks): pulumi.Resource {
        return new pulumi.Stash(
            // Without the cluster's name, so that another name is a change and not another resource.
            `${prefix}description`,
            { input: tell(descriptionOf) },
            { parent: this, hooks: hooks.description, aliases: [{ name: `${spec.cluster}-description` }] },
        );
    }

    /** Every host prepared, its haproxy started and the binary staged, side by side. */
    private prepareHosts(context: StepContext, description: pulumi.Resource): Hosts {
        return new Hosts(context.spec.nodes.map((node) => new Host(context, node, [description])));
    }
}

/** The hosts by the names of their nodes. */
class Hosts {
    private readonly byName: ReadonlyMap<string, Host>;

    public constructor(hosts: readonly Host[]) {
        this.byName = new Map(hosts.map((host) => [host.node.name, host]));
    }

    public of(name: string): Host {
        return this.byName.get(name) as Host;
    }

    /** haproxy on every node that is not lost: a proxy must know a server before it joins, and none that has left. */
    public get proxies(): pulumi.Resource[] {
        return [...this.byName.values()].filter(({ node }) => !node.lost).map(({ haproxy }) => haproxy);
    }

    /** On every server that is not lost: each applies its own at its start, so they must be the same before any starts. */
    public get manifests(): pulumi.Resource[] {
        return [...this.byName.values()].flatMap(({ node, manifests }) => (node.lost || !manifests ? [] : [manifests]));
    }
}

/** The server that makes the cluster. It does so only when no other server has the data of one. */
function foundCluster(context: StepContext, hosts: Hosts): remote.Command {
    const { spec } = context;
    const others = servers(spec)
        .filter((n) => n.name !== spec.firstServer)
        .map((n) => hosts.of(n.name));
    return server(context, hosts.of(spec.firstServer), {
        caHash: spec.caHash,
        others: pulumi
            .all(
                others.map((host) =>
                    pulumi.all([host.etcdData, tellOf(context, host.node, (_, { address }) => address)]),
                ),
            )
            .apply((all) => others.map(({ node }, i) => `${node.name}@${all[i]?.[1]}=${all[i]?.[0]}`).join(",")),
        after: [...others.map((host) => host.prepare), ...hosts.manifests],
    });
}

/** What nodes that join are given. */
interface Join {
    readonly caHash: pulumi.Input<string>;
    readonly after: readonly pulumi.Resource[];
}

/** The other servers one by one. Gives the last one. */
function joinServers(
    context: StepContext,
    hosts: Hosts,
    { caHash, founded, after }: Join & { readonly founded: pulumi.Resource },
): pulumi.Resource {
    const { spec } = context;
    // Each after all before it, not only the last one: of several that leave, no two may leave at the same time either.
    const before = [founded];
    for (const { name } of servers(spec).filter((n) => n.name !== spec.firstServer))
        before.push(
            server(context, hosts.of(name), {
                caHash,
                after: [...before, ...after, ...hosts.proxies, ...hosts.manifests],
            }),
        );
    return before.at(-1) as pulumi.Resource;
}

/** Agents side by side. */
function joinAgents(context: StepContext, hosts: Hosts, join: Join): remote.Command[] {
    return liveNodes(context.spec)
        .filter((n) => n.role === "agent")
        .map(({ name }) => agent(context, hosts.of(name), join));
}

/** Lost nodes stay in the program so that nothing is done to their hosts; nobody waits for them. */
function keepLost(context: StepContext, hosts: Hosts, caHash: pulumi.Input<string>): void {
    for (const { name, role } of context.spec.nodes.filter((n) => n.lost)) {
        if (role === "server") server(context, hosts.of(name), { caHash, after: [] });
        else agent(context, hosts.of(name), { caHash, after: [] });
    }
}

/** What is there once per node, by the node's name: a preview then shows no other node's as changed. */
type ByNode<T> = Readonly<Record<string, T>>;

function byNode<T>(nodes: readonly NodeSpec[], value: (node: NodeSpec) => T): ByNode<T> {
    return Object.fromEntries(nodes.map((node) => [node.name, value(node)]));
}

/** What can be told of a cluster without running anything: part of the stack's outputs. */
export function publicOutputs(spec: ClusterSpec): {
    apiEndpoints: ByNode<string>;
    statsEndpoints: ByNode<string>;
    prometheusTargets: ByNode<PrometheusTarget>;
    nodes: ByNode<NodeInfo>;
    readiness: string;
} {
    const live = liveNodes(spec);
    return {
        apiEndpoints: byNode(servers(spec), (n) => `https://${urlHost(n.address)}:6443`),
        statsEndpoints: byNode(live, (n) => `http://${statsEndpoint(spec, n)}/`),
        prometheusTargets: byNode(live, (n) => ({
            targets: [statsEndpoint(spec, n)],
            labels: { cluster: spec.cluster, node: n.name, role: n.role, job: "haproxy" },
        })),
        nodes: byNode(live, ({ role, address }) => ({ role, address, version: spec.version })),
        readiness: spec.readiness,
    };
}
