/** What the engine tells the displays. */
import type { Severity } from "./providers/provider";
import type { ResourceState } from "./state";
import type { DetailedDiff } from "./values";

export type Op =
    | "same"
    | "create"
    | "update"
    | "delete"
    | "replace"
    | "create-replacement"
    | "delete-replaced"
    | "read"
    | "refresh"
    | "remove-pending-replace"
    | "discard";

/** In the order of the summary. */
export const OPS: readonly Op[] = [
    "same",
    "create",
    "update",
    "delete",
    "replace",
    "create-replacement",
    "delete-replaced",
    "read",
    "refresh",
    "discard",
    "remove-pending-replace",
];

/** A step as it was at the moment of the event: states are copies. */
export interface StepInfo {
    op: Op;
    urn: string;
    type: string;
    provider: string;
    old?: ResourceState;
    new?: ResourceState;
    /** new, or old when there is none. */
    res: ResourceState;
    /** Properties that caused a replacement. */
    keys?: string[];
    /** Changed properties. */
    diffs?: string[];
    detailedDiff?: DetailedDiff;
    /** False for the parts of a replacement. */
    logical: boolean;
}

export interface DiagEvent {
    kind: "diag";
    urn: string;
    prefix: string;
    message: string;
    severity: Severity;
    /** Messages of one stream other than 0 are shown as one. */
    streamId: number;
    ephemeral: boolean;
}

export type EngineEvent =
    | { kind: "prelude"; config: Record<string, string> }
    | { kind: "pre"; step: StepInfo; planning: boolean }
    | { kind: "outputs"; step: StepInfo; planning: boolean }
    | { kind: "failed"; step: StepInfo }
    | DiagEvent
    | { kind: "summary"; preview: boolean; seconds: number; changes: Partial<Record<Op, number>> };
