/** The one place that makes remote commands: connection, privilege, logging and removal are decided here and nowhere else. */
import { remote, types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { NodeSpec, SshSpec } from "../model/cluster";
import type { SshAccess } from "../model/credentials";
import { KIT_DIR } from "../model/paths";
import type { StepName } from "../model/steps";
import { kit, kitFile, uploadPath } from "./kit";
import { asRoot, inShell } from "./login-shell";
import { tellOf, type Plan } from "../plan";
import { withoutTraces } from "./stack-traces";

/** What a step does besides running its script. */
export interface NodeStep {
    /** What the script is told on its command line when the resource is made: never secret. The default is nothing. */
    readonly create?: pulumi.Input<string>;
    /** The same for later runs; the default is `create`. */
    readonly update?: pulumi.Input<string>;
    /** Ends the command as a comment: small facts whose change must run the step again (a secret's revision). */
    readonly note?: pulumi.Input<string>;
    readonly stdin: pulumi.Input<string>;
    /** What the script is told when the resource goes; absent where nothing has to be undone. */
    readonly remove?: "remove" | "settle";
    /** A change of them replaces the resource: the script runs as for a new one, and `remove` for the old one after all else. */
    readonly triggers?: pulumi.Input<string | number>[];
    /** `none` where the output may hold a secret; the default shows the script's progress and result. */
    readonly logging?: types.enums.remote.Logging;
}

/** What a command on a node is made with. */
export interface CommandContext extends Plan {
    /** How Pulumi logs in. */
    readonly access: SshAccess;
}

/** The name of a node's resource. */
export const nodeResource = ({ prefix }: Plan, node: NodeSpec, what: string): string => `${prefix}${node.name}-${what}`;

/** The connection to a node, built once per node. Without a host key the user has said so, and is told in every run. */
export function connectionTo(ssh: SshSpec, access: SshAccess): types.input.remote.ConnectionArgs {
    const { bastion } = ssh;
    return {
        host: ssh.host,
        port: ssh.port,
        user: ssh.user,
        hostKey: ssh.hostKey,
        privateKey: access.privateKey,
        privateKeyPassword: access.privateKeyPassword,
        dialErrorLimit: ssh.dialErrorLimit,
        proxy: bastion && {
            host: bastion.host,
            port: bastion.port,
            user: bastion.user,
            hostKey: bastion.hostKey,
            privateKey: access.privateKey,
            privateKeyPassword: access.privateKeyPassword,
            dialErrorLimit: ssh.dialErrorLimit,
        },
    };
}

const connectionOf = (context: CommandContext, node: NodeSpec): pulumi.Input<types.input.remote.ConnectionArgs> =>
    tellOf(context, node, (_, { ssh }) => connectionTo(ssh, context.access));

/**
 * When Pulumi is told to replace a step (`up --replace`, `state taint`), its removal must come first: after the new one it would
 * undo that. A host that is prepared again has been emptied, so all its steps go with `prepared`.
 */
export function remade(prepared: pulumi.Resource): pulumi.CustomResourceOptions {
    return { deleteBeforeReplace: true, replaceWith: [prepared] };
}

/**
 * Makes `<node>-<name>`: one SSH session on the node that runs `<name>.sh` of the kit with its data on stdin. The step is called by this
 * name everywhere: file, script, resource, errors, docs. `resource` is another name of the resource, for a step of the cluster.
 */
export function nodeCommand(
    context: CommandContext,
    name: StepName,
    node: NodeSpec,
    step: NodeStep,
    opts: pulumi.CustomResourceOptions,
    resource = nodeResource(context, node, name),
): remote.Command {
    const script = `${name}.sh`;
    const path = `${KIT_DIR}/${script}`;
    const as = asRoot(node.ssh);
    const line = (args: pulumi.Input<string>): pulumi.Output<string> =>
        pulumi
            .all([args, step.note])
            .apply(([a, note]) =>
                inShell(`${as}sh ${path}${a === "" ? "" : ` ${a}`} # ${kit().digest(script)}${note ? ` ${note}` : ""}`),
            );
    return rawCommand(
        context,
        resource,
        node,
        {
            create: line(step.create ?? ""),
            update: step.update === undefined ? undefined : line(step.update),
            delete: step.remove && inShell(removal(node, name, step.remove)),
            triggers: step.triggers,
            stdin: step.stdin,
            logging: step.logging ?? types.enums.remote.Logging.StdoutAndStderr,
        },
        opts,
    );
}

/**
 * Runs the script's removal. A host that has no kit (reinstalled, or undone by step prepare before) has nothing to undo. A kit without the
 * script is an error: its removal would be lost.
 */
export function removal(node: NodeSpec, name: StepName, what: string): string {
    return `test ! -e ${KIT_DIR} || ${asRoot(node.ssh)}sh ${KIT_DIR}/${name}.sh ${what}`;
}

/** The same for a command that is not a script of the kit: the bootstrap that installs the kit. */
export function rawCommand(
    context: CommandContext,
    name: string,
    node: NodeSpec,
    args: Pick<remote.CommandArgs, "create" | "update" | "delete" | "stdin" | "logging" | "triggers">,
    opts: pulumi.CustomResourceOptions,
): remote.Command {
    const inputs = { connection: connectionOf(context, node), addPreviousOutputInEnv: false, ...args };
    return withoutTraces(
        () =>
            new remote.Command(
                name,
                inputs,
                ifLost(node, [...Object.keys(inputs), "update", "delete", "triggers"], opts),
            ),
    );
}

/** Copies the kit to the home of the user, by SFTP. Step prepare checks, installs and removes it. */
export function sendKit(
    context: CommandContext,
    node: NodeSpec,
    opts: pulumi.CustomResourceOptions,
): remote.CopyToRemote {
    const inputs = {
        connection: connectionOf(context, node),
        source: new pulumi.asset.FileAsset(kitFile()),
        remotePath: tellOf(context, node, (_, it) => uploadPath(it)),
    };
    const name = nodeResource(context, node, "kit");
    return withoutTraces(() => new remote.CopyToRemote(name, inputs, ifLost(node, Object.keys(inputs), opts)));
}

/** Of a lost host nothing is asked any more: no change of an input reaches it, and its resources go without a session. */
function ifLost(node: NodeSpec, inputs: string[], opts: pulumi.CustomResourceOptions): pulumi.CustomResourceOptions {
    return node.lost ? { ...opts, ignoreChanges: inputs, retainOnDelete: true } : opts;
}
