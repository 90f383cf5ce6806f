/** The status as one page that needs nothing else: no script, no request. Symbols and words, not only colours. Pure. */
import { liveNodes, servers, type ClusterSpec, type NodeSpec } from "../../components/model/cluster";
import { serverName } from "../../components/model/proxy";
import type { Seen } from "./host-status";
import { daysTo, kubeNodesOf, mebibytes, membersOf, said, type Answers, type Finding } from "./findings";
import { duration } from "./table";

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#c8ccd2, #454b54); --soft: light-dark(#f4f5f7, #23272d); --quiet: light-dark(#59606a, #a9b1bb);
  --good: light-dark(#1a6b3c, #7bd6a0); --care: light-dark(#8a5a00, #f0c36a); --bad: light-dark(#a3182b, #ff9aa5); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } p { margin: .25rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; min-width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .75rem; text-align: left; white-space: nowrap; }
thead th { background: var(--soft); } .good { color: var(--good); } .care { color: var(--care); } .bad { color: var(--bad); }
ul { list-style: none; padding: 0; } li { border-left: 4px solid currentColor; margin: .5rem 0; padding: .25rem .75rem; }
li > span:last-child { color: CanvasText; }
tbody th { background: Canvas; left: 0; position: sticky; } small { color: var(--quiet); }
`;

type Kind = "good" | "care" | "bad";
const SYMBOL: Readonly<Record<Kind, string>> = { good: "✓", care: "▲", bad: "✕" };

/** Text as HTML shows it. */
const text = (value: string): string => value.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0) ?? 0};`);

/** A state: symbol, word, colour. */
const state = (kind: Kind, words: string): string =>
    `<span class="${kind}"><span aria-hidden="true">${SYMBOL[kind]}</span> ${text(words)}</span>`;

function tableOf(caption: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
    const headers = head.map((name) => `<th scope="col">${text(name)}</th>`).join("");
    // The cells are HTML already; the first one names the row.
    const lines = rows.map(
        ([first = "", ...rest]) =>
            `<tr><th scope="row">${text(first)}</th>${rest.map((cell) => `<td>${cell}</td>`).join("")}</tr>`,
    );
    return `<h2>${text(caption)}</h2>
<div class="wide" role="region" tabindex="0" aria-label="${text(caption)}"><table>
<thead><tr>${headers}</tr></thead>
<tbody>
${lines.join("\n")}
</tbody></table></div>`;
}

/** A server as one proxy sees it. */
function seenAs(seen: Seen | undefined): string {
    if (seen === undefined) return state("care", "unknown");
    const time = seen.ms === undefined ? "" : ` ${seen.ms} ms`;
    if (seen.status.startsWith("UP")) return state("good", `up${time}`);
    const since = `${seen.check || seen.status} for ${duration(seen.seconds)}`;
    return seen.status === "NOLB" ? state("care", `drained, ${since}`) : state("bad", `${seen.status}, ${since}`);
}

function views(spec: ClusterSpec, answers: Answers): string {
    const rows = liveNodes(spec).map((node) => {
        const status = said(answers, node.name);
        return [
            node.name,
            ...servers(spec).map((server) =>
                status?.proxy?.state === "active"
                    ? seenAs(status.sees.find((s) => s.server === serverName(spec, server)))
                    : state("care", status === undefined ? "host does not answer" : "proxy does not run"),
            ),
        ];
    });
    return tableOf("Servers as each node's proxy sees them", ["node", ...servers(spec).map((n) => n.name)], rows);
}

function nodeRow(spec: ClusterSpec, answers: Answers, { name, role, address }: NodeSpec): string[] {
    const status = said(answers, name);
    const node = kubeNodesOf(spec, answers)?.find((n) => n.name === name);
    const service = (found: string | undefined): string =>
        found === undefined ? state("care", "unknown") : state(found === "active" ? "good" : "bad", found);
    return [
        name,
        text(`${role} ${address}`),
        status === undefined ? state("bad", "no answer") : state("good", "up"),
        service(status?.k3s?.state),
        service(status?.proxy?.state),
        node === undefined
            ? state("care", "unknown")
            : node.cordoned
              ? state("care", "cordoned")
              : state(node.ready ? "good" : "bad", node.ready ? "Ready" : "not Ready"),
        text(status?.version ?? "?"),
    ];
}

function serverRow(spec: ClusterSpec, answers: Answers, name: string, now: Date): string[] {
    const status = said(answers, name);
    const { etcd, snapshot, certificate } = status ?? {};
    const member = membersOf(spec, answers)?.find((m) => m.name === name);
    const role = etcd?.leader !== undefined && etcd.leader === etcd.id ? "leader" : "voter";
    const days = certificate === undefined ? undefined : daysTo(certificate.ends, now);
    return [
        name,
        status?.ready === true ? state("good", "ready") : state("bad", "not ready"),
        member === undefined
            ? state("care", spec.server.datastore === "etcd" ? "unknown" : "no etcd")
            : state(member.learner ? "care" : "good", member.learner ? "learner" : role),
        text(etcd === undefined ? "?" : `${mebibytes(etcd.size)} of ${mebibytes(etcd.quota)}`),
        text(snapshot === undefined ? "none" : `${duration((now.getTime() - Date.parse(snapshot.taken)) / 1000)} ago`),
        days === undefined ? state("care", "unknown") : state(days < 60 ? "care" : "good", `${days} days left`),
    ];
}

function findingsOf(found: readonly Finding[]): string {
    if (found.length === 0) return `<p>${state("good", "all is well")}</p>`;
    const items = found.map(({ about, severity, what, next }) => {
        const kind = severity === "critical" ? "bad" : "care";
        return `<li class="${kind}">${state(kind, severity)} <span><b>${text(about)}</b>: ${text(what)}<br><small>next: ${text(next)}</small></span></li>`;
    });
    return `<ul>${items.join("\n")}</ul>`;
}

/** The page. */
export function page(spec: ClusterSpec, answers: Answers, found: readonly Finding[], now: Date): string {
    const title = `${spec.cluster}: ${found.length === 0 ? "all is well" : `${found.length} need care`}`;
    const nodeHead = ["node", "role", "host", "k3s", "proxy", "Node", "release"];
    const serverHead = ["server", "API", "etcd", "database", "newest snapshot", "certificates"];
    return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${text(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Cluster ${text(spec.cluster)}</h1>
<p>${liveNodes(spec).length} nodes, k3s ${text(spec.version)}, readiness ${text(spec.readiness)}; asked at <time datetime="${now.toISOString()}">${text(now.toISOString().replace("T", " ").slice(0, 16))} UTC</time></p>
${findingsOf(found)}
${views(spec, answers)}
${tableOf(
    "Nodes",
    nodeHead,
    liveNodes(spec).map((node) => nodeRow(spec, answers, node)),
)}
${tableOf(
    "Servers",
    serverHead,
    servers(spec).map(({ name }) => serverRow(spec, answers, name, now)),
)}
</main>
</body>
</html>
`;
}
