/** What the hosts say, as values. Pure. */
import { readyCodes } from "../../components/model/readiness";
import { serverName } from "../../components/model/proxy";
import { liveNodes, servers, type ClusterSpec } from "../../components/model/cluster";

/** What a host sees of the cluster. */
export interface View {
    readonly up: readonly string[];
    /** Of a server: its unit, and what its API says. */
    readonly unit?: string;
    readonly voters: readonly string[];
    readonly ready: readonly string[];
}

/** From the output of `on-host.sh look`. */
export function parseView(stdout: string): View {
    const of = (kind: string): string[] =>
        stdout
            .split("\n")
            .filter((line) => line.startsWith(`${kind} `))
            .map((line) => line.slice(kind.length + 1))
            .sort();
    return { up: of("up"), unit: of("unit")[0], voters: of("voter"), ready: of("ready") };
}

const names = (list: readonly string[]): string => list.join(", ") || "none";
const equal = (a: readonly string[], b: readonly string[]): boolean => names(a) === names(b);

/** Why no server may be stopped now; empty when every one may. `views` has what each live node sees, or why it says nothing. */
export function obstacles(spec: ClusterSpec, views: ReadonlyMap<string, View | string>): string[] {
    const voters = servers(spec)
        .map((n) => n.name)
        .sort();
    const live = liveNodes(spec);
    const found: string[] = [];
    if (spec.server.datastore !== "etcd" || voters.length < 3)
        found.push(
            `${voters.length} servers on ${spec.server.datastore}: etcd survives the stop of one only where there are three or more`,
        );
    for (const { name, role } of live) {
        const view = views.get(name);
        if (view === undefined || typeof view === "string") {
            found.push(`${name}: ${view ?? "was not asked"}`);
            continue;
        }
        // Proxies may have names of their own for them.
        const inProxies = servers(spec)
            .map((n) => serverName(spec, n))
            .sort();
        if (!equal(view.up, inProxies))
            found.push(`${name}: its proxy sees up ${names(view.up)} and not ${names(inProxies)}`);
        if (role !== "server") continue;
        if (view.unit !== "active") found.push(`${name}: k3s is ${view.unit ?? "not there"}`);
        if (!equal(view.voters, voters))
            found.push(`${name}: etcd's voters are ${names(view.voters)} and not ${names(voters)}`);
        const missing = live.map((n) => n.name).filter((n) => !view.ready.includes(n));
        if (missing.length > 0) found.push(`${name}: Nodes that are not Ready: ${names(missing)}`);
    }
    return found;
}

/** What one node lost while a server was stopped. */
export interface Loss {
    readonly asked: number;
    readonly failed: number;
    /** The longest time between two answers, in ms. */
    readonly longestGap: number;
}

/** From the output of `on-host.sh ask`. @throws when a line has another form */
export function parseLoss(spec: ClusterSpec, stdout: string): Loss {
    const codes = readyCodes(spec.readiness).map(String);
    const lines = stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => {
            const m = /^(\d{13}) (\d{13}) (\d{3})$/.exec(line);
            if (!m) throw new Error(`not a measurement: ${JSON.stringify(line)}`);
            return { end: Number(m[2]), ok: codes.includes(m[3] as string) };
        });
    const answers = lines
        .filter((l) => l.ok)
        .map((l) => l.end)
        .sort((a, b) => a - b);
    return {
        asked: lines.length,
        failed: lines.length - answers.length,
        longestGap: Math.max(0, ...answers.slice(1).map((end, i) => end - (answers[i] as number))),
    };
}
