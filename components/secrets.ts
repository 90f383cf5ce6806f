/** Passwords and tokens of a cluster: the user's, or made once and kept in the state. All are secret. */
import { createHmac } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { ClusterSpec } from "./model/cluster";
import type { GivenSecrets } from "./model/credentials";

/** The secrets of a cluster, and the public marks by which a change of them is told. */
export class ClusterSecrets extends pulumi.ComponentResource {
    /** What servers join with; anyone who has it can read everything. */
    public readonly token: pulumi.Output<string>;
    /** What agents join with. */
    public readonly agentToken: pulumi.Output<string>;
    /** For user `admin` of every node's stats page. */
    public readonly statsPassword: pulumi.Output<string>;
    /** For user `prometheus` of /metrics, where that asks for a password; made only then. */
    public readonly metricsPassword?: pulumi.Output<string>;
    /** Salt of the password's hash: kept, so that the hash on the hosts stays the same. */
    public readonly statsSalt: pulumi.Output<string>;
    /** Tells this cluster's etcd data from another's; not secret. */
    public readonly clusterId: pulumi.Output<string>;
    /** Of the bucket for etcd snapshots, where the user gave them. */
    public readonly s3?: { readonly accessKey: pulumi.Output<string>; readonly secretKey: pulumi.Output<string> };
    private readonly revisionKey: pulumi.Output<string>;

    public constructor(
        name: string,
        given: GivenSecrets & { readonly metrics: boolean; readonly rotate: ClusterSpec["rotate"] },
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("k3s-ha:index:ClusterSecrets", name, {}, opts);
        const parent = { parent: this };
        // A changed keeper makes a new password.
        const password = (what: string, length: number, generation = 0): pulumi.Output<string> =>
            pulumi.secret(
                new random.RandomPassword(
                    `${name}-${what}`,
                    {
                        length,
                        special: false,
                        keepers: generation > 0 ? { generation: String(generation) } : undefined,
                    },
                    parent,
                ).result,
            );
        const { rotate } = given;
        this.token = given.token ?? password("token", 48, rotate.token);
        this.agentToken = given.agentToken ?? password("agent-token", 48, rotate.agentToken);
        this.statsPassword = given.statsPassword ?? password("stats-password", 32, rotate.statsPassword);
        if (given.metrics) this.metricsPassword = password("metrics-password", 32, rotate.metricsPassword);
        if (given.s3AccessKey && given.s3SecretKey)
            this.s3 = { accessKey: given.s3AccessKey, secretKey: given.s3SecretKey };
        this.statsSalt = new random.RandomString(`${name}-stats-salt`, { length: 16, special: false }, parent).result;
        this.clusterId = new random.RandomId(`${name}-id`, { byteLength: 8 }, parent).hex;
        this.revisionKey = password("revision-key", 32);
        this.registerOutputs({});
    }

    /**
     * A short public mark that changes when one of the secrets does: a keyed hash, so that it tells nothing of a weak password.
     * It stands in the commands that have to run again then.
     */
    public revision(...secrets: pulumi.Output<string>[]): pulumi.Output<string> {
        return pulumi.unsecret(
            pulumi.all([this.revisionKey, ...secrets]).apply(([key, ...values]) => {
                const mac = createHmac("sha256", key as string);
                values.forEach((v) => mac.update(`${v}\0`));
                return mac.digest("hex").slice(0, 8);
            }),
        );
    }
}
