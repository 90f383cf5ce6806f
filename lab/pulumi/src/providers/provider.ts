/** What the engine asks of a resource provider. */
import type { DetailedDiff, PropertyMap } from "../values";
import { toReplace } from "../values";

export type Severity = "debug" | "info" | "info#err" | "warning" | "error";
/** Ephemeral messages are shown while the resource is worked on and not repeated in the diagnostics at the end. */
export type Log = (severity: Severity, message: string, ephemeral?: boolean) => void;

export interface CheckResult {
    inputs: PropertyMap;
    failures: { property: string; reason: string }[];
}

export interface DiffResult {
    changes: boolean;
    /** Top-level properties that make a replacement needed. */
    replaceKeys: string[];
    changedKeys: string[];
    detailedDiff?: DetailedDiff;
    deleteBeforeReplace: boolean;
    /** Set when nothing can be said yet: the message is shown and an update assumed. */
    unavailable?: string;
}

export interface Request {
    urn: string;
    type: string;
    name: string;
    preview: boolean;
    log: Log;
    /** Seconds, from customTimeouts; undefined: the provider's own. */
    timeout?: number;
}

export interface Provider {
    /** Validates and fills in defaults. `olds` is undefined for a resource to be made. */
    check(r: Request, olds: PropertyMap | undefined, news: PropertyMap): CheckResult;
    diff(
        r: Request,
        id: string,
        oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        newInputs: PropertyMap,
        ignoreChanges: readonly string[],
    ): DiffResult;
    /** In a preview: touches nothing, gives what is known of the outputs. */
    create(r: Request, inputs: PropertyMap): Promise<{ id: string; outputs: PropertyMap }>;
    update(
        r: Request,
        id: string,
        oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        newInputs: PropertyMap,
    ): Promise<PropertyMap>;
    delete(r: Request, id: string, inputs: PropertyMap, outputs: PropertyMap): Promise<void>;
    /** Undefined when the thing is gone. */
    read(
        r: Request,
        id: string,
        inputs: PropertyMap,
        outputs: PropertyMap,
    ): Promise<{ id: string; inputs: PropertyMap; outputs: PropertyMap } | undefined>;
    invoke?(token: string, args: PropertyMap, preview: boolean): Promise<PropertyMap>;
    /** Ends connections. */
    close?(): void;
}

/** How a package's provider is configured; `known` is false in previews with unknown inputs. */
export interface PackageDefinition {
    checkConfig(inputs: PropertyMap): CheckResult;
    diffConfig(oldInputs: PropertyMap, newInputs: PropertyMap): DiffResult;
    configure(inputs: PropertyMap, known: boolean): Provider;
}

export const noDiff: DiffResult = { changes: false, replaceKeys: [], changedKeys: [], deleteBeforeReplace: false };

/** The result for a detailed diff, with every entry whose top-level key is in `replaceOn` made a replacement. */
export function diffOf(detailed: DetailedDiff, replaceOn: (path: string) => boolean): DiffResult {
    const out: DetailedDiff = {};
    const replaceKeys = new Set<string>();
    const changedKeys = new Set<string>();
    for (const [p, d] of Object.entries(detailed)) {
        const top = p.split(/[.[]/, 1)[0]!;
        const replace = replaceOn(p);
        out[p] = replace ? { ...d, kind: toReplace(d.kind) } : d;
        changedKeys.add(top);
        if (replace) replaceKeys.add(top);
    }
    return {
        changes: changedKeys.size > 0,
        replaceKeys: [...replaceKeys],
        changedKeys: [...changedKeys],
        detailedDiff: out,
        deleteBeforeReplace: false,
    };
}
