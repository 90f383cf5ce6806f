/** What a program registers, and what the engine tells hooks. */
import type { CustomTimeouts, Hooks, ResourceState } from "../state";
import type { PropertyMap } from "../values";

export interface Alias {
    urn?: string;
    name?: string;
    type?: string;
    stack?: string;
    project?: string;
    parentUrn?: string;
    noParent?: boolean;
}

/** A resource as the program wants it. */
export interface Goal {
    type: string;
    name: string;
    custom: boolean;
    inputs: PropertyMap;
    parent: string;
    protect?: boolean;
    dependencies: string[];
    /** `urn::id`, or empty for the default provider. */
    provider: string;
    /** Explicit providers by package, for children. */
    providers: Record<string, string>;
    version: string;
    propertyDependencies: Record<string, string[]>;
    deleteBeforeReplace?: boolean;
    ignoreChanges: string[];
    additionalSecretOutputs: string[];
    aliases: Alias[];
    customTimeouts: CustomTimeouts;
    replaceOnChanges: string[];
    retainOnDelete?: boolean;
    deletedWith: string;
    replaceWith: string[];
    hideDiffs: string[];
    hooks: Hooks;
}

export interface Registration {
    state: ResourceState;
    failed: boolean;
}

/** Calls back into the program. */
export interface HookRunner {
    onDryRun: boolean;
    ignoreErrors: boolean;
    /** Resolves to an error text or "". */
    run(call: HookCall): Promise<string>;
}
export interface ErrorHookRunner {
    run(call: HookCall & { operation: string; errors: string[] }): Promise<{ error: string; retry: boolean }>;
}
export interface HookCall {
    urn: string;
    id: string;
    name: string;
    type: string;
    newInputs?: PropertyMap;
    oldInputs?: PropertyMap;
    newOutputs?: PropertyMap;
    oldOutputs?: PropertyMap;
    oldState?: ResourceState;
    newState?: ResourceState;
}
export const emptyGoal: Goal = {
    type: "",
    name: "",
    custom: false,
    inputs: {},
    parent: "",
    dependencies: [],
    provider: "",
    providers: {},
    version: "",
    propertyDependencies: {},
    ignoreChanges: [],
    additionalSecretOutputs: [],
    aliases: [],
    customTimeouts: {},
    replaceOnChanges: [],
    deletedWith: "",
    replaceWith: [],
    hideDiffs: [],
    hooks: {},
};
