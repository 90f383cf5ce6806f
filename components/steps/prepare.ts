/** Step prepare, as values and as a resource. */
import { types, type remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { networksOf } from "../model/networks";
import { isIPv6Address, parseK3sVersion } from "../values";
import { renderBundle, type Bundle, type BundleFile } from "../remote/bundle";
import { bootstrapCommand } from "../remote/kit";
import { START_FILES, inShell } from "../remote/login-shell";
import { nodeResource, rawCommand, removal } from "../remote/node-command";
import { tellOf } from "../plan";
import type { ClusterSecrets } from "../secrets";
import type { StepContext } from "./context";

/** Facts checked, scripts and secrets brought, packages, modules, sysctl, services and files of the user. The secrets themselves are added as files. */
export function prepareBundle(
    spec: ClusterSpec,
    node: NodeSpec,
    clusterId: string,
    secrets: Readonly<Record<string, string>>,
): Bundle {
    const sysctl = Object.entries(spec.host.sysctl).sort(([a], [b]) => (a < b ? -1 : 1));
    const files: BundleFile[] = Object.entries(secrets).map(([name, value]) => ({
        path: `/var/lib/k3s-ha/secrets/${name}`,
        mode: "0600",
        content: value,
    }));
    if (sysctl.length > 0) {
        files.push({
            path: "/etc/sysctl.d/90-k3s-ha.conf",
            mode: "0644",
            content: sysctl.map(([k, v]) => `${k} = ${v}`).join("\n"),
        });
    }
    if (spec.host.modules.length > 0) {
        files.push({
            path: "/etc/modules-load.d/k3s-ha.conf",
            mode: "0644",
            content: spec.host.modules.join("\n"),
        });
    }
    return {
        settings: {
            node: node.name,
            rebuilt: node.rebuilt || undefined,
            "cluster-id": clusterId,
            adopt: spec.allow.includes("adopt") ? `${node.role} ${spec.caHash}` : undefined,
            // Its kubelet does not start there otherwise (Kubernetes 1.35).
            "cgroup-v1": refusesCgroupV1(spec, node) ? "refused" : undefined,
            network: ownNetworks(spec),
            packages: ["curl", "openssl", "socat", ...spec.host.packages].join(" "),
            service: spec.host.services,
            bpffs: spec.host.bpffs ? "yes" : undefined,
            "prune-images": spec.host.pruneImages ? "yes" : undefined,
        },
        files: [...files, ...spec.host.files],
    };
}

/** Networks of IPv4 that k3s keeps to itself, which no route of a host may meet (routes.sh). */
function ownNetworks(spec: ClusterSpec): string[] {
    const first = spec.nodes.find((n) => n.name === spec.firstServer);
    if (first === undefined || isIPv6Address(first.address)) return [];
    const networks = networksOf(first.config, 4);
    const lines = (whose: string, list: readonly string[]): string[] => list.map((network) => `${whose} ${network}`);
    return [...lines("pods", networks["cluster-cidr"]), ...lines("services", networks["service-cidr"])];
}

/** By the kubelet's settings file or, as older clusters have it, by its argument, which counts more. */
function refusesCgroupV1(spec: ClusterSpec, node: NodeSpec): boolean {
    if ((parseK3sVersion(spec.version)?.minor ?? 0) < 35) return false;
    const argument = [node.config["kubelet-arg"] ?? []]
        .flat()
        .map((value) => /^(?:--)?fail-cgroupv1(?:=(.*))?$/.exec(String(value)))
        .filter((found) => found !== null)
        .at(-1);
    return argument ? argument[1] !== "false" : spec.kubelet["failCgroupV1"] !== false;
}

/** What is secret on a node, by the file's name. */
function secretFiles(node: NodeSpec, secrets: ClusterSecrets): Record<string, pulumi.Output<string>> {
    const files: Record<string, pulumi.Output<string>> = {
        "agent-token": secrets.agentToken,
        "stats-password": secrets.statsPassword,
        "stats-salt": secrets.statsSalt,
    };
    if (node.role === "server" && secrets.s3) {
        files["s3-access-key"] = secrets.s3.accessKey;
        files["s3-secret-key"] = secrets.s3.secretKey;
    }
    if (secrets.metricsPassword) files["metrics-password"] = secrets.metricsPassword;
    // Only a server may have what opens the whole cluster.
    if (node.role === "server") files["server-token"] = secrets.token;
    return files;
}

/** Installs the kit from the upload; writes secrets and state, packages, sysctl and the user's files. Its removal empties the host. */
export function prepare(
    context: StepContext,
    node: NodeSpec,
    sent: pulumi.Resource,
    parent: pulumi.Resource,
): remote.Command {
    const { secrets, hooks } = context;
    const stdin = pulumi
        .all([secrets.clusterId, pulumi.output(secretFiles(node, secrets))])
        .apply(([id, values]) =>
            tellOf(context, node, (spec, it) => renderBundle(prepareBundle(spec, it, id, values))),
        );
    return rawCommand(
        context,
        nodeResource(context, node, "prepare"),
        node,
        {
            create: tellOf(context, node, (_, it) => inShell(bootstrapCommand(it))),
            delete: inShell(removal(node, "prepare", "remove")),
            stdin: pulumi.secret(stdin),
            logging: types.enums.remote.Logging.None,
        },
        { parent, dependsOn: [sent], hooks: hooks.command, deleteBeforeReplace: true },
    );
}

/**
 * What step prepare said of a host's etcd data, whatever start files printed besides.
 * @throws when it said nothing: the session ended well without it
 */
export function etcdData(node: NodeSpec, stdout: string | undefined, urn: string): string {
    const said = /etcd-data: (\S+)$/m.exec(stdout ?? "")?.[1];
    if (said === undefined && stdout !== undefined && !node.lost)
        throw new Error(
            `node ${node.name}, step prepare: nothing was done on the host. ${START_FILES}. Then: pulumi up --replace '${urn}'`,
        );
    return said ?? "unknown";
}
