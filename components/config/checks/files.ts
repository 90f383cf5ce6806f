/** host.files: what is written by the program or by k3s itself. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import { repeated } from "./repeated";

const K3S = "/var/lib/rancher/k3s";
/** Manifests that k3s brings itself and writes at every start; those next to them are the user's. */
const PACKAGED = "(ccm|coredns|local-storage|rolebindings|runtimes|traefik)\\.yaml|metrics-server/.*";

const BPFFS_UNIT = "/etc/systemd/system/sys-fs-bpf.mount";

/** Files that somebody else writes, with who it is or what to use instead. */
const WRITTEN: readonly (readonly [RegExp, string])[] = [
    [/^\/(var\/lib|usr\/local\/lib)\/k3s-ha\//, "is the program's own, which writes it at every change"],
    [
        /^\/etc\/haproxy\/(haproxy\.cfg|[a-z0-9-]+-server-ca\.crt)$|^\/etc\/systemd\/system\/haproxy\.service\.d\/k3s-ha\.conf$/,
        "is written by the step haproxy; use k3s-ha:proxy",
    ],
    [/^\/etc\/sysctl\.d\/90-k3s-ha\.conf$/, "is written from k3s-ha:host.sysctl"],
    [/^\/etc\/modules-load\.d\/k3s-ha\.conf$/, "is written from k3s-ha:host.modules"],
    [/^\/etc\/systemd\/system\/k3s-ha-prune-images\.(service|timer)$/, "is written from k3s-ha:host.pruneImages"],
    [/^\/etc\/rancher\/k3s\/cis-(audit|admission)\.yaml$/, "is written from k3s-ha:hardening"],
    [/^\/etc\/rancher\/k3s\/k3s-ha\.env$/, "is written from k3s-ha:server.environment and agent.environment"],
    [
        /^\/etc\/systemd\/system\/(k3s|k3s-agent)\.service$|^\/usr\/local\/bin\/(k3s|k3s-killall\.sh)$/,
        "is written by the step server or agent",
    ],
    [
        /^\/etc\/systemd\/system\/(k3s|k3s-agent)\.service\.env$/,
        "is k3s's own; variables of yours belong into /etc/default/k3s",
    ],
    [
        /^\/etc\/rancher\/k3s\/config\.yaml(\.d\/.*)?$/,
        "is k3s's configuration, which the program checks and writes; use k3s-ha:server.config, agent.config and nodes[].config",
    ],
    [/^\/etc\/rancher\/k3s\/registries\.yaml$/, "is written from k3s-ha:registries"],
    [/^\/etc\/rancher\/k3s\/authn\.yaml$/, "is written in readiness scoped; use k3s-ha:authentication"],
    [
        /^\/etc\/rancher\/(k3s\/(token|agent-token|k3s\.yaml)|node\/.*)$/,
        "is written by the step server or agent, or by k3s itself",
    ],
    [
        new RegExp(`^${K3S}/server/manifests/(${PACKAGED})$`),
        "is written by k3s at every start; turn it off by server.config.disable, and give yours another name",
    ],
    [new RegExp(`^${K3S}/server/(manifests|static)/(?!k3s-ha/)`), ""],
    [
        /^\/var\/lib\/rancher\/k3s\/agent\/etc\/(kubelet\.conf\.d\/(00-k3s-defaults|50-k3s-ha)\.conf|containerd\/config\.toml|[^/]*\.(json|yaml))$/,
        "is written by k3s at every start; for the kubelet use k3s-ha:kubelet, for containerd a template (config-v3.toml.tmpl)",
    ],
    [/^\/var\/lib\/rancher\/k3s\/agent\/(etc|images|pod-manifests)\//, ""],
    [
        new RegExp(
            `^${K3S}/(data|server/(token|agent-token|node-token|cred|tls|db|etc|static/k3s-ha|kine\\.sock|k3s-ha-cluster-id)|agent/(containerd|[^/]*\\.(crt|key|kubeconfig)))(/|$)`,
        ),
        "is k3s's own data, which it writes itself",
    ],
];

/** Folders that the program or k3s makes, which a file would be in the way of. */
const FOLDERS = [
    "/etc/haproxy",
    "/etc/rancher/k3s/config.yaml.d",
    "/etc/rancher/node",
    "/etc/modules-load.d",
    "/etc/sysctl.d",
    "/etc/systemd/system/haproxy.service.d",
    "/usr/local/bin",
    "/usr/local/lib/k3s-ha",
    "/var/lib/k3s-ha",
    "/var/lib/kubelet",
    ...["server/db", "server/tls", "server/static", "server/manifests", "agent/etc/containerd", "agent/images"].map(
        (name) => `${K3S}/${name}`,
    ),
];

/** Who writes a path; undefined when nobody but the user does. */
function writer(path: string): string | undefined {
    // The first that fits decides: an empty reason is a place for the user's own files.
    const found = WRITTEN.find(([pattern]) => pattern.test(path));
    return found?.[1] || undefined;
}

export function checkFiles({ host, proxy }: StackSettings, report: Report): void {
    repeated(
        host.files ?? [],
        ({ path }) => path,
        ({ path }, i, before) =>
            report(["host", "files", i, "path"], path, `is also the path of host.files[${before}]`),
    );
    const lists = new Set(proxy.haproxy?.acl_files?.map(({ dest }) => dest));
    host.files?.forEach(({ path }, i) => {
        const by = writer(path);
        if (by !== undefined) report(["host", "files", i, "path"], path, by);
        if (path === BPFFS_UNIT && host.bpffs)
            report(["host", "files", i, "path"], path, "is written from k3s-ha:host.bpffs; leave one of them out");
        if (lists.has(path))
            report(["host", "files", i, "path"], path, "is written from k3s-ha:proxy.haproxy.acl_files");
        const folder = FOLDERS.find((name) => `${name}/`.startsWith(`${path}/`));
        const inner = host.files?.findIndex((other) => other.path.startsWith(`${path}/`)) ?? -1;
        if (folder !== undefined) report(["host", "files", i, "path"], path, `is a folder on a host: ${folder}`);
        else if (inner >= 0)
            report(
                ["host", "files", i, "path"],
                path,
                `is the folder of host.files[${inner}]; it cannot be a file too`,
            );
    });
}
