/** A highly available k3s cluster: every part and the order they come in. */
import * as pulumi from "@pulumi/pulumi";
import { AnonymousSurface } from "./steps/surface";
import { ClusterAccess } from "./steps/kubeconfig";
import { PublicInfoViewer } from "./steps/viewer";
import { Agent } from "./steps/agent";
import { Fence, Nodes } from "./steps/nodes";
import { Snapshot } from "./steps/snapshot";
import { Server } from "./steps/server";
import { LocalProxy } from "./steps/local-proxy";
import type { LastRead } from "./model/kubeconfig";
import { statsEndpoint } from "./model/proxy";
import type { GivenSecrets, SshAccess } from "./model/credentials";
import { ClusterSecrets } from "./secrets";
import { servers, type ClusterSpec, type NodeSpec } from "./model/cluster";
import { factsOf } from "./config/transition";
import type { ClusterHooks } from "./hooks";
import { READINESS } from "./model/readiness";
import { urlHost } from "./values";

/** Arguments of {@link Cluster}. */
export interface ClusterArgs {
    /** The validated description; it decides which resources exist. */
    readonly spec: ClusterSpec;
    /** How Pulumi logs in on the hosts. */
    readonly access: SshAccess;
    /** Tokens and passwords of the user's; what is absent is generated. */
    readonly given: GivenSecrets;
    /** What the last `up` knew of the kubeconfig. */
    readonly lastRead: pulumi.Input<LastRead>;
    /** The time that certificates are held against. */
    readonly now: Date;
    /** What the engine calls back; see {@link ClusterHooks}. */
    readonly hooks?: ClusterHooks;
}

/** A node as the outputs list it. */
export interface NodeInfo {
    readonly name: string;
    readonly role: string;
    readonly address: string;
    /** The k3s release it runs. */
    readonly version: string;
}

/** Prometheus' file_sd form (https://prometheus.io/docs/guides/file-sd/). */
export interface PrometheusTarget {
    readonly targets: readonly string[];
    readonly labels: Readonly<Record<string, string>>;
}

/**
 * Order: every host prepared, its haproxy started and the binary staged, side by side → the founding master → its CA read,
 * lost nodes forgotten → the other masters one by one → agents side by side → labels, taints and drains of the Nodes → removed nodes
 * uninstalled. public-info-viewer as soon as the founding master serves, the proof of the anonymous surface after it and the last master.
 */
export class Cluster extends pulumi.ComponentResource {
    /** Secret. Contexts: the chosen one, and one per master. */
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
        const { spec, access } = args;
        const hooks = args.hooks?.command;
        const parent = { parent: this };
        const secrets = new ClusterSecrets(
            `${name}-secrets`,
            { ...args.given, metrics: spec.proxy.stats.metricsPassword, rotate: spec.rotate },
            parent,
        );
        // What the last `up` began with is in the state, where the hook compares; it refuses before any host is touched.
        const description = new pulumi.Stash(
            // Without the cluster's name, so that another name is a change and not another resource.
            "description",
            { input: factsOf(spec) },
            { ...parent, hooks: args.hooks?.description, aliases: [{ name: `${name}-description` }] },
        );

