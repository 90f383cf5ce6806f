/** One thing to do with one resource. */
import type { Op, StepInfo } from "../events";
import type { OperationType, ResourceState } from "../state";
import { isProviderType, parseUrn, urnType } from "../urn";
import type { DetailedDiff } from "../values";
import type { Registration } from "./goal";

export interface Step {
    op: Op;
    urn: string;
    old?: ResourceState;
    new?: ResourceState;
    keys?: string[];
    diffs?: string[];
    detailedDiff?: DetailedDiff;
    logical: boolean;
    /** Old state is to be deleted later (create-replacement). */
    pendingDelete?: boolean;
    /** Delete that goes before its replacement. */
    beforeReplace?: boolean;
    /** What a refresh found. */
    result?: "same" | "update" | "delete";
    /** Neither made nor kept: outside the targets. */
    skippedCreate?: boolean;
    done?: (r: Registration) => void;
}

/** What is noted in the state while a step runs. */
export const OPERATIONS: Partial<Record<Op, OperationType>> = {
    create: "creating",
    "create-replacement": "creating",
    update: "updating",
    delete: "deleting",
    "delete-replaced": "deleting",
};

/** What the displays get: copies, since states change while steps run. */
export function stepInfo(s: Step, op: Op = s.op): StepInfo {
    const copy = (r: ResourceState | undefined): ResourceState | undefined => r && { ...r };
    const res = (s.new ?? s.old)!;
    return {
        op,
        urn: s.urn,
        type: res.type,
        provider: res.provider,
        old: copy(s.old),
        new: copy(s.new),
        res: copy(res)!,
        keys: s.keys,
        diffs: s.diffs,
        detailedDiff: s.detailedDiff,
        logical: s.logical,
    };
}

/** Default providers and clean-up of bookkeeping are neither shown nor counted. */
export function isInternal(s: Step): boolean {
    return s.op === "remove-pending-replace" || (isProviderType(urnType(s.urn)) && isDefaultProvider(s.urn));
}

export function isDefaultProvider(urn: string): boolean {
    const { type, name } = parseUrn(urn);
    return isProviderType(type) && (name === "default" || name.startsWith("default_"));
}

/** What must make a "same" resource be written again when it differs. */
export function sameMark(r: ResourceState): string {
    const kept: Partial<ResourceState> = {
        ...r,
        propertyDependencies: undefined,
        created: undefined,
        modified: undefined,
    };
    return JSON.stringify({ ...kept, inputs: undefined, outputs: undefined });
}
