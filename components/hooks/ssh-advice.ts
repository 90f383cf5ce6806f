/** Says which host it was and what to do when a host cannot be reached: the SSH errors themselves name neither. */
import * as pulumi from "@pulumi/pulumi";
import type { BastionSpec, NodeSpec } from "../model/cluster";
import type { Plan } from "../plan";

/** Where an attempt to log in failed: the host, or the bastion before it. */
interface Place {
    readonly user: string;
    readonly host: string;
    readonly port: number;
    /** What it is called in the stack file. */
    readonly setting: "ssh" | "ssh.bastion";
}

/** A kind of failure: by which words it is known, and what to do. */
type Case = readonly [words: RegExp, advice: (at: Place, found: RegExpExecArray) => string];

/** What is wrong with the deployer's own keys, before anything is dialled. */
const KEYS: readonly Case[] = [
    [
        /failed to parse host key/,
        (at) =>
            `${at.setting}.hostKey is no public key: it is one line, as "ssh-ed25519 AAAA…" (ssh-keyscan prints it).`,
    ],
    [
        /passphrase protected|cannot decode encrypted private keys/,
        () =>
            "the private key has a passphrase. Give it: pulumi config set --secret k3s-ha:sshPrivateKeyPassword; or load the key into an SSH agent (ssh-add) and set no key.",
    ],
    [
        /decryption password incorrect|bcrypt_pbkdf/,
        () => "the passphrase of the private key is wrong: pulumi config set --secret k3s-ha:sshPrivateKeyPassword.",
    ],
    [
        /ssh: no key found|failed to parse private key|asn1: structure error/,
        () =>
            "what is given as private key is none: it begins with -----BEGIN, and is not the .pub file (ssh.privateKeyFile, k3s-ha:sshPrivateKey).",
    ],
    [
        /dial unix|SSH_AUTH_SOCK|agent: (?:failed|client)/,
        () =>
            "the SSH agent does not answer where pulumi runs: SSH_AUTH_SOCK names a socket of an agent that has ended. Start one and load the key (eval $(ssh-agent); ssh-add); or unset SSH_AUTH_SOCK and set ssh.privateKeyFile: while the variable is set, the agent is asked also where a key is given.",
    ],
];

