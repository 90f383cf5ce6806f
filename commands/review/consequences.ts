/**
 * What a change does to a running cluster: one table, from which `npm run review` speaks and the copy in docs/operations.md follows. The
 * order is that of a review. Where each row is from: the script of its step in components/scripts. Pure.
 */

/**
 * - `restart`: k3s restarts; containers keep running.
 * - `reload`: haproxy reloads; connections stay.
 * - `may restart`: k3s restarts if one of its files differs, which the preview cannot show.
 * - `none`: neither.
 */
export type Effect = "restart" | "reload" | "may restart" | "none";

/** One row of the table. */
export interface Consequence {
    /** What the program calls it. */
    readonly kind: string;
    /** The steps that it is of. */
    readonly step: string;
    /** What changes. */
    readonly change: string;
    readonly effect: Effect;
    /** What happens, as sentences. */
    readonly happens: string;
}

type Row<K extends string> = Consequence & { readonly kind: K };

const row = <K extends string>(kind: K, step: string, change: string, effect: Effect, happens: string): Row<K> => ({
    kind,
    step,
    change,
    effect,
    happens,
});

const K3S = "server, agent";

export const CONSEQUENCES = [
    row(
        "founded",
        "server",
        "a new cluster",
        "none",
        "The first server founds it. The others join one at a time, then agents side by side.",
    ),
    row(
        "joins",
        K3S,
        "a new node",
        "none",
        "The host is prepared, its haproxy starts, and k3s joins. Servers join one at a time.",
    ),
    row(
        "rejoins",
        K3S,
        "a node whose steps are replaced",
        "none",
        "k3s is removed from the host, with its data, and joins again.",
    ),
    row(
        "rebuilt",
        "all",
        "`rebuilt` of a node",
        "none",
        "All steps run again. k3s is installed on an empty host; else only what differs changes.",
    ),
    row(
        "leaves",
        K3S,
        "a node that is removed",
        "none",
        "Its pods leave, then it leaves the cluster, a server etcd too. Its host is uninstalled last.",
    ),
    row("left-alone", "all", "a lost node that is removed", "none", "Nothing is done on its host."),
    row(
        "k3s-version",
        K3S,
        "`version`",
        "restart",
        "The binary is replaced, after an etcd snapshot (`snapshots.beforeUpgrade`).",
    ),
    row("k3s-config", K3S, "k3s's settings (`config.yaml`)", "restart", "k3s reads them when it starts."),
    row(
        "k3s-file",
        K3S,
        "settings of kubelet, registries, authentication",
        "restart",
        "k3s reads them when it starts.",
    ),
    row("k3s-unit", K3S, "k3s's systemd unit", "restart", "systemd reads it again first."),
    row("k3s-own-file", K3S, "a file of `host.files` that k3s reads", "restart", "k3s reads it when it starts."),
    row(
        "k3s-from-servers",
        "agent",
        "a setting that agents take from the servers",
        "restart",
        "Agents take it when they start, after all servers.",
    ),
    row("k3s-certificates", K3S, "`rotate.certificates`", "restart", "k3s stops, renews its certificates, and starts."),
    row(
        "k3s-encryption",
        "server",
        "`rotate.secretsEncryption`",
        "restart",
        "The first server makes a new key and encrypts all Secrets with it. The others restart.",
    ),
    row(
        "k3s-network",
        K3S,
        "the flannel backend",
        "restart",
        "The former interfaces go. Pods reach other nodes again after the last agent's restart.",
    ),
    row(
        "k3s-datastore",
        "server",
        "`server.datastore`",
        "restart",
        "The server moves its data from SQLite to etcd. The API is away meanwhile.",
    ),
    row(
        "k3s-tokens",
        "server",
        "a token, or a key of the bucket",
        "restart",
        "The first server changes the server token in the cluster. Each server starts with it.",
    ),
    row(
        "k3s-hidden",
        K3S,
        "data with a secret in it",
        "may restart",
        "k3s restarts where a file differs. All data is secret, so a preview cannot show it.",
    ),
    row(
        "k3s-agent-token",
        "agent",
        "the agent token",
        "none",
        "Agents try the new token, then write it. k3s does not restart.",
    ),
    row(
        "k3s-registration",
        K3S,
        "labels and taints for a new Node",
        "none",
        "The file is written. k3s does not restart; step members changes the Node.",
    ),
    row(
        "k3s-quiet",
        K3S,
        "waits, drains, and other settings of the step",
        "none",
        "The step runs again. k3s does not restart.",
    ),
    row(
        "haproxy-config",
        "haproxy",
        "a line of `haproxy.cfg`",
        "reload",
        "Open connections stay with the old process for `proxy.timeouts.hardStopAfter`.",
    ),
    row(
        "haproxy-acl",
        "haproxy",
        "a list of `acl_files`",
        "reload",
        "The rules that read it count with its new lines.",
    ),
    row(
        "haproxy-readiness",
        "haproxy",
        "`readiness`",
        "reload",
        "The proxies accept both answers, and after another reload at the end only the new one.",
    ),
    row(
        "haproxy-passwords",
        "haproxy",
        "a password of the stats page",
        "reload",
        "The new password counts from then on.",
    ),
    row(
        "haproxy-remarks",
        "haproxy",
        "only indented comments of `haproxy.cfg`",
        "none",
        "The file is written. haproxy does not reload.",
    ),
    row(
        "haproxy-unit",
        "haproxy",
        "`vpn.unit`, in haproxy's systemd drop-in",
        "none",
        "The drop-in is written, and systemd reads it. haproxy does not reload.",
    ),
    row(
        "haproxy-quiet",
        "haproxy",
        "other settings of the step",
        "none",
        "The step checks haproxy again. haproxy does not reload.",
    ),
    row(
        "haproxy-again",
        "haproxy",
        "a step that is replaced",
        "none",
        "It runs as for a new node. haproxy reloads where a file differs.",
    ),
    row(
        "binary",
        "stage",
        "the binary of k3s",
        "none",
        "It is brought to the host and its SHA-256 checked. Nothing restarts in this step.",
    ),
    row(
        "binary-source",
        "stage",
        "where the binary comes from",
        "none",
        "A staged binary with the right SHA-256 stays. Nothing restarts.",
    ),
    row(
        "images",
        "stage",
        "`images`",
        "none",
        "The archives are brought to the hosts and checked. k3s imports them. Nothing restarts.",
    ),
    row(
        "manifests",
        "manifests",
        "`manifests`",
        "none",
        "Every server gets the files, and k3s applies them within 15 s. Nothing restarts.",
    ),
    row(
        "manifests-gone",
        "manifests",
        "no manifest is left, or the server goes",
        "none",
        "The files go. The objects that k3s made of them stay.",
    ),
    row(
        "prune-manifests",
        "prune-manifests",
        "manifests that are `absent`",
        "none",
        "k3s deletes the objects of these files, when no server has them any more.",
    ),
    row(
        "host-data",
        "prepare",
        "data of step prepare, which is secret",
        "none",
        "Secrets, packages, sysctl and `host.files` become the stack file's. Nothing restarts.",
    ),
    row(
        "connection",
        "all",
        "`ssh`: the connection to a host",
        "none",
        "Its steps run again. Nothing restarts where nothing differs.",
    ),
    row(
        "scripts",
        "all",
        "scripts, or only a command line",
        "none",
        "Scripts are sent. k3s does not restart, haproxy does not reload.",
    ),
    row(
        "members-marks",
        "members",
        "labels and taints of Nodes",
        "none",
        "They are set on the Nodes. Nothing restarts.",
    ),
    row("members-join", "members", "new members of the cluster", "none", "Their Nodes are marked."),
    row(
        "members-leave",
        "members",
        "members that leave",
        "none",
        "Their Nodes are drained, and PodDisruptionBudgets are respected.",
    ),
    row("members-quiet", "members", "other data of step members", "none", "The Nodes are compared. Nothing restarts."),
    row(
        "lost-nodes",
        "lost-nodes",
        "lost nodes",
        "none",
        "The cluster forgets them and locks their names, or lets them in again.",
    ),
    row(
        "lost-nodes-quiet",
        "lost-nodes",
        "other data of step lost-nodes",
        "none",
        "The list is compared. Nothing else happens.",
    ),
    row(
        "kubeconfig",
        "kubeconfig",
        "the step, the version or `rotate.certificates`",
        "none",
        "The kubeconfig is read again from the first server.",
    ),
    row(
        "public-info-viewer",
        "public-info-viewer",
        "who may read the health paths",
        "none",
        "ClusterRole `system:public-info-viewer` is set. It stays when the resource goes.",
    ),
    row(
        "anonymous-check",
        "anonymous-check",
        "servers, version or mode",
        "none",
        "Every server is queried without credentials. A wrong answer fails the `up`.",
    ),
    row(
        "snapshot",
        "snapshot",
        "`snapshots.now`, or the step",
        "none",
        "An etcd snapshot is taken on the first server.",
    ),
    row(
        "secrets",
        "all",
        "tokens and passwords that are generated",
        "none",
        "They are generated and kept encrypted in the state.",
    ),
    row("other", "all", "any other resource", "none", "The table has no row for it: read the diff."),
] as const;

/** The kind of a change. */
export type Kind = (typeof CONSEQUENCES)[number]["kind"];

const BY_KIND = new Map<Kind, Consequence>(CONSEQUENCES.map((consequence) => [consequence.kind, consequence]));

/** The row of a kind. */
export function consequence(kind: Kind): Consequence {
    const found = BY_KIND.get(kind);
    if (found === undefined) throw new Error(`the table has no row ${kind}`);
    return found;
}

/** The table for people, in Markdown. */
export function consequenceTable(): string {
    const effects: Readonly<Record<Effect, string>> = {
        restart: "k3s restarts",
        reload: "haproxy reloads",
        "may restart": "k3s may restart",
        none: "none",
    };
    return [
        "| step | what changes | restart or reload | what happens |",
        "| --- | --- | --- | --- |",
        ...CONSEQUENCES.map((c) => `| ${c.step} | ${c.change} | ${effects[c.effect]} | ${c.happens} |`),
    ].join("\n");
}
