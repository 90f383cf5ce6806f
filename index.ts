/** k3s-ha: reads the stack's configuration, builds the cluster, exports what its users need. */
import * as pulumi from "@pulumi/pulumi";
import { lastRead } from "./components/config/last-outputs";
import { Cluster, publicOutputs } from "./components/cluster";
import { clusterHooks } from "./components/hooks";
import { readStack } from "./components/config/stack";
import { knownPlan } from "./components/plan";

const { spec, warnings, access, given } = readStack(__dirname);
for (const warning of warnings) void pulumi.log.warn(warning);

const plan = knownPlan(spec);
const cluster = new Cluster(spec.cluster, {
    plan,
    access,
    given,
    lastRead: lastRead(),
    now: new Date(),
    hooks: clusterHooks(plan),
});
const open = publicOutputs(spec);

/** Secret: the administrator's kubeconfig. `pulumi stack output kubeconfig --show-secrets > FILE` (mode 600). */
export const kubeconfig = cluster.kubeconfig;
/** Where the API answers, by the server's name. */
export const apiEndpoints = open.apiEndpoints;
/** haproxy's stats page, by the node's name. */
export const statsEndpoints = open.statsEndpoints;
/** Secret: of user `admin` on the stats pages. */
export const statsPassword = cluster.statsPassword;
/** Secret: of user `prometheus`, where proxy.stats.metricsPassword is set; else empty. */
export const metricsPassword = cluster.metricsPassword ?? pulumi.secret("");
/** Scrape targets by the node's name, each an entry of Prometheus' file_sd form. */
export const prometheusTargets = open.prometheusTargets;
/** Role, address and k3s version, by the node's name. */
export const nodes = open.nodes;
/** How the proxies tell that a server is ready. */
export const readiness = open.readiness;
/** Where the etcd snapshot of `snapshots.now` lies; else empty. */
export const snapshot = cluster.snapshot ?? "";
/** SHA-256 of the cluster's CA, as k3s's tokens carry it. */
export const caHash = cluster.caHash;
/** When the administrator's certificate in the kubeconfig ends. */
export const kubeconfigNotAfter = cluster.kubeconfigNotAfter;
/** The day on which the kubeconfig was last read again because that end was near; the next run looks at both. */
export const kubeconfigReadAgain = cluster.kubeconfigReadAgain;
