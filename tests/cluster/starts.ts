/** Which k3s was started again, and when. */
import { k3sUnit, on, pidOf } from "./support";

/** The process ids of k3s on these hosts. */
export const pids = (hosts: readonly string[]): string[] => hosts.map((host) => pidOf(host, k3sUnit(host)));

/** Seconds between the starts of k3s on these hosts, the least of them. */
export function apart(hosts: readonly string[]): number {
    const starts = hosts
        .map((host) =>
            Number(on(host, `systemctl show -p ExecMainStartTimestampMonotonic --value ${k3sUnit(host)}`).stdout),
        )
        .sort((a, b) => a - b);
    return Math.min(...starts.slice(1).map((start, i) => start - (starts[i] ?? 0))) / 1e6;
}
