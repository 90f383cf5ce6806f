/** The cluster's kubeconfig as its users need it, made from the one k3s writes on a server. Pure. */
import { X509Certificate } from "node:crypto";
import { parse, stringify } from "yaml";
import { servers, type ClusterSpec } from "./cluster";
import { urlHost } from "../values";

/** What kubeconfig.sh prints: the CA's hash as k3s's tokens carry it, and /etc/rancher/k3s/k3s.yaml. */
export interface ClusterAccess {
    readonly caHash: string;
    readonly k3sYaml: string;
}

/** Takes kubeconfig.sh's output apart, whatever start files of the login shell printed besides. @throws when it has another form. */
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

const DAY = 86_400_000;

/** Within 60 days of its end, or after it; k3s renews its certificates only when it is started late in their year. */
function endIsNear(end: Date | undefined, now: Date): boolean {
    return end !== undefined && end.getTime() - now.getTime() < 60 * DAY;
}

/** What the last `up` left of the kubeconfig in the stack's outputs; undefined where an older version of this program made them. */
export interface LastRead {
    /** When its certificate ends, as in output kubeconfigNotAfter. */
    readonly notAfter?: string;
    /** See {@link readAgain}. */
    readonly readAgain?: string;
}

/**
 * The day on which the kubeconfig was last read again because its end was near; empty when it never was. It stands in the step's command,
 * so a new one makes the step run: once a day while the end is near, and not when it is far, since then the former day stays.
 */
export function readAgain(last: LastRead, now: Date): string {
    if (endIsNear(last.notAfter === undefined ? undefined : new Date(last.notAfter), now))
        return now.toISOString().slice(0, 10);
    return /^\d{4}-\d\d-\d\d$/.exec(last.readAgain ?? "")?.[0] ?? "";
}

/** What to say of a certificate that ends soon; `readOn` is the day of {@link readAgain}, `server` whose kubeconfig was read. */
export function endWarning(end: Date | undefined, now: Date, readOn: string, server: string): string | undefined {
    if (end === undefined || !endIsNear(end, now)) return undefined;
    const noNewer =
        readOn === now.toISOString().slice(0, 10)
            ? `, and ${server}, which was asked again today, has no newer one`
            : "";
    return `the administrator's certificate in the kubeconfig ${end < now ? "ended" : "ends"} at ${end.toISOString()}${noNewer}. k3s's other certificates end about then too: raise k3s-ha:rotate.certificates, which renews them on all nodes, servers one by one, and reads the kubeconfig again`;
}

interface K3sYaml {
    readonly clusters: readonly { readonly cluster: Readonly<Record<string, unknown>> }[];
    readonly users: readonly { readonly user: Readonly<Record<string, unknown>> }[];
}

/**
 * The kubeconfig of the stack: context `<context>` at the chosen server, the current one, and a context
 * `<context>-<server>` for each server, so that any of them can be asked when one is away.
 */
export function stackKubeconfig(k3sYaml: string, spec: ClusterSpec): string {
    const source = parse(k3sYaml) as K3sYaml | null;
    const cluster = source?.clusters?.[0]?.cluster;
    const user = source?.users?.[0]?.user;
    if (!cluster?.["certificate-authority-data"] || !user?.["client-certificate-data"]) {
        throw new Error("the server's k3s.yaml has no certificate authority or client certificate");
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
