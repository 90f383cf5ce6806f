/** What haproxy.cfg says about itself on the host: a remark over each part that is not plain. */

/** A remark stands over the first line that begins so, in each section whose title matches. */
interface Remark {
    /** A name, for the test that every part has one. */
    readonly part: string;
    readonly section: RegExp;
    /** The line as rendered, without its indentation. Left out: the remark is about the whole section. */
    readonly line?: RegExp;
    readonly text: readonly string[];
}

const REMARKS: readonly Remark[] = [
    {
        part: "hard stop",
        section: /^global$/,
        line: /^hard-stop-after /,
        text: ["After a reload the old worker keeps its open connections for this long at most."],
    },
    {
        part: "state file",
        section: /^global$/,
        line: /^server-state-file /,
        text: [
            "Written before a reload that adds a server: the new worker begins with that server as down.",
            "Else it would send connections to it before the first check.",
        ],
    },
    {
        part: "connect timeout",
        section: /^defaults$/,
        line: /^timeout connect /,
        text: ["A server that does not accept within this time is given up, and another one is tried (redispatch)."],
    },
    {
        part: "tunnel timeouts",
        section: /^defaults$/,
        line: /^timeout tunnel /,
        text: [
            "A watch, a log or an exec may be silent for hours: such a connection is a tunnel.",
            "TCP keep-alive (clitcpka, srvtcpka) finds a peer that is gone long before.",
        ],
    },
    {
        part: "stats",
        section: /^listen stats$/,
        text: ["The stats page, /metrics for Prometheus, and /healthz: 200 while at least one server is ready."],
    },
    {
        part: "answering and silent",
        section: /^frontend /,
        line: /^tcp-request content set-var\(txn\.answering\)/,
        text: [
            "For each new connection, of the servers that are not marked down:",
            "answering = at least one answered its last probe; silent = at least one did not.",
        ],
    },
    {
        part: "unchecked fallback",
        section: /^frontend /,
        line: /^use_backend \S+-unchecked /,
        text: [
            "No server is ready and none answers its probe: try any of them. The checks may be wrong, or not have run yet.",
        ],
    },
    {
        part: "readiness check and drain",
        section: /^backend /,
        line: /^http-check disable-on-404$/,
        text: [
            "Each check asks twice. (1) /readyz: is this server ready? Another answer than the expected one drains the server:",
            "nothing new goes there, open connections stay. 503 counts as a failure: there is no API server yet.",
            "(2) Does it serve the file k3s-ha/serving? k3s-ha removes that before a planned stop: the 404 drains the server.",
        ],
    },
    {
        part: "by_probe",
        section: /^backend /,
        line: /^acl by_probe /,
        text: [
            "by_probe: a server is silent, or no server is ready. Then the probe decides, not the balance (see use-server below).",
            "A drained server may be chosen: it may be drained only because the silent one was the leader of etcd.",
        ],
    },
    {
        part: "check times",
        section: /^backend /,
        line: /^default-server .*on-marked-down/,
        text: [
            "A server that fails two checks in a row is down: its open connections are closed, so that clients reconnect.",
        ],
    },
    {
        part: "use-server",
        section: /^backend /,
        line: /^use-server /,
        text: [
            "With by_probe: a random server of those that answer their probe; the lines without rand() catch the rest.",
        ],
    },
    {
        part: "probe backend",
        section: /^backend .*-probe$/,
        text: [
            "Gets no connections. It asks every second whether a server answers at all, without API server and etcd.",
            "A server that misses one probe gets no new connections. The check above marks it down about a second later.",
            "It verifies no certificate, since nothing is sent to a server because of it alone.",
        ],
    },
    {
        part: "unchecked backend",
        section: /^backend .*-unchecked$/,
        text: ["The last resort: all servers, without a check."],
    },
];

/** Names of the parts that have a remark. */
export const explainedParts: readonly string[] = REMARKS.map((remark) => remark.part);

/**
 * The text of haproxy.cfg with a remark over each part that is not plain. Remarks are indented comments, so that haproxy-apply.sh can tell
 * them from the rest: a file that differs in remarks only is written without a reload.
 */
export function explain(text: string): string {
    const out: string[] = [];
    let section = "";
    let left: Remark[] = [];
    for (const line of text.split("\n")) {
        if (/^[a-z]/.test(line)) {
            section = line;
            left = REMARKS.filter((remark) => remark.section.test(section));
            out.push(line);
            for (const remark of left) if (!remark.line) out.push(...remark.text.map((words) => `  # ${words}`));
            continue;
        }
        const body = line.trimStart();
        for (const remark of left)
            if (remark.line?.test(body)) {
                out.push(...remark.text.map((words) => `  # ${words}`));
                left = left.filter((other) => other !== remark);
            }
        out.push(line);
    }
    return out.join("\n");
}