/** What a host or a bastion says or does when somebody logs in. */
const LOGIN: readonly Case[] = [
    [
        /too many authentication failures/i,
        () =>
            "too many keys were offered before the right one (sshd's MaxAuthTries): the SSH agent has several (ssh-add -l). Set ssh.privateKeyFile or k3s-ha:sshPrivateKey, which is then the only one that is offered, or leave one key in the agent.",
    ],
    [
        /attempted methods \[none\]/,
        () =>
            "no key was offered. Load one into the SSH agent (ssh-add -l lists them), or set ssh.privateKeyFile or k3s-ha:sshPrivateKey. If there is one, sshd takes none: PubkeyAuthentication and AuthenticationMethods in its sshd_config.",
    ],
    [
        /unable to authenticate|no supported methods remain/,
        (at) =>
            `the key was not accepted. Is ${at.setting}.user right? Put the key's public half in ~${at.user}/.ssh/authorized_keys there, or load the right key (ssh-add -l; SSH_AUTH_SOCK must be a running agent). If it is there already: only ${at.user} may write to that file and its folders, the account must not be locked, and sshd must not want more than a key (AuthenticationMethods); its log says which.`,
    ],
    [
        /overflow reading version string|invalid packet length|ssh: (?:invalid|unexpected) version|first record does not look/,
        (at) =>
            `what answers there is no SSH server. Is ${at.setting}.port right? ssh-keyscan -p ${at.port} ${at.host} shows nothing of another program.`,
    ],
    [
        /no common algorithm for host key/,
        (at) =>
            `the pinned key is of a kind that is not offered there (ssh-rsa, as a rule). Pin its ed25519 or ecdsa key in ${at.setting}.hostKey: ssh-keyscan -p ${at.port} -t ed25519,ecdsa ${at.host}, compared on its console.`,
    ],
    [
        /host key mismatch|knownhosts|ssh: host key|hostkey/i,
        (at) =>
            `its host key is not the pinned one (${at.setting}.hostKey). If it was reinstalled, or the address is another host's now, compare the key on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and pin that; else somebody stands between.`,
    ],
    [/connection refused/, (at) => `nothing listens there. Is sshd running, is ${at.setting}.port right?`],
    [
        /i\/o timeout|no route to host|network is unreachable|deadline exceeded|connection timed out/,
        () => "no answer. Is the host up, is the VPN connected, does a firewall drop the port?",
    ],
    [
        /no such host|server misbehaving/,
        (at) => `the name does not resolve where pulumi runs; use an address in ${at.setting}.host.`,
    ],
    [
        /subsystem request failed|version packet/,
        (at) =>
            `its sshd has no SFTP, by which the scripts come, or start files of ${at.user}'s shell print something into it. For both: put 'Subsystem sftp internal-sftp' into /etc/ssh/sshd_config there in place of what Subsystem sftp it has, and restart sshd.`,
    ],
    [
        /remote (file|path|director)|SSH_FX_/,
        (at) =>
            `the scripts could not be written to its home folder. Has ${at.user} one there, may it write to it, is space free (df -h ~${at.user})?`,
    ],
    [
        /no common algorithm[^\n]*/,
        (_, found) =>
            `there is no common method: ${found[0]}. Look at KexAlgorithms, Ciphers, MACs and HostKeyAlgorithms of its sshd.`,
    ],
    [
        /rejected: (?:administratively prohibited|resource shortage)/,
        (at) =>
            `the login works, and no session is opened. Look at MaxSessions in its sshd_config, and at the Match blocks for ${at.user}.`,
    ],
    [
        /handshake failed: (?:EOF|.*(?:EOF|connection reset|broken pipe))/,
        () =>
            "the connection was closed before the login. Look at its sshd log: MaxStartups (many connections at once), fail2ban, AllowUsers, hosts.deny; then run pulumi up again.",
    ],
    [
        /connection reset|broken pipe|EOF|exited without exit status|closed network connection|connection lost|disconnect/,
        () => "the connection broke. Run pulumi up again; it carries on from here.",
    ],
    [
        /^.*(?:dial |ssh: ).*$/m,
        (at, found) => `${found[0].trim()}. Try by hand what it says: ssh -v -p ${at.port} ${at.user}@${at.host} true`,
    ],
];

const ACCOUNT =
    /^.*(?:sudo: (?:a password is required|a terminal is required|sorry, you must have a tty|.*not found|unable to (?!resolve host))|not in the sudoers file|is not allowed to (?:run|execute)|service allows sftp connections only|account is (?:currently )?not available|account has expired|change your password|password has expired).*$/m;

/** The login works; what comes after it does not. */
function accountAdvice(node: NodeSpec, said: string): string {
    const { user } = node.ssh;
    const what = /expired|change your password/.test(said)
        ? `The account or its password has expired: chage -l ${user} on the host (as root), chage -E -1 -M -1 ${user} ends that`
        : "The user needs a shell and sudo without a password and without a terminal (NOPASSWD, no requiretty in /etc/sudoers.d)";
    return `node ${node.name}: the login as ${user} works and its commands do not: ${said.trim().replace(/\.$/, "")}. ${what}; or connect as root (ssh.user).`;
}

const adviceOf = (cases: readonly Case[], at: Place, error: string): string | undefined => {
    for (const [words, advice] of cases) {
        const found = words.exec(error);
        if (found !== null) return advice(at, found);
    }
    return undefined;
};

/**
 * What to do about an SSH failure; undefined for errors of a script, which say so themselves.
 * The texts are those of golang.org/x/crypto/ssh and of @pulumi/command 1.2.1.
 */
