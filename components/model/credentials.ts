/** Secrets that the stack gives: types alone, since the values are Pulumi's. */
import type * as pulumi from "@pulumi/pulumi";

/** How Pulumi logs in: the key, if it is not the SSH agent's. */
export interface SshAccess {
    /** A private key in PEM form; without one the SSH agent of the deployer is asked. */
    readonly privateKey?: pulumi.Input<string>;
    readonly privateKeyPassword?: pulumi.Input<string>;
}

/** What the user may give as secret config. */
export interface GivenSecrets {
    readonly token?: pulumi.Output<string>;
    readonly agentToken?: pulumi.Output<string>;
    readonly statsPassword?: pulumi.Output<string>;
    readonly s3AccessKey?: pulumi.Output<string>;
    readonly s3SecretKey?: pulumi.Output<string>;
}
