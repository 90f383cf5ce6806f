/** What drift.sh prints, as values. Pure. */

/** One difference between a host and what a step left there. */
export interface Finding {
    readonly node: string;
    /** Step of the node (`prepare`, `haproxy`, `stage`, `manifests`, `server`, `agent`), or one of the cluster's (`members`, `public-info-viewer`). */
    readonly step: string;
    readonly what: string;
}

/** @throws when a line has another form, since then the script said something that nobody has read */
export function parseFindings(node: string, stdout: string): Finding[] {
    return stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => {
            const m = /^(prepare|haproxy|stage|manifests|server|agent|members|public-info-viewer): (.+)$/.exec(line);
            if (!m) throw new Error(`drift.sh on ${node} printed a line that is no finding: ${JSON.stringify(line)}`);
            return { node, step: m[1]!, what: m[2]! };
        });
}
