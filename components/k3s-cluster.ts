/** The cluster for a program of your own: its hosts may come from other resources. What the package `k3s-ha` exports. */
import * as pulumi from "@pulumi/pulumi";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks";
import { checkSpec } from "./config/check";
import { lastRead } from "./config/last-outputs";
import type { Surroundings } from "./config/fill";
import { outline, standIns, type NodeInputs } from "./config/outline";
import { SECRET_SETTINGS, type Problem } from "./config/problems";
import { sshFiles } from "./config/source";
import { credentials, orMistakes } from "./config/stack";
import { Cluster, publicOutputs } from "./cluster";
import { NO_HOOKS, clusterHooks } from "./hooks";
import type { ClusterSpec } from "./model/cluster";
import type { GivenSecrets, SshAccess } from "./model/credentials";
import { knownPlan, laterPlan, type Plan } from "./plan";
import type { SecretName, WrittenSettings } from "./settings";

type WrittenNode = WrittenSettings["nodes"][number];
type WrittenSsh = NonNullable<WrittenNode["ssh"]>;

/** A node as in a stack file (docs/settings.md, `nodes`). Its addresses may be outputs of the resources that make the host. */
export interface NodeArgs extends Omit<WrittenNode, "address" | "ssh" | "externalAddress"> {
    /** VPN address of the host. */
    readonly address: pulumi.Input<string>;
    /** External address of the Kubernetes node; the default is none. */
    readonly externalAddress?: pulumi.Input<string>;
    /** SSH to this node, where it differs from `ssh`. */
    readonly ssh?: Omit<WrittenSsh, "host" | "hostKey"> & {
        /** Name or address for SSH; the default is `address`. */
        readonly host?: pulumi.Input<string>;
        /** Public host key; the default is from `ssh.knownHosts`. */
        readonly hostKey?: pulumi.Input<string>;
    };
}

/** Everything that a stack file may hold (docs/settings.md) but `cluster`, which is the component's name. */
export type K3sClusterArgs = Omit<WrittenSettings, "cluster" | "nodes" | SecretName> & {
    readonly nodes: readonly NodeArgs[];
} & {
    /** Secrets; those that are absent are generated. */
    readonly [name in SecretName]?: pulumi.Input<string>;
} & {
    /** Settings whose values came from secrets: nothing of them is shown. The default is none. */
    readonly confidential?: readonly (keyof WrittenSettings)[];
    /** The folder that names of files are relative to; the default is the working directory, which is the program's. */
    readonly folder?: string;
    /**
     * The name under which your program exports `certificate`. With it the kubeconfig is read again when its certificate ends within 60
     * days. The default is not to.
     */
    readonly certificateOutput?: string;
};

/** The kubeconfig's certificate. */
export interface Certificate {
    /** When it ends, in ISO 8601; empty where that cannot be read. */
    readonly kubeconfigNotAfter: string;
    /** The day on which it was last read again because that was near; empty when it never was. */
    readonly kubeconfigReadAgain: string;
}

type Public = ReturnType<typeof publicOutputs>;

/** A highly available k3s cluster. Resources of its nodes are named `<cluster>-<node>-<step>`, so a program may have several. */
export class K3sCluster extends Cluster {
    /** Where the API answers, by the server's name. */
    public readonly apiEndpoints: pulumi.Output<Public["apiEndpoints"]>;
    /** haproxy's stats page, by the node's name. */
    public readonly statsEndpoints: pulumi.Output<Public["statsEndpoints"]>;
    /** Scrape targets by the node's name, each an entry of Prometheus' file_sd form. */
    public readonly prometheusTargets: pulumi.Output<Public["prometheusTargets"]>;
    /** Role, address and k3s version, by the node's name. */
    public readonly nodes: pulumi.Output<Public["nodes"]>;
    /** Export it under the name in `certificateOutput`. */
    public readonly certificate: pulumi.Output<Certificate>;

    /**
     * @param name the cluster's name: a lower-case DNS label of at most 40 characters
     * @throws RunError listing every mistake; those that follow from addresses come when these are known, before the first command
     */
    public constructor(name: string, args: K3sClusterArgs, opts?: pulumi.ComponentResourceOptions) {
        const { plan, access, given } = prepare(name, args);
        const { certificateOutput } = args;
        super(
            name,
            {
                plan,
                access,
                given,
                lastRead: certificateOutput === undefined ? {} : lastRead(certificateOutput),
                now: new Date(),
                hooks: isMocked() ? NO_HOOKS : clusterHooks(plan),
            },
            opts,
        );
        const open = pulumi.output(plan.tell(publicOutputs));
        this.apiEndpoints = open.apply((o) => o.apiEndpoints);
        this.statsEndpoints = open.apply((o) => o.statsEndpoints);
        this.prometheusTargets = open.apply((o) => o.prometheusTargets as Public["prometheusTargets"]);
        this.nodes = open.apply((o) => o.nodes);
        this.certificate = pulumi.output({
            kubeconfigNotAfter: this.kubeconfigNotAfter,
            kubeconfigReadAgain: this.kubeconfigReadAgain,
        });
    }
}

