/** A highly available k3s cluster: every part and the order they come in. */
import * as pulumi from "@pulumi/pulumi";
import { AnonymousSurface } from "./access/anonymous-surface";
import { ClusterAccess } from "./access/cluster-access";
import { PublicInfoViewer } from "./access/public-info-viewer";
import { Agent } from "./k3s/agent";
import { Server } from "./k3s/server";
import { LocalProxy } from "./proxy/local-proxy";
import { statsEndpoint } from "./proxy/plan";
import type { SshAccess } from "./remote/node-command";
import { ClusterSecrets, type GivenSecrets } from "./secrets";
import type { ClusterSpec, NodeSpec } from "./spec/spec";
import { urlHost } from "./spec/values";

/** Arguments of {@link Cluster}. */
export interface ClusterArgs {
    /** The validated description; it decides which resources exist. */
    readonly spec: ClusterSpec;
    /** How Pulumi logs in on the hosts. */
    readonly access: SshAccess;
    /** Tokens and passwords of the user's; what is absent is generated. */
    readonly given: GivenSecrets;
    /** Bound to every remote command. */
    readonly hooks?: pulumi.ResourceHookBinding;
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
 * Order: every host prepared, its haproxy started and the binary staged, side by side → the founding master → its CA read →
 * the other masters one by one → agents side by side → public-info-viewer → the anonymous surface proved.
 */
export class Cluster extends pulumi.ComponentResource {
    /** Secret. Contexts: the chosen one, and one per master. */
    public readonly kubeconfig: pulumi.Output<string>;
    /** SHA-256 of the cluster's CA. */
    public readonly caHash: pulumi.Output<string>;
    /** Secret. Of user `admin` on every stats page. */
    public readonly statsPassword: pulumi.Output<string>;
    /** Secret. Of user `prometheus`, where /metrics asks for a password; else undefined. */
    public readonly metricsPassword?: pulumi.Output<string>;

    public constructor(name: string, args: ClusterArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:index:Cluster", name, {}, opts);
        const { spec, access, hooks } = args;
        const parent = { parent: this };
        const secrets = new ClusterSecrets(
            `${name}-secrets`,
            { ...args.given, metrics: spec.proxy.stats.metricsPassword },
            parent,
        );
        const proxies = new Map(
            spec.nodes.map((node) => [
                node.name,
                new LocalProxy(node.name, { spec, node, access, secrets, hooks }, parent),
            ]),
        );
        const proxyOf = (node: NodeSpec): LocalProxy => proxies.get(node.name) as LocalProxy;

        const masters = spec.nodes.filter((n) => n.role === "server");
        const founder = masters.find((n) => n.name === spec.founder) as NodeSpec;
        const others = masters.filter((n) => n !== founder);
        const first = new Server(
            founder.name,
            {
                spec,
                node: founder,
                access,
                secrets,
                hooks,
                proxy: proxyOf(founder),
                caHash: spec.caHash,
                others: pulumi
                    .all(others.map((n) => proxyOf(n).etcdData))
                    .apply((data) => others.map((n, i) => `${n.name}=${data[i]}`).join(",")),
                after: others.map((n) => proxyOf(n).prepared),
            },
            parent,
        );
        const entry = new ClusterAccess(
            `${name}-access`,
            { spec, node: founder, access, hooks, after: [first.running] },
            parent,
        );
        let last: pulumi.Resource = first.running;
        for (const node of others) {
            const server = new Server(
                node.name,
                {
                    spec,
                    node,
                    access,
                    secrets,
                    hooks,
                    proxy: proxyOf(node),
                    caHash: entry.caHash,
                    after: [last, entry.read],
                },
                parent,
            );
            last = server.running;
        }
        spec.nodes
            .filter((n) => n.role === "agent")
            .forEach(
                (node) =>
                    void new Agent(
                        node.name,
                        {
                            spec,
                            node,
                            access,
                            secrets,
                            hooks,
                            proxy: proxyOf(node),
                            caHash: entry.caHash,
                            after: [last],
                        },
                        parent,
                    ),
            );

        const proofAfter: pulumi.Resource[] = [last];
        if (spec.readiness === "anonymous") {
            const viewer = new PublicInfoViewer(
                `${name}-public-info-viewer`,
                { spec, kubeconfig: entry.kubeconfig, node: founder, access, hooks, after: [last] },
                parent,
            );
            proofAfter.push(viewer.applied);
        }
        new AnonymousSurface(
            `${name}-anonymous-surface`,
            { spec, node: founder, access, hooks, after: proofAfter },
            parent,
        );

        this.kubeconfig = pulumi.secret(entry.kubeconfig);
        this.caHash = entry.caHash;
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
    return {
        apiEndpoints: spec.nodes.filter((n) => n.role === "server").map((n) => `https://${urlHost(n.address)}:6443`),
        statsEndpoints: spec.nodes.map((n) => `http://${statsEndpoint(spec, n)}/`),
        prometheusTargets: spec.nodes.map((n) => ({
            targets: [statsEndpoint(spec, n)],
            labels: { cluster: spec.cluster, node: n.name, role: n.role, job: "haproxy" },
        })),
        nodes: spec.nodes.map(({ name, role, address }) => ({ name, role, address, version: spec.version })),
        readiness: spec.readiness,
    };
}
