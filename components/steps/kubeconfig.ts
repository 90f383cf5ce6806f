/** Step kubeconfig: the cluster's CA and kubeconfig, read from the first server. */
import { types, type remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import {
    certificateEnd,
    endWarning,
    parseAccess,
    readAgain,
    stackKubeconfig,
    type LastRead,
} from "../model/kubeconfig";
import { clusterStep, type Place, type StepContext } from "./context";

/** The way into the cluster. */
export interface ClusterAccess {
    /** SHA-256 of the cluster's CA, as k3s's tokens carry it; public. */
    readonly caHash: pulumi.Output<string>;
    /** Secret: it is the administrator's. */
    readonly kubeconfig: pulumi.Output<string>;
    /** When its certificate ends, in ISO 8601; empty where that cannot be read. */
    readonly notAfter: pulumi.Output<string>;
    /** The day on which it was last read again because its end was near; empty when it never was. */
    readonly readAgain: pulumi.Output<string>;
    readonly command: remote.Command;
}

/**
 * Reads only. Runs again when the version changes, since a restart may have renewed the certificates, and when they end soon.
 * `last` is what the last `up` read.
 */
export function readKubeconfig(
    context: StepContext,
    last: pulumi.Input<LastRead>,
    now: Date,
    place: Place,
): ClusterAccess {
    const { spec, tell, cluster } = context;
    const { on } = place;
    const again = pulumi.output(last).apply((read) => readAgain(read, now));
    const settings = {
        node: on.name,
        version: spec.version,
        rebuilt: on.rebuilt || undefined,
        renew: spec.rotate.certificates || undefined,
    };
    const command = clusterStep(
        context,
        "kubeconfig",
        place,
        () => ({ settings, files: [] }),
        {
            component: ["k3s-ha:access:ClusterAccess", `${spec.cluster}-access`],
            name: `${spec.cluster}-access-kubeconfig`,
        },
        {
            note: again.apply((day) => day && `the certificate ends soon, read again on ${day}`),
            logging: types.enums.remote.Logging.None,
        },
        { additionalSecretOutputs: ["stdout"] },
    );
    const parts = pulumi.secret(command.stdout).apply(parseAccess);
    return {
        command,
        readAgain: again,
        caHash: pulumi.unsecret(parts.apply((p) => p.caHash)),
        kubeconfig: parts.apply((p) => pulumi.output(tell((whole) => stackKubeconfig(p.k3sYaml, whole)))),
        notAfter: pulumi.unsecret(
            pulumi.all([parts, again]).apply(async ([{ k3sYaml }, readOn]) => {
                const end = certificateEnd(k3sYaml);
                const warning = endWarning(end, now, readOn, on.name);
                if (warning !== undefined) await pulumi.log.warn(warning, cluster);
                return end?.toISOString() ?? "";
            }),
        ),
    };
}
