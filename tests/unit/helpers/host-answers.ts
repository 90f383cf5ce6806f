/** What the hosts of the unit tests' cluster answer to `npm run status`. */
import type { Answer } from "../../../commands/status/findings";
import { parseHostStatus } from "../../../commands/status/host-status";
import type { ClusterSpec } from "../../../components/model/cluster";
import { spec } from "./settings";

export const NOW = new Date("2026-11-30T12:00:00Z");
export const seconds = (iso: string): number => Date.parse(iso) / 1000;
export const status = (id: string, more: object = {}): string =>
    JSON.stringify({ header: { member_id: id }, version: "3.6.14", dbSize: "20971520", leader: "11", ...more });
export const SEES = ["master-1", "master-2", "master-3"].map((name) => `sees ${name} UP L7OK 200 3 60`);

/** What a host prints; `more` replaces lines of the same kind. */
export function host(name: string, more: readonly string[] = []): string {
    const master = /^master-(\d)$/.exec(name)?.[1];
    const lines = [
        "proxy active 600 0",
        ...SEES,
        "k3s active 590 0",
        `version ${spec().version}`,
        `certificate ${seconds("2027-11-29T00:00:00Z")} /var/lib/rancher/k3s/agent/client-kubelet.crt`,
        ...(master === undefined
            ? []
            : [
                  "ready yes",
                  `etcd ${status(`1${master}`)}`,
                  `snapshot ${seconds("2026-11-30T00:00:05Z")} /var/lib/rancher/k3s/server/db/snapshots/a b`,
              ]),
        ...(master !== "1"
            ? []
            : [
                  `members ${JSON.stringify({ members: [1, 2, 3].map((n) => ({ ID: `1${n}`, name: `master-${n}-0123abcd` })) })}`,
                  ...spec().nodes.map((n) => `node ${n.name} True ${spec().version} no`),
              ]),
    ];
    const kinds = new Set(more.map((line) => (/^unknown (\S+)/.exec(line) ?? /^(\S+)/.exec(line))?.[1]));
    return [...lines.filter((line) => !kinds.has(line.split(" ")[0])), ...more, "end", ""].join("\n");
}

/** Answers of all hosts; `more` has other lines, or an error. */
export function answers(
    more: Readonly<Record<string, readonly string[] | string>> = {},
    s: ClusterSpec = spec(),
): Map<string, Answer> {
    return new Map(
        s.nodes.map(({ name }) => {
            const other = more[name] ?? [];
            return [name, typeof other === "string" ? { error: other } : parseHostStatus(host(name, other))];
        }),
    );
}

/** What a proxy says when it does not reach the server of this name. */
export const down = (name: string): string[] =>
    SEES.map((line) => line.replace(`${name} UP L7OK 200`, `${name} DOWN L4TOUT -`));