        const common = { spec, access, secrets, hooks };
        const proxies = new Map(
            spec.nodes.map((node) => [
                node.name,
                new LocalProxy(node.name, { ...common, node, after: [description] }, parent),
            ]),
        );
        const proxyOf = (node: NodeSpec): LocalProxy => proxies.get(node.name) as LocalProxy;
        // Lost nodes are waited for by nobody; they stay in the program so that nothing is done to their hosts.
        const live = spec.nodes.filter((n) => !n.lost);
        const masters = servers(spec);
        const founder = masters.find((n) => n.name === spec.founder) as NodeSpec;
        const others = masters.filter((n) => n !== founder);
        const first = new Server(
            founder.name,
            {
                ...common,
                node: founder,
                proxy: proxyOf(founder),
                caHash: spec.caHash,
                others: pulumi
                    .all(others.map((n) => proxyOf(n).etcdData))
                    .apply((data) => others.map((n, i) => `${n.name}@${n.address}=${data[i]}`).join(",")),
                after: others.map((n) => proxyOf(n).prepared),
            },
            parent,
        );
        const onFounder = { spec, node: founder, access, hooks };
        const entry = new ClusterAccess(
            `${name}-access`,
            { ...onFounder, after: [first.running], last: args.lastRead, now: args.now },
            parent,
        );
        // Kept as it was read at first, so that reading again leaves nobody's command unknown in a preview.
        const ca = new pulumi.Stash(`${name}-ca`, { input: entry.caHash }, parent);
        const caHash = spec.caHash ?? (ca.output as pulumi.Output<string>);
        const fence = new Fence(`${name}-fence`, { ...onFounder, after: [entry.read] }, parent);
        // A proxy must know a master before it joins, and none that has left.
        const known = live.map((n) => proxyOf(n).running);
        // Each after all before it, not only the last one: of several that leave, no two may leave at the same time either.
        const before: pulumi.Resource[] = [first.running];
        for (const node of others) {
            const { running } = new Server(
                node.name,
                { ...common, node, proxy: proxyOf(node), caHash, after: [...before, fence.closed, ca, ...known] },
                parent,
            );
            before.push(running);
        }
        const last = before.at(-1) as pulumi.Resource;
        const agents = live
            .filter((n) => n.role === "agent")
            .map(
                (node) =>
                    new Agent(
                        node.name,
                        {
                            ...common,
                            node,
                            proxy: proxyOf(node),
                            caHash,
                            after: [last, fence.closed, ca],
                            hooks: args.hooks?.agent,
                        },
                        parent,
                    ),
            );
        for (const node of spec.nodes.filter((n) => n.lost)) {
            const frozen = { ...common, node, proxy: proxyOf(node), caHash, after: [] };
            if (node.role === "server") new Server(node.name, frozen, parent);
            else new Agent(node.name, frozen, parent);
        }
        new Nodes(
            `${name}-nodes`,
            { ...onFounder, after: [last, ...known, ...agents.map((agent) => agent.running)] },
            parent,
        );

        const proofAfter: pulumi.Resource[] = [last];
        if (READINESS[spec.readiness].cutsPublicRole) {
            // As soon as one master serves: the role is the cluster's, so the others come up with it cut down. None waits for it.
            const viewer = new PublicInfoViewer(
                `${name}-public-info-viewer`,
                { ...onFounder, kubeconfig: entry.kubeconfig, after: [first.running] },
                parent,
            );
            proofAfter.push(viewer.applied);
        }
        new AnonymousSurface(`${name}-anonymous-surface`, { ...onFounder, after: proofAfter }, parent);
        if (spec.snapshots.now !== undefined) {
            this.snapshot = new Snapshot(
                `${name}-snapshot`,
                { ...onFounder, snapshot: spec.snapshots.now, after: [last] },
                parent,
            ).place;
        }

        this.kubeconfig = pulumi.secret(entry.kubeconfig);
        this.kubeconfigNotAfter = entry.notAfter;
        this.kubeconfigReadAgain = entry.readAgain;
        this.caHash = pulumi.output(caHash);
        this.statsPassword = pulumi.secret(secrets.statsPassword);
        this.metricsPassword = secrets.metricsPassword;
        this.registerOutputs({});
    }
}

/** What can be told of a cluster without running anything: part of the stack's outputs. */
export function clusterFacts(spec: ClusterSpec): {
    apiEndpoints: string[];
    statsEndpoints: string[];
    prometheusTargets: PrometheusTarget[];
    nodes: NodeInfo[];
    readiness: string;
} {
    const live = spec.nodes.filter((n) => !n.lost);
    return {
        apiEndpoints: servers(spec).map((n) => `https://${urlHost(n.address)}:6443`),
        statsEndpoints: live.map((n) => `http://${statsEndpoint(spec, n)}/`),
        prometheusTargets: live.map((n) => ({
            targets: [statsEndpoint(spec, n)],
            labels: { cluster: spec.cluster, node: n.name, role: n.role, job: "haproxy" },
        })),
        nodes: live.map(({ name, role, address }) => ({ name, role, address, version: spec.version })),
        readiness: spec.readiness,
    };
}
