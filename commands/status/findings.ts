/** What needs care, from what the hosts say. Pure. */
import { liveNodes, servers, type ClusterSpec, type NodeSpec } from "../../components/model/cluster";
import { serverName } from "../../components/model/proxy";
import type { HostStatus, KubeNode, Member } from "./host-status";

/** One thing that needs care. */
export interface Finding {
    /** A node of the stack file, or `cluster`. */
    readonly about: string;
    /** critical: the API or its majority is away, or the next fault takes it. */
    readonly severity: "critical" | "warning";
    readonly what: string;
    /** What to do about it. */
    readonly next: string;
}

/** A host's status, or why it says nothing. */
export type Answer = HostStatus | { readonly error: string };
/** Answers by node; all live nodes are in it. */
export type Answers = ReadonlyMap<string, Answer>;

export const said = (answers: Answers, node: string): HostStatus | undefined => {
    const answer = answers.get(node);
    return answer === undefined || "error" in answer ? undefined : answer;
};

const DAY = 24 * 3600 * 1000;
/** Days before the end: as `up` warns, and when it becomes urgent. */
const CERTIFICATE = { warning: 60, critical: 14 };
/** k3s takes one every 12 h by default; with a schedule of one's own it may be less often. */
const SNAPSHOT_HOURS = 26;
/** Share of etcd's limit. */
const DATABASE = 0.8;

const warning = (about: string, what: string, next: string): Finding => ({ about, severity: "warning", what, next });
const critical = (about: string, what: string, next: string): Finding => ({ about, severity: "critical", what, next });

/** Days from one time to another; negative when it is over. */
export const daysTo = (end: string, now: Date): number => Math.floor((Date.parse(end) - now.getTime()) / DAY);

/** What needs care, the critical first. `stack` is its name, for the commands that are named. */
export function findings(spec: ClusterSpec, answers: Answers, stack: string, now: Date): Finding[] {
    const all = [
        ...liveNodes(spec).flatMap((node) => hostFindings(spec, node, answers.get(node.name), stack, now)),
        ...viewFindings(spec, answers),
        ...etcdFindings(spec, answers, `pulumi up --stack ${stack}`),
        ...nodeFindings(spec, answers, `pulumi up --stack ${stack}`),
    ];
    return [...all.filter((f) => f.severity === "critical"), ...all.filter((f) => f.severity === "warning")];
}

function hostFindings(
    spec: ClusterSpec,
    node: NodeSpec,
    answer: Answer | undefined,
    stack: string,
    now: Date,
): Finding[] {
    const { name, role } = node;
    if (answer === undefined || "error" in answer)
        return [
            warning(
                name,
                `could not be asked: ${answer?.error ?? "no answer"}`,
                "is the host up, and the VPN? docs/runbooks/ssh.md; if it is gone permanently: docs/runbooks/lost-host.md",
            ),
        ];
    const found: Finding[] = [];
    const unit = role === "server" ? "k3s" : "k3s-agent";
    if (answer.proxy?.state !== "active")
        found.push(
            warning(
                name,
                `haproxy is ${answer.proxy?.state || "not there"}`,
                `journalctl -u haproxy on ${name}; npm run drift -- --stack ${stack} --mark, then pulumi up --stack ${stack}`,
            ),
        );
    if (answer.k3s?.state !== "active")
        found.push(
            warning(
                name,
                `k3s is ${answer.k3s?.state || "not there"}`,
                `journalctl -u ${unit} on ${name}; docs/runbooks/README.md has its words`,
            ),
        );
    else if (role === "server" && answer.ready !== true)
        found.push(
            warning(
                name,
                `the API is not ready: ${answer.unknown["ready"] ?? "it did not say why"}`,
                `k3s kubectl get --raw '/readyz?verbose' on ${name}`,
            ),
        );
    if (answer.version !== undefined && answer.version !== spec.version)
        found.push(
            warning(name, `runs ${answer.version}, the stack file has ${spec.version}`, `pulumi up --stack ${stack}`),
        );
    found.push(...endFindings(name, answer, now), ...storeFindings(spec, name, answer, now));
    found.push(...driftFindings(name, answer, stack));
    return found;
}