export function sshAdvice(node: NodeSpec, error: string): string | undefined {
    const account = ACCOUNT.exec(error);
    if (account !== null && !error.includes("k3s-ha:")) return accountAdvice(node, account[0]);
    // What the script said stands in the error, k3s's last log lines among it.
    if (/Process exited with status|k3s-ha:/.test(error)) return undefined;
    const { bastion } = node.ssh;
    const host: Place = { ...node.ssh, setting: "ssh" };
    const by = (to: string, text: string): string => `node ${node.name}: SSH to ${to} failed: ${text}`;
    const name = (at: { user: string; host: string; port: number }): string => `${at.user}@${at.host}:${at.port}`;
    const keys = adviceOf(KEYS, host, error);
    if (keys !== undefined || !bastion) {
        const text = keys ?? adviceOf(LOGIN, host, error);
        return text && by(`${name(host)}${bastion ? ` through ${name(bastion)}` : ""}`, text);
    }
    const through = `${name(host)} through ${name(bastion)}`;
    const behind = behindBastion(node, bastion, error);
    if (behind !== undefined) return by(through, behind);
    // Other words are the bastion's, where the provider has put its own before them; without, the host has let somebody in.
    const atBastion = error.includes("proxy: ");
    const text = adviceOf(LOGIN, atBastion ? { ...bastion, setting: "ssh.bastion" } : host, error);
    return text && by(atBastion ? `the bastion ${name(bastion)}, on the way to ${name(host)},` : through, text);
}

/** What the bastion says of the host behind it, and what only looks like a broken connection. */
function behindBastion(node: NodeSpec, bastion: BastionSpec, error: string): string | undefined {
    const { user, host, port, dialErrorLimit } = node.ssh;
    const refused =
        /rejected: (administratively prohibited|connect failed|unknown channel type|resource shortage)(?: \((.*?)\))?/.exec(
            error,
        );
    if (refused !== null && error.includes("proxy: "))
        return refused[1] === "connect failed"
            ? `the bastion ${bastion.host} cannot reach ${host}:${port} (${refused[2] ?? "no reason given"}). Try it there: nc -vz ${host} ${port}; is ssh.host an address that the bastion knows?`
            : `the bastion ${bastion.host} does not forward connections (${refused[1]}). Its sshd needs AllowTcpForwarding yes for ${bastion.user}, and ${host}:${port} in PermitOpen if that is set; no "restrict" or "no-port-forwarding" at the key in authorized_keys.`;
    // The provider tries a failed handshake with the host again on the channel that the failure has closed, so all that went wrong in
    // it is told as an end of the connection. Without a second attempt it is told as it is, and might be the bastion's.
    const lost = /handshake failed: .*(?:EOF|connection reset|broken pipe)/.test(error);
    const either = dialErrorLimit === 0 && error.includes("proxy: ") && /handshake failed/.test(error);
    if (!lost && !either) return undefined;
    const jump = `-J ${bastion.user}@${bastion.host}:${bastion.port}`;
    return `${lost ? "the login ended without a reason, which the provider does not tell behind a bastion" : `${error.replace(/^[^]*handshake failed: /, "").trim()}, of the host or of the bastion`}. Look for it in this order: (1) the host's key is not the pinned one (ssh.hostKey): ssh -p ${bastion.port} ${bastion.user}@${bastion.host} ssh-keyscan -p ${port} ${host} prints what it has, to be compared on its console; (2) the host does not accept the key or the user: ssh -v ${jump} -p ${port} ${user}@${host} true says so; (3) the host or the bastion closes the connection: MaxStartups, fail2ban, AllowUsers in their sshd logs. Only for (3) is it of use to run pulumi up again as it is.`;
}

/** An error hook for every remote command: adds the advice to the failure, never retries. Children are named `<node>-<what>`. */
export function failureAdvice(plan: Plan): pulumi.ErrorHook {
    return new pulumi.ErrorHook(`${plan.prefix}ssh-advice`, async (args) => {
        const spec = await plan.whole();
        const to = (args.newInputs?.["connection"] ?? args.oldInputs?.["connection"]) as
            { host?: string; port?: number } | undefined;
        const node =
            spec.nodes.find((n) => n.ssh.host === to?.host && n.ssh.port === (to?.port ?? 22)) ??
            [...spec.nodes]
                .sort((a, b) => b.name.length - a.name.length)
                .find((n) => args.name.startsWith(`${plan.prefix}${n.name}-`));
        const advice = node && sshAdvice(node, args.errors.join("\n"));
        if (advice) await pulumi.log.error(advice);
        return false;
    });
}