const isMocked = (): boolean => pulumi.runtime.getMonitor() instanceof MockMonitor;

type Given<T> = { readonly [K in keyof T]: pulumi.Input<T[K]> };

/** The inputs of a node. */
const inputsOf = ({ address, externalAddress, ssh }: NodeArgs): Given<NodeInputs> =>
    defined({ address, externalAddress, host: ssh?.host, hostKey: ssh?.hostKey });

/** Each as it is, or a stand-in where it comes later. */
function withStandIns(node: NodeArgs, i: number): NodeInputs {
    const stand = standIns(i);
    const known = Object.entries(inputsOf(node)).map(([key, value]) => [
        key,
        typeof value === "string" ? value : stand[key as keyof NodeInputs],
    ]);
    return Object.fromEntries(known) as unknown as NodeInputs;
}

interface Prepared {
    readonly plan: Plan;
    readonly access: SshAccess;
    readonly given: GivenSecrets;
}

function prepare(name: string, args: K3sClusterArgs): Prepared {
    const { nodes, confidential = [], folder = process.cwd(), certificateOutput: _, ...rest } = args;
    const entries = Object.entries(rest).filter(([, value]) => value !== undefined);
    const open = Object.fromEntries(entries.filter(([key]) => !SECRET_SETTINGS.has(key)));
    const given = Object.fromEntries(entries.filter(([key]) => SECRET_SETTINGS.has(key)));
    const encrypted = new Set<string>([...confidential, ...Object.keys(given)]);
    const problems: Problem[] = [];
    const { knownHosts, privateKey } = sshFiles(folder, open["ssh"], problems);
    const written = (values: readonly NodeInputs[], secrets: object): WrittenSettings =>
        ({
            ...open,
            ...secrets,
            cluster: name,
            nodes: nodes.map((node, i) => withInputs(node, values[i])),
        }) as WrittenSettings;
    /** All mistakes that can be told now. */
    const checked = <T>(check: (settings: WrittenSettings, around: Surroundings) => T, settings: WrittenSettings): T =>
        orMistakes(problems, encrypted, () => check(settings, { knownHosts, encrypted }));

    const known = nodes.map(withStandIns);
    // No secret is in a spec: whether they are well formed is checked when they are there. Two of them must differ.
    const stand = Object.fromEntries(Object.keys(given).map((key) => [key, `stand-in-of-${key}`]));
    const { spec, warnings } = checked(outline, written(known, stand));
    const isKnown = nodes.every((node) => Object.values(inputsOf(node)).every((value) => typeof value === "string"));
    if (isKnown) for (const warning of warnings) void pulumi.log.warn(warning);
    const resolved = (): pulumi.Output<ClusterSpec> =>
        pulumi.output(nodes.map(inputsOf)).apply(async (values) => {
            const whole = checked(checkSpec, written(values as readonly NodeInputs[], stand));
            for (const warning of whole.warnings) await pulumi.log.warn(warning);
            return whole.spec;
        }) as pulumi.Output<ClusterSpec>;
    const prefix = `${name}-`;
    const secrets = pulumi.secret(pulumi.all(given)).apply((values) => {
        if (Object.keys(values).length > 0) checked(outline, written(known, values));
        return values as Record<string, string>;
    });
    const secret = (key: SecretName): pulumi.Output<string> | undefined =>
        args[key] === undefined ? undefined : secrets.apply((values) => values[key] as string);
    return {
        plan: isKnown ? knownPlan(spec, prefix) : laterPlan(spec, resolved(), prefix),
        ...credentials(secret, privateKey),
    };
}

/** A node as a stack file has it, with these inputs. */
function withInputs(
    { ssh, ...node }: NodeArgs,
    { address, externalAddress, ...login }: NodeInputs = { address: "" },
): object {
    return defined({ ...node, address, externalAddress, ssh: ssh && defined({ ...ssh, ...login }) });
}

const defined = <T extends object>(value: T): T =>
    Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
