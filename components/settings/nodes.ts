/** Settings of nodes, and of the way to them. */
import { z } from "zod";
import { isNodeName } from "../values";
import {
    address,
    bool,
    count,
    fileName,
    generation,
    host,
    matching,
    networks,
    port,
    refined,
    word,
} from "../values/forms";
import { k3sConfig } from "./k3s";

const hostKey = refined(
    (t) =>
        /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}( [^\u0000-\u001f]*)?$/.test(
            t,
        ),
    'a public host key as ssh-keyscan prints it, without the host: "ssh-ed25519 AAAA…"',
);
const labelKey = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const labels = z.record(
    matching(labelKey, "a Kubernetes label key such as topology.example.com/site"),
    matching(labelValue, "a Kubernetes label value: at most 63 of letters, digits, - _ ."),
);
const taint = refined((t) => {
    const m = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(t);
    return m !== null && labelKey.test(m[1]!) && labelValue.test(m[2] ?? "");
}, "a taint such as key=value:NoSchedule (or PreferNoSchedule, NoExecute)");

const bastion = z.strictObject({
    host: host.describe("name or address of the jump host"),
    port: port.default(22).describe("SSH port of the jump host"),
    user: word.optional().meta({ description: "user on the jump host", otherwise: "that of the node" }),
    hostKey: hostKey
        .optional()
        .meta({ description: "public host key of the jump host", otherwise: "from `ssh.knownHosts`" }),
});

const nodeSsh = z.strictObject({
    host: host.optional().meta({ description: "name or address for SSH", otherwise: "`nodes[].address`" }),
    port: port.optional().meta({ description: "SSH port", otherwise: "`ssh.port`" }),
    user: word.optional().meta({ description: "user for the login", otherwise: "`ssh.user`" }),
    hostKey: hostKey.optional().meta({ description: "public host key", otherwise: "from `ssh.knownHosts`" }),
    bastion: bastion.optional().meta({ description: "jump host to this node", otherwise: "`ssh.bastion`" }),
});

const node = z.strictObject({
    name: refined(
        isNodeName,
        "a lower-case DNS name: letters, digits, - and . between them, at most 63 characters, as Kubernetes wants node names",
    ).describe("name of the Kubernetes node"),
    role: z
        .enum(["server", "agent"], { error: "must be server or agent" })
        .describe("`server` (control plane) or `agent`"),
    address: address.describe("VPN address of the host"),
    ssh: nodeSsh.optional().describe("SSH to this node, where it differs from `ssh`"),
    labels: labels.default({}).meta({ description: "labels of the Kubernetes node", otherwise: "none" }),
    taints: z.array(taint).default([]).meta({
        description: "taints of the Kubernetes node, such as `key=value:NoSchedule`",
        otherwise: "none",
    }),
    externalAddress: address.optional().describe("external address of the Kubernetes node"),
    config: k3sConfig.default({}).meta({
        description: "further k3s settings of this node; lists are added to those of its role",
        otherwise: "none",
    }),
    rebuilt: generation
        .default(0)
        .describe("a counter: raise it when the host was reinstalled, and all its steps run again"),
    lost: bool
        .default(false)
        .describe(
            "the host is [gone permanently](runbooks/lost-host.md): it is forgotten, locked out and not contacted",
        ),
    throughProxy: bool.optional().meta({
        description: "`agent.throughProxy` for this agent",
        otherwise: "`agent.throughProxy`",
    }),
});

export const nodes = z
    .array(node)
    .min(1, "must list at least one node")
    .max(2000, "must list at most 2000 nodes")
    .describe("the hosts: servers (control plane) and agents");

export const ssh = z
    .strictObject({
        port: port.default(22).describe("SSH port"),
        user: word.default("root").describe("user for the login; another one than root needs sudo without a password"),
        bastion: bastion.optional().describe("jump host to all nodes"),
        knownHosts: fileName
            .optional()
            .describe(
                "file with the hosts' keys, relative to the project: [pin host keys](operations.md#pin-host-keys)",
            ),
        privateKeyFile: fileName.optional().meta({ description: "key file for the hosts", otherwise: "the SSH agent" }),
        insecureIgnoreHostKey: bool.default(false).describe("no host key is checked; every run warns"),
        dialErrorLimit: count
            .default(30)
            .describe(
                "failed dials until a host counts as unreachable: 2 minutes if it refuses, up to 10 if it is silent",
            ),
    })
    .prefault({})
    .describe("how Pulumi logs in to the hosts");

export const vpn = z
    .strictObject({
        interface: matching(/^[A-Za-z0-9_.@-]{1,15}$/, "a network interface such as wg0")
            .optional()
            .describe("interface for flannel"),
        unit: matching(
            /^[A-Za-z0-9:_.@\\-]+\.(service|target|mount|socket)$/,
            "a systemd unit such as wg-quick@wg0.service",
        )
            .optional()
            .describe("systemd unit that haproxy and k3s start after"),
        networks: networks.optional().meta({
            description: "networks that may read stats and metrics",
            otherwise: "the private networks of the nodes' addresses",
        }),
    })
    .prefault({})
    .describe("the network that connects the hosts");