/** What drift.sh found. */
function driftFindings(name: string, { drift, unknown }: HostStatus, stack: string): Finding[] {
    // That a unit is stopped is told by its own finding.
    const stopped = /^\S+: (?:haproxy|k3s|k3s-agent)\.service is (?!not |.*enabled)/;
    const next = `npm run drift -- --stack ${stack}`;
    const found = drift
        .filter((line) => !stopped.test(line))
        .map((line) =>
            warning(name, `differs from the stack: ${line}`, `${next} --mark, then pulumi up --stack ${stack}`),
        );
    if (unknown["drift"] !== undefined) found.push(warning(name, `drift is not known: ${unknown["drift"]}`, next));
    return found;
}

/** Certificates. */
function endFindings(name: string, { certificate }: HostStatus, now: Date): Finding[] {
    if (certificate === undefined) return [];
    const days = daysTo(certificate.ends, now);
    if (days >= CERTIFICATE.warning) return [];
    const what = `${certificate.file} ${days < 0 ? "ended" : "ends"} on ${certificate.ends.slice(0, 10)}`;
    const next = "raise k3s-ha:rotate.certificates, pulumi up; docs/runbooks/certificates-end.md";
    return [days < CERTIFICATE.critical ? critical(name, what, next) : warning(name, what, next)];
}

/** Snapshots and the size of etcd's database. */
function storeFindings(spec: ClusterSpec, name: string, status: HostStatus, now: Date): Finding[] {
    const found: Finding[] = [];
    const { etcd, snapshot, bucket, unknown } = status;
    const old = (taken: string): boolean => now.getTime() - Date.parse(taken) > SNAPSHOT_HOURS * 3600 * 1000;
    const next = `journalctl -u k3s on ${name} for "snapshot"; take one: k3s-ha:snapshots.now`;
    // A schedule of one's own may be as rare as it likes.
    if (etcd !== undefined && spec.snapshots.schedule === undefined && snapshot !== undefined && old(snapshot.taken))
        found.push(warning(name, `its newest snapshot is of ${snapshot.taken}`, next));
    if (bucket !== undefined && spec.snapshots.schedule === undefined && old(bucket.taken))
        found.push(warning("cluster", `the newest snapshot in the bucket is of ${bucket.taken}`, next));
    if (unknown["bucket"] !== undefined)
        found.push(warning("cluster", `the bucket of the snapshots cannot be read: ${unknown["bucket"]}`, next));
    if (etcd !== undefined && etcd.size > DATABASE * etcd.quota)
        found.push(
            warning(
                name,
                `etcd's database has ${mebibytes(etcd.size)} of ${mebibytes(etcd.quota)}`,
                "docs/runbooks/etcd-quota.md",
            ),
        );
    for (const error of etcd?.errors ?? [])
        found.push(critical(name, `etcd reports ${error}`, "docs/runbooks/etcd-quota.md"));
    return found;
}

export const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;

/** What the proxies see: a server that none has up, or that some do not. */
function viewFindings(spec: ClusterSpec, answers: Answers): Finding[] {
    const found: Finding[] = [];
    const asked = liveNodes(spec).filter((n) => said(answers, n.name)?.proxy?.state === "active");
    for (const server of servers(spec)) {
        const name = serverName(spec, server);
        const without = asked.filter(
            (n) => !said(answers, n.name)?.sees.some((s) => s.server === name && s.status.startsWith("UP")),
        );
        if (without.length === 0) continue;
        const [one] = without;
        const seen = one && said(answers, one.name)?.sees.find((s) => s.server === name);
        const how = seen === undefined ? "unknown" : `${seen.status}, ${seen.check}`;
        const whose =
            without.length === asked.length
                ? "no proxy has it"
                : `${names(without)} ${without.length === 1 ? "does" : "do"} not have it`;
        found.push(
            warning(
                server.name,
                `${whose} up (${how})`,
                without.length === asked.length
                    ? `is k3s on ${server.name} running and ready?`
                    : `can ${names(without)} reach port 6443 of ${server.address}?`,
            ),
        );
    }
    for (const { name } of asked)
        if (!said(answers, name)?.sees.some((s) => s.status.startsWith("UP")))
            found.push(critical(name, "its proxy has no server up", "docs/runbooks/no-server-reachable.md"));
    return found;
}

