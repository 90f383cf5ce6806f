/** Does what a step says, through the resource's provider, with the hooks around it. */
import { randomUUID } from "node:crypto";
import type { Request } from "../providers/provider";
import type { HookKind, ResourceState } from "../state";
import { isProviderType, packageOf } from "../urn";
import { deepEquals, type DetailedDiff, type DiffKind, makeSecret, type PropertyMap, Secret, UNKNOWN } from "../values";
import type { HookContext, HookRegistry } from "./hooks";
import type { ProviderRegistry } from "./registry";
import type { Step } from "./step";

/** Nothing was tried: the resource is protected. Others of its kind can still be told. */
export class ProtectedError extends Error {}

export interface ApplierOptions {
    preview: boolean;
    ignoreProtect: boolean;
    registry: ProviderRegistry;
    hooks: HookRegistry;
    request: (r: ResourceState, timeout?: number) => Request;
    /** Is the resource deleted in this run? */
    isDeleted: (urn: string) => boolean;
    /** The resource is fine, a hook after it is not. */
    afterHookFailed: (message: string, urn: string) => void;
}

export class Applier {
    constructor(private readonly o: ApplierOptions) {}

    /** Throws when the operation failed; the step's states are then as before. */
    async apply(s: Step): Promise<void> {
        const { preview } = this.o;
        const { old, new: now } = s;
        switch (s.op) {
            case "same":
                if (s.skippedCreate) return;
                now!.id = old!.id;
                now!.outputs = old!.outputs;
                if (isProviderType(now!.type))
                    this.o.registry.configure(packageOf(now!.type), s.urn, now!.id, old!.inputs);
                return;
            case "replace":
            case "remove-pending-replace":
                return;
            case "create":
            case "create-replacement":
                await this.create(s, now!);
                if (s.pendingDelete) old!.delete = true;
                return;
            case "update":
                await this.update(s, old!, now!);
                return;
            case "delete":
            case "delete-replaced":
                await this.delete(s, old!);
                return;
            case "refresh":
                await this.refresh(s, old!);
                return;
            default:
                throw new Error(`unexpected step ${s.op}${preview ? " in a preview" : ""}`);
        }
    }

    private async create(s: Step, now: ResourceState): Promise<void> {
        const { preview } = this.o;
        await this.o.hooks.run("BeforeCreate", now, { newInputs: now.inputs, newState: now });
        if (isProviderType(now.type)) {
            now.id = preview ? UNKNOWN : randomUUID();
            now.outputs = outputsOfProvider(now.inputs);
            this.o.registry.configure(packageOf(now.type), s.urn, now.id, now.inputs);
        } else if (now.custom) {
            const p = this.o.registry.get(now.provider, s.urn);
            if (preview && !p.known) now.outputs = {};
            else {
                const made = await this.o.hooks.retried("create", now, { newInputs: now.inputs, newState: now }, () =>
                    p.create(this.o.request(now, now.customTimeouts.create), now.inputs),
                );
                now.id = made.id;
                now.outputs = made.outputs;
                if (!preview && !made.id) throw new Error("provider did not return an ID from Create");
            }
        } else now.outputs = {};
        now.created = now.modified = timestamp();
        if (now.custom)
            await this.afterHooks("AfterCreate", now, {
                newInputs: now.inputs,
                newOutputs: now.outputs,
                newState: now,
            });
    }

    private async update(s: Step, old: ResourceState, now: ResourceState): Promise<void> {
        const { preview } = this.o;
        now.id = old.id;
        const call = {
            newInputs: now.inputs,
            oldInputs: old.inputs,
            oldOutputs: old.outputs,
            oldState: old,
            newState: now,
        };
        await this.o.hooks.run("BeforeUpdate", now, call);
        if (isProviderType(now.type)) {
            now.outputs = outputsOfProvider(now.inputs);
            this.o.registry.configure(packageOf(now.type), s.urn, now.id, now.inputs);
            now.modified = timestamp();
        } else if (now.custom) {
            const p = this.o.registry.get(now.provider, s.urn);
            if (preview && !p.known) now.outputs = {};
            else
                now.outputs = await this.o.hooks.retried("update", now, call, () =>
                    p.update(
                        this.o.request(now, now.customTimeouts.update),
                        old.id,
                        old.inputs,
                        old.outputs,
                        now.inputs,
                    ),
                );
            now.modified = timestamp();
        } else now.outputs = old.outputs;
        if (now.custom) await this.afterHooks("AfterUpdate", now, { ...call, newOutputs: now.outputs });
    }

