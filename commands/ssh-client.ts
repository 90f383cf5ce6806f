/**
 * The system's `ssh` with a stack's own settings: user, port, bastion, pinned host keys. Pure: texts of the files that `ssh -F`
 * reads. The user's own ~/.ssh is not read, so that a host is reached as `pulumi up` reaches it, or not at all.
 */
import type { BastionSpec, NodeSpec } from "../components/model/cluster";

/** Files of one run, as absolute paths. */
export interface SshFiles {
    readonly knownHosts: string;
    /** A private key; without one the SSH agent is asked, and it alone. */
    readonly key?: string;
    /** True when ssh may ask for the key's passphrase (SSH_ASKPASS). */
    readonly passphrase?: boolean;
}

/** A node's jump host, under a name of its own. */
const jumpName = (node: NodeSpec): string => `${node.name}.bastion`;

/** The pinned keys, each under the name that {@link sshConfig} gives to its host. */
export function knownHostsText(nodes: readonly NodeSpec[]): string {
    return nodes
        .flatMap((node) => [
            [node.name, node.ssh.hostKey] as const,
            [jumpName(node), node.ssh.bastion?.hostKey] as const,
        ])
        .flatMap(([name, key]) => (key === undefined ? [] : [`${name} ${key}\n`]))
        .join("");
}

/** The text of an ssh_config(5): one `Host` per node by its name. */
export function sshConfig(nodes: readonly NodeSpec[], files: SshFiles): string {
    return nodes
        .flatMap((node) => {
            const { bastion } = node.ssh;
            const own = host(node.name, node.ssh, files);
            if (!bastion) return own;
            return [...own, `    ProxyJump ${jumpName(node)}`, ...host(jumpName(node), bastion, files)];
        })
        .concat("")
        .join("\n");
}

function host(name: string, at: Omit<BastionSpec, "bastion">, files: SshFiles): string[] {
    return [
        `Host ${name}`,
        `    HostName ${at.host}`,
        `    Port ${at.port}`,
        `    User ${at.user}`,
        `    HostKeyAlias ${name}`,
        // Without a pinned key the user has said so (ssh.insecureIgnoreHostKey), and is told in every run.
        `    StrictHostKeyChecking ${at.hostKey === undefined ? "no" : "yes"}`,
        `    UserKnownHostsFile ${at.hostKey === undefined ? "/dev/null" : quoted(files.knownHosts)}`,
        "    GlobalKnownHostsFile /dev/null",
        "    UpdateHostKeys no",
        ...(files.key === undefined
            ? ["    IdentityFile none"]
            : [`    IdentityFile ${quoted(files.key)}`, "    IdentitiesOnly yes", "    IdentityAgent none"]),
        `    BatchMode ${files.passphrase === true ? "no" : "yes"}`,
        "    PreferredAuthentications publickey",
        "    ConnectTimeout 10",
        "    ServerAliveInterval 5",
        "    ServerAliveCountMax 3",
        "    ControlPath none",
        "    LogLevel ERROR",
    ];
}

const quoted = (path: string): string => `"${path.replaceAll("%", "%%")}"`;

/** Arguments of `ssh` for one command on a node, with the configuration in `config`. */
export function sshArguments(config: string, node: string, command: string): string[] {
    return ["-F", config, "-T", "--", node, command];
}
