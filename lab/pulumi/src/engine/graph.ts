/** Which of the old states depend on which. */
import type { ResourceState } from "../state";
import { parseReference } from "../urn";

export class StateGraph {
    /** Place in the state's list, which is in order of dependency. */
    readonly position = new Map<ResourceState, number>();
    private readonly states = new Map<string, ResourceState[]>();
    private readonly children = new Map<string, string[]>();

    constructor(readonly resources: readonly ResourceState[]) {
        for (const [i, r] of resources.entries()) {
            this.position.set(r, i);
            this.states.set(r.urn, [...(this.states.get(r.urn) ?? []), r]);
            if (r.parent) this.children.set(r.parent, [...(this.children.get(r.parent) ?? []), r.urn]);
        }
    }

    /** Old states a state depends on: dependencies, provider, parent, and the children of components among them. */
    dependenciesOf(r: ResourceState): ResourceState[] {
        const cursor = this.position.get(r) ?? Infinity;
        const out = new Set<ResourceState>();
        const deps = new Set([
            ...r.dependencies,
            ...Object.values(r.propertyDependencies).flat(),
            r.deletedWith,
            ...r.replaceWith,
        ]);
        if (r.provider) deps.add(parseReference(r.provider).urn);
        const add = (urn: string, children: boolean): void => {
            for (const c of this.states.get(urn) ?? []) {
                if (this.position.get(c)! >= cursor) continue;
                out.add(c);
                if (children && !c.custom) for (const k of this.children.get(urn) ?? []) add(k, true);
            }
        };
        for (const d of deps) if (d) add(d, true);
        if (r.parent) add(r.parent, false);
        return [...out];
    }

    /** Its dependencies, theirs, and so on. */
    transitiveDependencies(r: ResourceState, into = new Set<ResourceState>()): Set<ResourceState> {
        for (const d of this.dependenciesOf(r))
            if (!into.has(d)) {
                into.add(d);
                this.transitiveDependencies(d, into);
            }
        return into;
    }

    /** Groups that may be deleted side by side, dependents before what they depend on. */
    deletionOrder(condemned: readonly ResourceState[]): ResourceState[][] {
        const set = new Set(condemned);
        const levels = new Map<ResourceState, number>();
        const levelOf = (r: ResourceState): number => {
            let l = levels.get(r);
            if (l === undefined) {
                l = 0;
                levels.set(r, l);
                for (const d of this.dependenciesOf(r)) if (set.has(d)) l = Math.max(l, levelOf(d) + 1);
                levels.set(r, l);
            }
            return l;
        };
        const out: ResourceState[][] = [];
        for (const r of condemned) (out[levelOf(r)] ??= []).push(r);
        return out.reverse();
    }
}
