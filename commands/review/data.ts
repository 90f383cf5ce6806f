/** What can be seen of a step's change: its data, and the mark of its secrets. Pure. */
import { parseBundle, type Parts } from "./bundle";
import { commandOf } from "./command-line";
import type { Kind } from "./consequences";
import { SECRET, UNKNOWN } from "./masked";
import type { Change, Operation } from "./preview";

/** One row for one node, or for the cluster. */
export interface Effect {
    readonly kind: Kind;
    /** The node; the cluster's name or the resource's where it is of no node. */
    readonly owner: string;
    /** What changes, in a few words: `v1.36.2+k3s1 → v1.36.4+k3s1`, a flag, a path. */
    readonly detail?: string;
}

/** What of the whole preview decides about one change. */
export interface Around {
    /** Passwords that are generated in this preview, by what they are: `token`, `agent-token`, `stats-password`. */
    readonly generated: ReadonlySet<string>;
    readonly isNew: boolean;
    /** Nodes whose k3s is removed from its host. */
    readonly leaving: ReadonlySet<string>;
    /** What is done with the k3s of each node that has a change of it. */
    readonly k3s: ReadonlyMap<string, Operation>;
}

/** The data of a step: what differs, or why that cannot be seen. */
export type Data =
    | { readonly is: "same" }
    | { readonly is: "hidden" }
    | { readonly is: "open"; readonly before: Parts; readonly after: Parts };

/** Only an input that the engine names as changed is one: the data of a step that runs for another reason are as they were. */
export function dataOf(change: Change): Data {
    if (!change.changed.includes("stdin")) return { is: "same" };
    const [before, after] = [parseBundle(change.before["stdin"]), parseBundle(change.after["stdin"])];
    return before === undefined || after === undefined ? { is: "hidden" } : { is: "open", before, after };
}

/** The mark of the secrets at the command's end has changed, or will: it is unknown while one of them is generated. */
export function secretsChanged(change: Change, generated: boolean): boolean {
    const [before, after] = [commandOf(change.before), commandOf(change.after)];
    if (after.text.includes(UNKNOWN) || after.text === SECRET) return generated;
    return before.note !== undefined && after.note !== undefined && before.note !== after.note;
}