    private async delete(s: Step, old: ResourceState): Promise<void> {
        const { preview } = this.o;
        const call = { oldInputs: old.inputs, oldOutputs: old.outputs, oldState: old };
        await this.o.hooks.run("BeforeDelete", old, call);
        if (s.op === "delete" && old.protect && !this.o.ignoreProtect)
            throw new ProtectedError(
                `resource "${old.urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, either remove the ` +
                    "`protect` flag from the resource in your Pulumi program and run `pulumi up`, or use the command:\n" +
                    `\`pulumi state unprotect '${old.urn}'\``,
            );
        const withOther = old.deletedWith !== "" && this.o.isDeleted(old.deletedWith);
        if (!preview && old.custom && !old.external && !old.retainOnDelete && !withOther && !isProviderType(old.type)) {
            const p = this.o.registry.get(old.provider, s.urn);
            await this.o.hooks.retried("delete", old, call, () =>
                p.delete(this.o.request(old, old.customTimeouts.delete), old.id, old.inputs, old.outputs),
            );
        }
        if (s.beforeReplace && !preview) old.pendingReplacement = true;
        await this.afterHooks("AfterDelete", old, call);
    }

    private async refresh(s: Step, old: ResourceState): Promise<void> {
        s.result = "same";
        if (!old.custom || isProviderType(old.type) || old.pendingReplacement) {
            s.new = old;
            return;
        }
        const p = this.o.registry.get(old.provider, s.urn);
        const r = this.o.request(old);
        const found = await p.read(r, old.id, old.inputs, old.outputs);
        if (!found) {
            s.result = "delete";
            s.new = undefined;
            return;
        }
        const changed = !deepEquals(found.inputs, old.inputs) || !deepEquals(found.outputs, old.outputs);
        s.new = { ...old, id: found.id, inputs: found.inputs, outputs: found.outputs };
        if (changed) {
            s.new.modified = timestamp();
            s.result = "update";
            const d = p.diff(r, found.id, found.inputs, found.outputs, old.inputs, old.ignoreChanges);
            s.detailedDiff = d.detailedDiff && invert(d.detailedDiff);
        }
    }

    /** The resource is there, only the hook failed: the state is kept and the deployment fails. */
    async afterHooks(kind: HookKind, r: ResourceState, call: HookContext): Promise<void> {
        try {
            await this.o.hooks.run(kind, r, call);
        } catch (e) {
            this.o.afterHookFailed((e as Error).message, r.urn);
        }
    }
}

/** Secret outputs: those asked for, and those of which the input of the same name is secret. */
export function markSecrets(s: Step, warn: (message: string, urn: string) => void): void {
    const now = s.new!;
    const outputs = { ...now.outputs };
    let any = false;
    for (const k of now.additionalSecretOutputs) {
        if (k === "id")
            warn("The 'id' property cannot be made secret. See pulumi/pulumi#2717 for more details.", now.urn);
        else if (k in outputs && !(outputs[k] instanceof Secret)) {
            outputs[k] = makeSecret(outputs[k]!);
            any = true;
        }
    }
    for (const k of Object.keys(outputs))
        if (now.inputs[k] instanceof Secret && !(outputs[k] instanceof Secret)) {
            outputs[k] = makeSecret(outputs[k]!);
            any = true;
        }
    if (any) now.outputs = outputs;
}

function timestamp(): string {
    return new Date().toISOString();
}

/** The engine's own keys of a provider are no outputs. */
function outputsOfProvider(inputs: PropertyMap): PropertyMap {
    return Object.fromEntries(Object.entries(inputs).filter(([k]) => !k.startsWith("__")));
}

function invert(d: DetailedDiff): DetailedDiff {
    const swap: Record<string, DiffKind> = {
        add: "delete",
        "add-replace": "delete-replace",
        delete: "add",
        "delete-replace": "add-replace",
    };
    return Object.fromEntries(Object.entries(d).map(([k, v]) => [k, { ...v, kind: swap[v.kind] ?? v.kind }]));
}
