/** Says which host it was and what to do when a host cannot be reached: the SSH errors themselves name neither. */
import * as pulumi from "@pulumi/pulumi";
import type { ClusterSpec, NodeSpec } from "../model/cluster";

/**
 * What to do about an SSH failure; undefined for errors of a script, which say so themselves.
 * The texts are those of golang.org/x/crypto/ssh and of @pulumi/command 1.2.1.
 */
export function sshAdvice(node: NodeSpec, error: string): string | undefined {
    const { user, host, port, bastion } = node.ssh;
    const where = `${user}@${host}:${port}${bastion ? ` through ${bastion.user}@${bastion.host}:${bastion.port}` : ""}`;
    const by = (text: string): string => `node ${node.name}: SSH to ${where} failed: ${text}`;
    const account =
        /^.*(?:sudo: (?:a password is required|a terminal is required|sorry, you must have a tty|.*not found|unable to)|not in the sudoers file|is not allowed to (?:run|execute)|account is (?:currently )?not available|account has expired|change your password|password has expired).*$/m.exec(
            error,
        );
    if (account !== null && !error.includes("k3s-ha:"))
        return `node ${node.name}: the login as ${user} works and its commands do not: ${account[0].trim()}. The user needs a shell and sudo without a password and without a terminal (NOPASSWD, no requiretty in /etc/sudoers.d), or connect as root (ssh.user).`;
    // What the script said stands in the error, k3s's last log lines among it.
    if (/Process exited with status|k3s-ha:/.test(error)) return undefined;
    if (/passphrase protected|cannot decode encrypted private keys/.test(error))
        return by(
            "the private key has a passphrase. Give it: pulumi config set --secret k3s-ha:sshPrivateKeyPassword; or load the key into an SSH agent (ssh-add) and set no key.",
        );
    if (/decryption password incorrect|bcrypt_pbkdf/.test(error))
        return by(
            "the passphrase of the private key is wrong: pulumi config set --secret k3s-ha:sshPrivateKeyPassword.",
        );
    if (/ssh: no key found|failed to parse private key|asn1: structure error/.test(error))
        return by(
            "what is given as private key is none: it begins with -----BEGIN, and is not the .pub file (ssh.privateKeyFile, k3s-ha:sshPrivateKey).",
        );
    if (/dial unix|SSH_AUTH_SOCK|agent: (?:failed|client)/.test(error))
        return by(
            "the SSH agent does not answer where it is run: SSH_AUTH_SOCK names a socket of an agent that has ended. Start one and load the key (eval $(ssh-agent); ssh-add), or set ssh.privateKeyFile.",
        );
    if (/too many authentication failures/i.test(error))
        return by(
            "the host was offered too many keys before the right one (sshd's MaxAuthTries): the SSH agent has several (ssh-add -l). Set ssh.privateKeyFile or k3s-ha:sshPrivateKey, which is then the only one that is offered, or leave one key in the agent.",
        );
    const refused =
        /rejected: (administratively prohibited|connect failed|unknown channel type|resource shortage)(?: \((.*?)\))?/.exec(
            error,
        );
    if (refused !== null && bastion)
        return by(
            refused[1] === "connect failed"
                ? `the bastion ${bastion.host} cannot reach ${host}:${port} (${refused[2] ?? "no reason given"}). Try it there: nc -vz ${host} ${port}; is ssh.host an address that the bastion knows?`
                : `the bastion ${bastion.host} does not forward connections (${refused[1]}). Its sshd needs AllowTcpForwarding yes for ${bastion.user}, and ${host}:${port} in PermitOpen if that is set; no "restrict" or "no-port-forwarding" at the key in authorized_keys.`,
        );
    if (/attempted methods \[none\]/.test(error))
        return by(
            "no key was offered. Load one into the SSH agent (ssh-add -l lists them), or set ssh.privateKeyFile or k3s-ha:sshPrivateKey.",
        );
    if (/unable to authenticate|no supported methods remain/.test(error)) {
        return by(
            `the key was not accepted. Put its public half in ~${user}/.ssh/authorized_keys there, or load the right key (ssh-add -l; SSH_AUTH_SOCK must be a running agent).`,
        );
    }
    if (/no common algorithm for host key/.test(error)) {
        return by(
            "the pinned key is of a kind that the host does not offer (ssh-rsa, as a rule). Pin its ed25519 or ecdsa key: ssh-keyscan -t ed25519,ecdsa, compared on its console.",
        );
    }
    if (/host key mismatch|knownhosts|ssh: host key|hostkey/i.test(error)) {
        return by(
            "its host key is not the pinned one. If the host was reinstalled, compare the new key on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and pin that; else somebody stands between.",
        );
    }
    if (/connection refused/.test(error)) return by("nothing listens there. Is sshd running, is ssh.port right?");
    if (/i\/o timeout|no route to host|network is unreachable|deadline exceeded|connection timed out/.test(error)) {
        return by("no answer. Is the host up, is the VPN connected, does a firewall drop the port?");
    }
    if (/no such host|server misbehaving/.test(error))
        return by("the name does not resolve; use an address in ssh.host.");
    if (/subsystem request failed|version packet/.test(error)) {
        return by(
            `its sshd has no SFTP, by which the scripts come, or start files of ${user}'s shell print something into it. For both: put 'Subsystem sftp internal-sftp' into /etc/ssh/sshd_config there in place of what Subsystem sftp it has, and restart sshd.`,
        );
    }
    if (/remote (file|path|director)|SSH_FX_/.test(error)) {
        return by(
            `the scripts could not be written to its home folder. Has ${user} one there, may it write to it, is space free (df -h ~${user})?`,
        );
    }
    if (/no common algorithm/.test(error))
        return by(
            `host and program have no common method: ${/no common algorithm[^\n]*/.exec(error)?.[0]}. Look at KexAlgorithms, Ciphers, MACs and HostKeyAlgorithms of its sshd.`,
        );
    if (/handshake failed: (?:EOF|.*connection reset)/.test(error))
        return by(
            "the host closed the connection before the login. Look at its sshd log: MaxStartups (many connections at once), fail2ban, AllowUsers, hosts.deny; then run pulumi up again.",
        );
    if (/dial|ssh:|connection reset|EOF|exited without exit status/.test(error))
        return by("the connection broke. Run pulumi up again; it carries on from here.");
    return undefined;
}

/** An error hook for every remote command: adds the advice to the failure, never retries. Children are named `<node>-<what>`. */
export function failureAdvice(spec: ClusterSpec): pulumi.ErrorHook {
    return new pulumi.ErrorHook("ssh-advice", async (args) => {
        const to = (args.newInputs?.["connection"] ?? args.oldInputs?.["connection"]) as
            { host?: string; port?: number } | undefined;
        const node =
            spec.nodes.find((n) => n.ssh.host === to?.host && n.ssh.port === (to?.port ?? 22)) ??
            [...spec.nodes]
                .sort((a, b) => b.name.length - a.name.length)
                .find((n) => args.name.startsWith(`${n.name}-`));
        const advice = node && sshAdvice(node, args.errors.join("\n"));
        if (advice) await pulumi.log.error(advice);
        return false;
    });
}
