/** The status for people: at most 100 columns. Pure. */
import { liveNodes, servers, type ClusterSpec } from "../../components/model/cluster";
import { daysTo, kubeNodesOf, mebibytes, membersOf, said, type Answers, type Finding } from "./findings";

const WIDTH = 100;
const NAME = 24;

/** Colours of a terminal; none elsewhere. */
export type Paint = (text: string, colour: "red" | "yellow" | "green") => string;

const cut = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text);

/** Columns of equal width, two spaces between. */
function columns(rows: readonly (readonly string[])[]): string[] {
    const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
    return rows.map((row) =>
        row
            .map((cell, i) => cell.padEnd(widths[i] ?? 0))
            .join("  ")
            .trimEnd(),
    );
}

/** Seconds as people say them. */
export function duration(seconds: number): string {
    if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
    if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)} min`;
    return seconds < 2 * 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

/** The lines to print. */
export function table(
    spec: ClusterSpec,
    answers: Answers,
    found: readonly Finding[],
    now: Date,
    paint: Paint,
): string[] {
    const live = liveNodes(spec);
    const kube = kubeNodesOf(spec, answers);
    const head = `${spec.cluster}: ${live.length} nodes, k3s ${spec.version}, readiness ${spec.readiness}`;
    const rows = [["node", "role", "host", "k3s", "proxy", "servers up", "check", "Node", "version"]];
    for (const { name, role } of live) {
        const status = said(answers, name);
        const up = status?.sees.filter((s) => s.status.startsWith("UP")) ?? [];
        const times = up.flatMap((s) => (s.ms === undefined ? [] : [s.ms]));
        const node = kube?.find((n) => n.name === name);
        rows.push([
            cut(name, NAME),
            role,
            status === undefined ? "no answer" : "up",
            status?.k3s?.state ?? "?",
            status?.proxy?.state ?? "?",
            status === undefined ? "?" : `${up.length} of ${status.sees.length}`,
            times.length === 0 ? "" : `${Math.min(...times)}-${Math.max(...times)} ms`,
            node === undefined ? "?" : `${node.ready ? "Ready" : "NotReady"}${node.cordoned ? ", cordoned" : ""}`,
            status?.version === spec.version ? "same" : (status?.version ?? "?"),
        ]);
    }
    return [
        head,
        "",
        ...columns(rows).map((line) => cut(line, WIDTH)),
        "",
        ...serverLines(spec, answers, now),
        "",
        ...findingLines(found, paint),
    ];
}

function serverLines(spec: ClusterSpec, answers: Answers, now: Date): string[] {
    const members = membersOf(spec, answers);
    const rows = [["server", "API", "etcd", "database", "snapshot", "certificates"]];
    for (const { name } of servers(spec)) {
        const status = said(answers, name);
        const { etcd, snapshot, certificate } = status ?? {};
        const member = members?.find((m) => m.name === name);
        const role = etcd?.leader !== undefined && etcd.leader === etcd.id ? "leader" : "voter";
        rows.push([
            cut(name, NAME),
            status === undefined ? "?" : status.ready === true ? "ready" : "not ready",
            spec.server.datastore === "etcd" ? (member === undefined ? "?" : member.learner ? "learner" : role) : "-",
            etcd === undefined ? "?" : mebibytes(etcd.size),
            snapshot === undefined ? "none" : `${duration((now.getTime() - Date.parse(snapshot.taken)) / 1000)} ago`,
            certificate === undefined ? "?" : `${daysTo(certificate.ends, now)} days left`,
        ]);
    }
    return columns(rows).map((line) => cut(line, WIDTH));
}

function findingLines(found: readonly Finding[], paint: Paint): string[] {
    if (found.length === 0) return [paint("all is well", "green")];
    return found.flatMap(({ about, severity, what, next }) => [
        `${paint(severity, severity === "critical" ? "red" : "yellow")} ${about}: ${what}`,
        `  next: ${next}`,
    ]);
}
