/** Step haproxy, as values and as a resource. */
import type { remote } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { aclFiles, backendName, caFile, haproxyConfig, statsAddress } from "../model/proxy";
import { readyCodes } from "../model/readiness";
import type { Bundle } from "../remote/bundle";
import { nodeCommand } from "../remote/node-command";
import { dataOf, type StepContext } from "./context";

/** haproxy from the distribution's package, its configuration, and what must be true at the end. */
export function haproxyBundle(spec: ClusterSpec, node: NodeSpec): Bundle {
    const lists = aclFiles(spec);
    return {
        settings: {
            node: node.name,
            rebuilt: node.rebuilt || undefined,
            listen: [`127.0.0.1 ${spec.proxy.port}`, `${statsAddress(spec, node)} ${spec.proxy.stats.port}`],
            backend: backendName(spec),
            expect: readyCodes(spec.readiness).join(","),
            "ca-file": spec.proxy.check.verify && spec.proxy.preset !== "ansible-role" ? caFile(spec) : undefined,
            "vpn-unit": spec.vpn.unit,
            acl: lists.map(({ path, owner, group, mode }) => `${owner} ${group} ${mode} ${path}`),
        },
        files: [
            { path: "/etc/haproxy/haproxy.cfg", mode: "0600", content: haproxyConfig(spec, node) },
            ...lists.map(({ path, mode, content }) => ({ path, mode, content })),
        ],
    };
}

/** Writes /etc/haproxy/haproxy.cfg. haproxy is reloaded when the file changed, and started when it was not running; it is never restarted. */
export function haproxy(
    context: StepContext,
    node: NodeSpec,
    prepare: remote.Command,
    parent: pulumi.Resource,
): remote.Command {
    const { spec, secrets, hooks } = context;
    const { statsPassword, statsSalt, metricsPassword } = secrets;
    return nodeCommand(
        context,
        "haproxy",
        node,
        {
            create: "apply",
            note: secrets.revision(statsPassword, statsSalt, ...(metricsPassword ? [metricsPassword] : [])),
            stdin: dataOf(context, node, haproxyBundle),
            // A new readiness mode: both answers are accepted first, and the new one alone when all servers have changed,
            // which is when the old resource is deleted. haproxy itself is removed by the step prepare.
            triggers: [readyCodes(spec.readiness).join(",")],
            remove: "settle",
        },
        { parent, dependsOn: [prepare], hooks: hooks.command, replaceWith: [prepare] },
    );
}
