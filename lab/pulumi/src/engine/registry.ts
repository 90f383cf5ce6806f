/** Configured providers by reference, and the packages they are of. */
import { CommandError } from "../errors";
import { definePackage } from "../providers";
import type { PackageDefinition, Provider } from "../providers/provider";
import type { ResourceState } from "../state";
import { packageOf, parseReference } from "../urn";
import { containsUnknowns, type PropertyMap } from "../values";

/** `known` is false when it was configured with values that only the update will know. */
export type Configured = Provider & { known: boolean };

export class ProviderRegistry {
    private readonly definitions = new Map<string, PackageDefinition>();
    private readonly instances = new Map<string, Configured>();

    constructor(
        private readonly olds: readonly ResourceState[],
        private readonly aliased: ReadonlyMap<string, string>,
        private readonly root: string,
    ) {}

    definition(pkg: string): PackageDefinition {
        let d = this.definitions.get(pkg);
        if (!d) {
            d = definePackage(pkg, this.root);
            this.definitions.set(pkg, d);
        }
        return d;
    }

    /** Configures a provider under its reference. */
    configure(pkg: string, urn: string, id: string, inputs: PropertyMap): void {
        const key = `${urn}::${id}`;
        const known = !containsUnknowns(inputs);
        this.instances.get(key)?.close?.();
        this.instances.set(key, Object.assign(this.definition(pkg).configure(inputs, known), { known }));
    }

    /** The provider of a resource, taken from the old state if the program has not registered it. */
    get(ref: string, urn: string): Configured {
        const found = this.instances.get(ref);
        if (found) return found;
        const { urn: purn, id } = parseReference(ref);
        const target = this.aliased.get(purn);
        const renamed = target && this.instances.get(`${target}::${id}`);
        if (renamed) return renamed;
        const old = this.olds.find((r) => r.urn === purn && r.id === id);
        if (!old) throw new CommandError(`unknown provider '${ref}' for resource '${urn}'`);
        this.configure(packageOf(old.type), purn, id, old.inputs);
        return this.instances.get(ref)!;
    }

    close(): void {
        for (const p of this.instances.values()) p.close?.();
    }
}
