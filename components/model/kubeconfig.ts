/** The cluster's kubeconfig as its users need it, made from the one k3s writes on a master. Pure. */
import { X509Certificate } from "node:crypto";
import { parse, stringify } from "yaml";
import { servers, type ClusterSpec } from "./cluster";
import { urlHost } from "./values";

/** What kubeconfig.sh prints: the CA's hash as k3s's tokens carry it, and /etc/rancher/k3s/k3s.yaml. */
export interface ClusterAccess {
    readonly caHash: string;
    readonly k3sYaml: string;
}

/** Takes kubeconfig.sh's output apart, whatever start files of the login shell printed beside it. @throws when it has another form. */
export function parseAccess(stdout: string): ClusterAccess {
    // The last line is missing in what older versions of this program left in the state. The provider drops the last end of line.
    const m = /ca-hash: ([0-9a-f]{64})\n([\s\S]+?)(\nend-of-kubeconfig(\n|$)|$)/.exec(stdout);
    if (!m) throw new Error("the kubeconfig step printed something else than a CA hash and a kubeconfig");
    return { caHash: m[1]!, k3sYaml: m[2]! };
}

/** When the administrator's certificate in a kubeconfig ends; undefined where there is none to be read. */
export function certificateEnd(kubeconfig: string): Date | undefined {
    const config = parse(kubeconfig) as K3sYaml | null;
    const data = config?.users?.[0]?.user["client-certificate-data"];
    try {
        return new Date(new X509Certificate(Buffer.from(String(data), "base64")).validTo);
    } catch {
        return undefined;
    }
}

/** What to say of a certificate that ends within 60 days; k3s renews its own only when it is started late in their year. */
export function endWarning(end: Date | undefined, now: Date): string | undefined {
    const days = end === undefined ? Infinity : Math.floor((end.getTime() - now.getTime()) / 86_400_000);
    return days >= 60
        ? undefined
        : `the administrator's certificate in the kubeconfig ${days < 0 ? "ended" : "ends"} at ${end?.toISOString()}, and k3s's own end about then: raise k3s-ha:rotate.certificates, which renews them on all nodes, masters one by one, and reads the kubeconfig again`;
}

interface K3sYaml {
    readonly clusters: readonly { readonly cluster: Readonly<Record<string, unknown>> }[];
    readonly users: readonly { readonly user: Readonly<Record<string, unknown>> }[];
}

/**
 * The kubeconfig of the stack: context `<context>` at the chosen server, the current one, and a context
 * `<context>-<master>` for each master, so that any of them can be asked when one is away.
 */
export function stackKubeconfig(k3sYaml: string, spec: ClusterSpec): string {
    const source = parse(k3sYaml) as K3sYaml | null;
    const cluster = source?.clusters?.[0]?.cluster;
    const user = source?.users?.[0]?.user;
    if (!cluster?.["certificate-authority-data"] || !user?.["client-certificate-data"]) {
        throw new Error("the master's k3s.yaml has no certificate authority or client certificate");
    }
    const { context } = spec.kubeconfig;
    const places = [
        { name: context, server: spec.kubeconfig.server },
        ...servers(spec).map((m) => ({ name: `${context}-${m.name}`, server: `https://${urlHost(m.address)}:6443` })),
    ];
    return stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": context,
        clusters: places.map(({ name, server }) => ({ name, cluster: { ...cluster, server } })),
        contexts: places.map(({ name }) => ({ name, context: { cluster: name, user: context } })),
        users: [{ name: context, user }],
        preferences: {},
    });
}
