/** The order in which etcd's members give room back, and what to say of it. Pure. */
import { parseEtcd, type Etcd } from "../status/host-status";

/** A server's member, as its own etcd reports it. */
export interface Space {
    readonly node: string;
    readonly etcd: Etcd;
}

/** @throws when the text is no status of etcd */
export const parseSpace = (node: string, stdout: string): Space => ({ node, etcd: parseEtcd(stdout.trim()) });

/** The leader comes last: while it does not answer, the others elect another one. */
export function order(spaces: readonly Space[]): readonly string[] {
    const leads = ({ etcd }: Space): boolean => etcd.leader === etcd.id;
    return [...spaces].sort((a, b) => Number(leads(a)) - Number(leads(b))).map(({ node }) => node);
}

/** Whether a member has reached its quota: etcd takes no writes until the alarm is taken off. */
export const full = (spaces: readonly Space[]): boolean =>
    spaces.some(({ etcd }) => etcd.errors.some((error) => /NOSPACE|database space exceeded/i.test(error)));

/** Why no member may be defragmented now: it does not serve meanwhile, and the others must be a majority that has a leader. */
export function unfit(spaces: readonly Space[]): string | undefined {
    const without = spaces.find(({ etcd }) => etcd.learner || etcd.leader === undefined);
    if (without === undefined) return undefined;
    return `${without.node}: its etcd ${without.etcd.learner ? "is a learner still" : "has no leader"}; wait until npm run status reports every server as a voter`;
}

const mebibytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/** A line for each member: its size before and after. */
export function told(before: readonly Space[], after: readonly Space[]): string[] {
    return after.map(({ node, etcd }) => {
        const was = before.find((space) => space.node === node)?.etcd.size ?? etcd.size;
        return `${node}: ${mebibytes(was)} → ${mebibytes(etcd.size)} of ${mebibytes(etcd.quota)}`;
    });
}

/** What still needs care; empty when all is well. */
export function care(after: readonly Space[]): string[] {
    const large = after.filter(({ etcd }) => etcd.size > 0.8 * etcd.quota).map(({ node }) => node);
    return [
        ...(full(after)
            ? ["the alarm NOSPACE is still there: something fills the database again. See docs/runbooks/etcd-quota.md"]
            : []),
        ...(large.length > 0
            ? [
                  `${large.join(", ")}: more than 80 % of the quota is in use by what the cluster keeps. Find what fills it, or raise the quota: docs/runbooks/etcd-quota.md`,
              ]
            : []),
    ];
}
