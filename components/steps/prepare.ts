/** What step prepare is given on a node, as values. */
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { networksOf } from "../model/networks";
import { isIPv6Address, parseK3sVersion } from "../values";
import type { Bundle, BundleFile } from "../remote/bundle";

/** Facts checked, scripts and secrets brought, sysctl, packages and files of the user. The secrets themselves are added as files. */
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
        },
        files: [...files, ...spec.host.files],
    };
}

/** Networks of IPv4 that k3s keeps to itself, which no route of a host may meet (routes.sh). */
function ownNetworks(spec: ClusterSpec): string[] {
    const founder = spec.nodes.find((n) => n.name === spec.founder);
    if (founder === undefined || isIPv6Address(founder.address)) return [];
    const networks = networksOf(founder.config, 4);
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
