/** The program's hooks: run around operations, and asked whether a failed one is to be tried again. */
import type { Severity } from "../providers/provider";
import type { HookKind, ResourceState } from "../state";
import { urnName } from "../urn";
import type { ErrorHookRunner, HookCall, HookRunner } from "./goal";

/** How often an onError hook may ask for another try (official: maxErrorHookRetries). */
const MAX_RETRIES = 100;

/** What a hook is told besides which resource it is. */
export type HookContext = Omit<HookCall, "urn" | "id" | "name" | "type">;

export class HookRegistry {
    readonly resource = new Map<string, HookRunner>();
    readonly error = new Map<string, ErrorHookRunner>();

    constructor(
        private readonly preview: boolean,
        private readonly diag: (severity: Severity, message: string, urn: string) => void,
    ) {}

    /** Tries until it works or no hook wants another try. */
    async retried<T>(operation: string, r: ResourceState, call: HookContext, f: () => Promise<T>): Promise<T> {
        const errors: string[] = [];
        for (;;) {
            try {
                return await f();
            } catch (e) {
                errors.unshift((e as Error).message);
                const names = r.hooks.OnError ?? [];
                if (names.length === 0) throw e;
                if (errors.length >= MAX_RETRIES) {
                    this.diag("warning", `maximum number of error hook retries (${MAX_RETRIES}) reached`, r.urn);
                    throw new Error("maximum number of error hook retries reached");
                }
                let retry = false;
                for (const name of names) {
                    // A destroy that does not run the program knows none. The official engine reports the hook's error, but for a
                    // deletion, whose own error stands (step.go, resourceError).
                    const problem = (text: string): unknown =>
                        operation === "delete"
                            ? e
                            : new Error(`error hooks execution failed: error hook "${name}" ${text}`);
                    const hook = this.error.get(name);
                    if (!hook) throw problem("was not registered");
                    const a = await hook.run({
                        urn: r.urn,
                        id: r.id,
                        name: urnName(r.urn),
                        type: r.type,
                        ...call,
                        operation,
                        errors,
                    });
                    if (a.error) throw problem(`failed: ${a.error}`);
                    retry ||= a.retry;
                }
                if (!retry) throw e;
                this.diag(
                    "warning",
                    `retrying ${operation} due to on-error hook request (${errors.length}/${MAX_RETRIES})`,
                    r.urn,
                );
            }
        }
    }

    /** Throws when a hook fails that may not be ignored. */
    async run(kind: HookKind, r: ResourceState, call: HookContext): Promise<void> {
        for (const name of r.hooks[kind] ?? []) {
            const hook = this.resource.get(name);
            if (!hook) throw new Error(`hook "${name}" was not registered`);
            if (this.preview && !hook.onDryRun) continue;
            const error = await hook.run({ urn: r.urn, id: r.id, name: urnName(r.urn), type: r.type, ...call });
            if (!error) continue;
            if (hook.ignoreErrors) this.diag("warning", `${kind} hook "${name}" failed: ${error}`, r.urn);
            else throw new Error(`${kind.startsWith("Before") ? "before" : "after"} hook "${name}" failed: ${error}`);
        }
    }
}
