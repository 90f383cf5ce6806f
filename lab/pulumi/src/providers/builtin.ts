/** The package `pulumi`, which is part of the engine: Stash. It is called in process, so secrets stay marked. */
import { randomUUID } from "node:crypto";
import { notSupported } from "../errors";
import { deepEquals, type PropertyMap } from "../values";
import { noDiff, type PackageDefinition, type Provider, type Request } from "./provider";

const STASH = "pulumi:index:Stash";

export function builtinPackage(): PackageDefinition {
    return {
        // Nothing of the stack's configuration is the provider's.
        checkConfig: () => ({ inputs: {}, failures: [] }),
        diffConfig: () => noDiff,
        configure: () => builtins,
    };
}

const builtins: Provider = {
    check(r, _olds, news) {
        if (r.type === "pulumi:pulumi:StackReference") throw notSupported(`resource type ${r.type}`);
        if (r.type !== STASH) throw new Error(`unrecognized resource type '${r.type}'`);
        const failures = Object.keys(news)
            .filter((k) => k !== "input")
            .map((property) => ({ property, reason: `unknown property "${property}"` }))
            .slice(0, 1);
        if (failures.length === 0 && !("input" in news))
            failures.push({ property: "input", reason: 'missing required property "input"' });
        return { inputs: news, failures };
    },
    diff(_r: Request, _id, oldInputs, _oldOutputs, newInputs) {
        if (deepEquals(oldInputs.input, newInputs.input)) return noDiff;
        return { ...noDiff, changes: true, changedKeys: ["input"] };
    },
    async create(r, inputs) {
        return { id: r.preview ? "" : randomUUID(), outputs: { input: inputs.input!, output: inputs.input! } };
    },
    /** What was stashed first stays. */
    async update(_r, _id, _oldInputs, oldOutputs: PropertyMap, newInputs) {
        return { input: newInputs.input!, output: oldOutputs.output ?? null };
    },
    async delete() {},
    async read(_r, id, inputs, outputs) {
        return { id, inputs, outputs };
    },
};