const names = (nodes: readonly { readonly name: string }[]): string => nodes.map((n) => n.name).join(", ");

/** Members of etcd and its majority. */
function etcdFindings(spec: ClusterSpec, answers: Answers, up: string): Finding[] {
    if (spec.server.datastore !== "etcd") return [];
    const wanted = servers(spec);
    const members = membersOf(spec, answers);
    const found: Finding[] = [];
    const healthy = wanted.filter((n) => said(answers, n.name)?.etcd?.leader !== undefined);
    for (const { name } of wanted) {
        const member = members?.find((m) => m.name === name);
        if (members !== undefined && member === undefined)
            found.push(warning(name, "is not a member of etcd", `${up}; docs/runbooks/member-removed.md`));
        if (member?.learner === true)
            found.push(
                warning(name, "is a learner of etcd, which counts for no majority", `wait a minute, then ${up}`),
            );
        const status = said(answers, name);
        if (status?.k3s?.state === "active" && status.etcd !== undefined && status.etcd.leader === undefined)
            found.push(critical(name, "its etcd has no leader", "docs/runbooks/etcd-no-majority.md"));
    }
    for (const { name } of members ?? [])
        if (!wanted.some((n) => n.name === name))
            found.push(warning("cluster", `etcd has a member ${name} that the stack file has not`, up));
    const voters = members?.filter((m) => !m.learner).length ?? wanted.length;
    const needed = Math.floor(voters / 2) + 1;
    if (healthy.length < needed)
        found.push(
            critical(
                "cluster",
                `${healthy.length} of ${voters} voters follow a leader, a majority is ${needed}`,
                "docs/runbooks/lost-majority.md",
            ),
        );
    else if (voters > 1 && healthy.length === needed && healthy.length < voters)
        found.push(
            critical(
                "cluster",
                `${healthy.length} of ${voters} voters follow a leader: the loss of one more ends the API`,
                "bring the missing server back before anything else",
            ),
        );
    return found;
}

/** As the first server that was asked lists them. */
export function membersOf(spec: ClusterSpec, answers: Answers): readonly Member[] | undefined {
    return servers(spec)
        .map((n) => said(answers, n.name)?.members)
        .find((m) => m !== undefined);
}

export function kubeNodesOf(spec: ClusterSpec, answers: Answers): readonly KubeNode[] | undefined {
    return servers(spec)
        .map((n) => said(answers, n.name)?.nodes)
        .find((n) => n !== undefined);
}

/** The Nodes against the stack file. */
function nodeFindings(spec: ClusterSpec, answers: Answers, up: string): Finding[] {
    const nodes = kubeNodesOf(spec, answers);
    if (nodes === undefined)
        return [
            critical(
                "cluster",
                "the Nodes could not be listed",
                "is a server ready? k3s kubectl get nodes on a server",
            ),
        ];
    const found: Finding[] = [];
    for (const { name } of liveNodes(spec)) {
        const node = nodes.find((n) => n.name === name);
        if (node === undefined) found.push(warning(name, "has no Node", up));
        else if (!node.ready) found.push(warning(name, "its Node is not Ready", `kubectl describe node ${name}`));
        if (node?.cordoned === true)
            found.push(
                warning(name, "its Node is cordoned: no new pods", `kubectl uncordon ${name}, when that is over`),
            );
    }
    for (const { name } of nodes)
        if (!liveNodes(spec).some((n) => n.name === name))
            found.push(
                warning(
                    "cluster",
                    `there is a Node ${name} that the stack file has not`,
                    `kubectl delete node ${name}`,
                ),
            );
    return found;
}
