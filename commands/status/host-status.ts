/** What on-host.sh prints, as values. Pure. */

/** A unit of systemd. */
export interface Service {
    /** active, inactive, failed, activating … */
    readonly state: string;
    /** Seconds since it entered that state. */
    readonly seconds: number;
    /** How often systemd started it again. */
    readonly restarts: number;
}

/** A server of the API, as one node's proxy sees it. */
export interface Seen {
    /** The proxy's name for it. */
    readonly server: string;
    /** As haproxy says it: UP, DOWN, NOLB (drained) … */
    readonly status: string;
    /** The last check: L7OK, L4TOUT …, with HTTP code and milliseconds where there are any. */
    readonly check: string;
    readonly code?: number;
    readonly ms?: number;
    /** Seconds since the status changed. */
    readonly seconds: number;
}

/** etcd on a server. */
export interface Etcd {
    readonly id: string;
    /** Id of the leader that it follows; undefined when it has none. */
    readonly leader?: string;
    readonly learner: boolean;
    /** Size of the database file in bytes, and its limit. */
    readonly size: number;
    readonly quota: number;
    /** Alarms and errors, in etcd's words. */
    readonly errors: readonly string[];
}

/** A member of etcd. */
export interface Member {
    readonly id: string;
    readonly name: string;
    readonly learner: boolean;
}

/** A Node object. */
export interface KubeNode {
    readonly name: string;
    readonly ready: boolean;
    readonly version: string;
    readonly cordoned: boolean;
}

/** What one host says. Absent is what it has not, or what could not be read; `unknown` has why. */
export interface HostStatus {
    readonly proxy?: Service;
    readonly sees: readonly Seen[];
    readonly k3s?: Service;
    readonly version?: string;
    /** Its certificate that ends first: when, as ISO 8601, and the file. */
    readonly certificate?: { readonly ends: string; readonly file: string };
    readonly ready?: boolean;
    readonly etcd?: Etcd;
    /** Its newest snapshot. */
    readonly snapshot?: { readonly taken: string; readonly file: string };
    /** The newest one in the bucket: asked on one server only. */
    readonly bucket?: { readonly taken: string; readonly object: string };
    readonly members?: readonly Member[];
    readonly nodes?: readonly KubeNode[];
    /** Lines of drift.sh. */
    readonly drift: readonly string[];
    readonly unknown: Readonly<Record<string, string>>;
}

/** etcd's own limit where the answer names none (k3s sets no other). */
const QUOTA = 2 * 1024 ** 3;

const iso = (seconds: string | undefined): string => new Date(Number(seconds) * 1000).toISOString();
const number = (text: string | undefined): number | undefined =>
    text === undefined || text === "-" ? undefined : Number(text);

function service(words: readonly string[]): Service {
    return { state: words[0] ?? "", seconds: Number(words[1] ?? 0), restarts: Number(words[2] ?? 0) };
}

function seen([server = "", status = "", check = "", code, ms, seconds]: readonly string[]): Seen {
    return {
        server,
        status: status.replaceAll("_", " "),
        // haproxy marks the check that is under way with a star.
        check: check.replace(/^\*_?/, ""),
        code: number(code),
        ms: number(ms),
        seconds: number(seconds) ?? 0,
    };
}

/** The status of a member, from etcd's own answer. */
export function parseEtcd(json: string): Etcd {
    const answer = JSON.parse(json) as Readonly<Record<string, unknown>> & { header?: { member_id?: string } };
    const leader = answer["leader"];
    return {
        id: String(answer.header?.member_id ?? ""),
        leader: leader === undefined || leader === "0" ? undefined : String(leader),
        learner: answer["isLearner"] === true,
        size: Number(answer["dbSize"] ?? 0),
        quota: Number(answer["dbSizeQuota"] ?? QUOTA) || QUOTA,
        errors: ((answer["errors"] ?? []) as unknown[]).map(String),
    };
}

function members(json: string): Member[] {
    const { members: list = [] } = JSON.parse(json) as {
        members?: readonly { ID: string; name?: string; isLearner?: boolean }[];
    };
    // k3s adds eight digits to the Node's name.
    return list.map((m) => ({
        id: m.ID,
        name: (m.name ?? "").replace(/-[0-9a-f]{8}$/, ""),
        learner: m.isLearner === true,
    }));
}

/** @throws when the text is not whole, or a line has another form: then the script said something that nobody has read */
export function parseHostStatus(stdout: string): HostStatus {
    const lines = stdout.split("\n").filter((line) => line !== "");
    if (lines.pop() !== "end") throw new Error("the answer is not whole");
    const status: { -readonly [key in keyof HostStatus]: HostStatus[key] } & {
        sees: Seen[];
        drift: string[];
        unknown: Record<string, string>;
        nodes?: KubeNode[];
    } = { sees: [], drift: [], unknown: {} };
    for (const line of lines) {
        const [kind = "", ...words] = line.split(" ");
        const rest = line.slice(kind.length + 1);
        const path = words.slice(1).join(" ");
        if (kind === "proxy" || kind === "k3s") status[kind] = service(words);
        else if (kind === "sees") status.sees.push(seen(words));
        else if (kind === "version") status.version = words[0];
        else if (kind === "certificate") status.certificate = { ends: iso(words[0]), file: path };
        else if (kind === "ready") status.ready = words[0] === "yes";
        else if (kind === "etcd") status.etcd = parseEtcd(rest);
        else if (kind === "members") status.members = members(rest);
        else if (kind === "snapshot") status.snapshot = { taken: iso(words[0]), file: path };
        else if (kind === "bucket")
            status.bucket = { taken: new Date(words[0] ?? "").toISOString(), object: words[1] ?? "" };
        else if (kind === "node") {
            const [name = "", ready, version = "", cordoned] = words;
            (status.nodes ??= []).push({ name, ready: ready === "True", version, cordoned: cordoned === "yes" });
        } else if (kind === "drift") status.drift.push(rest);
        else if (kind === "unknown") status.unknown[words[0] ?? ""] = path;
        else throw new Error(`a line that is no fact: ${JSON.stringify(line)}`);
    }
    return status;
}
