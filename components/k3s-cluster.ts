/** The cluster for a program of your own: its hosts may come from other resources. What the package `k3s-ha` exports. */
import * as pulumi from "@pulumi/pulumi";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks";
import { checkSpec } from "./config/check";
import { lastRead } from "./config/last-outputs";
import { outline, standIns, type NodeInputs } from "./config/outline";
import { SECRET_SETTINGS, SpecError, type Problem } from "./config/problems";
import { sshFiles } from "./config/source";
import { asShown } from "./config/stack";
import { Cluster, publicOutputs } from "./cluster";
import { clusterHooks, type ClusterHooks } from "./hooks";
import type { ClusterSpec } from "./model/cluster";
import type { GivenSecrets } from "./model/credentials";
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
        const { plan, access, given } = prepared(name, args);
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

/** Pulumi's mocks have no hooks. */
const NO_HOOKS: ClusterHooks = { command: {}, agent: {}, description: {} };
const isMocked = (): boolean => pulumi.runtime.getMonitor() instanceof MockMonitor;

interface Prepared {
    readonly plan: Plan;
    readonly access: {
        readonly privateKey?: pulumi.Output<string>;
        readonly privateKeyPassword?: pulumi.Output<string>;
    };
    readonly given: GivenSecrets;
}

function prepared(name: string, args: K3sClusterArgs): Prepared {
    try {
        return prepare(name, args);
    } catch (error) {
        throw asShown(error);
    }
}

/** A node's inputs, each as it is or a stand-in of its form where it comes later. */
const ofNode = ({
    address,
    externalAddress,
    ssh,
}: NodeArgs): { readonly [K in keyof NodeInputs]: pulumi.Input<string> } =>
    ({
        address,
        externalAddress,
        host: ssh?.host,
        hostKey: ssh?.hostKey,
    }) as { readonly [K in keyof NodeInputs]: pulumi.Input<string> };

function withStandIns(node: NodeArgs, i: number): NodeInputs {
    const stand = standIns(i);
    const known = Object.entries(ofNode(node))
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => [key, typeof value === "string" ? value : stand[key as keyof NodeInputs]]);
    return Object.fromEntries(known) as unknown as NodeInputs;
}

function prepare(name: string, args: K3sClusterArgs): Prepared {
    const { nodes, confidential = [], folder = process.cwd(), certificateOutput: _, ...rest } = args;
    const open = Object.fromEntries(Object.entries(rest).filter(([key]) => !SECRET_SETTINGS.has(key)));
    const given = Object.entries(rest).filter(([key, value]) => SECRET_SETTINGS.has(key) && value !== undefined);
    const problems: Problem[] = [];
    const { knownHosts, privateKey } = sshFiles(folder, open["ssh"], problems);
    if (problems.length > 0) throw new SpecError(problems);
    const around = { knownHosts, encrypted: new Set([...confidential, ...given.map(([key]) => key)] as string[]) };
    const written = (values: readonly NodeInputs[], secrets: Readonly<Record<string, unknown>>): WrittenSettings =>
        ({
            ...open,
            ...secrets,
            cluster: name,
            nodes: nodes.map((node, i) => {
                const { address, externalAddress, host, hostKey } = values[i] as NodeInputs;
                const ssh = { ...node.ssh, host, hostKey };
                return defined({ ...node, address, externalAddress, ssh: node.ssh && defined(ssh) });
            }),
        }) as WrittenSettings;

    const known = nodes.map(withStandIns);
    // Secrets are never in a spec: whether they are well formed is asked of them alone.
    const stand = Object.fromEntries(given.map(([key]) => [key, "stand-in-of-a-secret"]));
    const sketch = outline(written(known, stand), around);
    const secrets = pulumi
        .secret(pulumi.all(Object.fromEntries(given) as Record<string, pulumi.Input<string>>))
        .apply((values) => {
            checked(() => outline(written(known, values), around));
            return values;
        });
    const isLater = nodes.some((node) =>
        Object.values(ofNode(node)).some((v) => v !== undefined && typeof v !== "string"),
    );
    for (const warning of isLater ? [] : sketch.warnings) void pulumi.log.warn(warning);
    const plan = isLater
        ? laterPlan(
              sketch.spec,
              resolved(nodes, (values) => checkSpec(written(values, stand), around)),
              `${name}-`,
          )
        : knownPlan(sketch.spec, `${name}-`);
    const secret = (key: SecretName): pulumi.Output<string> | undefined =>
        args[key] === undefined ? undefined : secrets.apply((values) => values[key] as string);
    return {
        plan,
        access: {
            privateKey: secret("sshPrivateKey") ?? (privateKey === undefined ? undefined : pulumi.secret(privateKey)),
            privateKeyPassword: secret("sshPrivateKeyPassword"),
        },
        given: {
            token: secret("token"),
            agentToken: secret("agentToken"),
            statsPassword: secret("statsPassword"),
            s3AccessKey: secret("s3AccessKey"),
            s3SecretKey: secret("s3SecretKey"),
        },
    };
}

/** The description as it is once all inputs are there; every check is done then. */
function resolved(
    nodes: readonly NodeArgs[],
    check: (values: readonly NodeInputs[]) => ReturnType<typeof checkSpec>,
): pulumi.Output<ClusterSpec> {
    return pulumi.output(nodes.map(ofNode)).apply(async (values) => {
        const { spec, warnings } = checked(() => check(values as unknown as readonly NodeInputs[]));
        for (const warning of warnings) await pulumi.log.warn(warning);
        return spec;
    }) as pulumi.Output<ClusterSpec>;
}

function checked<T>(check: () => T): T {
    try {
        return check();
    } catch (error) {
        throw asShown(error);
    }
}

const defined = (value: object): object => Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined));
