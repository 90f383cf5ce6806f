/** haproxy on one node, and what it needs: the scripts and the first two steps on every host. */
import type { remote } from "@pulumi/command";
import { types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { renderBundle } from "../remote/bundle";
import { bootstrapCommand } from "../remote/kit";
import { START_FILES, asRoot, inShell } from "../remote/login-shell";
import { nodeCommand, rawCommand, sendKit } from "../remote/node-command";
import { NodeComponent } from "../remote/traces";
import type { SshAccess } from "../model/credentials";
import type { ClusterSecrets } from "../secrets";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { KIT_DIR } from "../model/paths";
import { readyCodes } from "../model/readiness";
import { haproxyBundle } from "./haproxy";
import { prepareBundle } from "./prepare";

/** Arguments of {@link LocalProxy}. */
export interface LocalProxyArgs {
    readonly spec: ClusterSpec;
    readonly node: NodeSpec;
    readonly access: SshAccess;
    readonly secrets: ClusterSecrets;
    /** Told about failures with what to do; see components/hooks. */
    readonly hooks?: pulumi.ResourceHookBinding;
    /** What must be allowed before the first host is touched. */
    readonly after: readonly pulumi.Resource[];
}

/**
 * Writes /usr/local/lib/k3s-ha (scripts), /var/lib/k3s-ha (secrets, state), /etc/haproxy/haproxy.cfg. haproxy is reloaded when its
 * file changed, and started when it was not running; it is never restarted.
 */
export class LocalProxy extends NodeComponent {
    /** Host checked, scripts and secrets in place. */
    public readonly prepared: remote.Command;
    /** haproxy listens. */
    public readonly running: remote.Command;
    /** `none`, or the id of the cluster whose etcd data the host held when it was prepared. */
    public readonly etcdData: pulumi.Output<string>;

    public constructor(name: string, args: LocalProxyArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:proxy:LocalProxy", name, opts);
        const { spec, node, access, secrets, hooks } = args;
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
        // Only a master may know what opens the whole cluster.
        if (node.role === "server") files["server-token"] = secrets.token;
        const stdin = pulumi
            .all([secrets.clusterId, pulumi.output(files)])
            .apply(([id, values]) => renderBundle(prepareBundle(spec, node, id, values)));
        const sent = sendKit(`${name}-kit`, node, access, { parent: this, dependsOn: [...args.after], hooks });
        this.prepared = rawCommand(
            `${name}-prepare`,
            node,
            access,
            {
                create: inShell(bootstrapCommand(node)),
                delete: inShell(
                    `test ! -e ${KIT_DIR}/prepare.sh || ${asRoot(node.ssh)}sh ${KIT_DIR}/prepare.sh remove`,
                ),
                stdin: pulumi.secret(stdin),
                logging: types.enums.remote.Logging.None,
            },
            { parent: this, dependsOn: [sent], hooks, deleteBeforeReplace: true },
        );
        this.etcdData = pulumi
            .all([this.prepared.stdout, this.prepared.urn])
            .apply(([out, urn]) => etcdData(node, out, urn));
        this.running = nodeCommand(
            `${name}-haproxy`,
            node,
            access,
            {
                script: "haproxy.sh",
                create: "apply",
                note: secrets.revision(
                    secrets.statsPassword,
                    secrets.statsSalt,
                    ...(secrets.metricsPassword ? [secrets.metricsPassword] : []),
                ),
                stdin: renderBundle(haproxyBundle(spec, node)),
                // A new readiness mode: both answers are accepted first, and the new one alone when all masters have changed,
                // which is when the old resource is deleted. haproxy itself is removed by the step prepare.
                triggers: [readyCodes(spec.readiness).join(",")],
                remove: "settle",
            },
            { parent: this, dependsOn: [this.prepared], hooks, replaceWith: [this.prepared] },
        );
        this.registerOutputs({});
    }
}

/**
 * What step prepare said of a host's etcd data, whatever start files printed beside it.
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
