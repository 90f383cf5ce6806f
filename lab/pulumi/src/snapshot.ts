/**
 * Keeps the state on disk in step with what the engine does, as the official snapshot manager: an operation is noted
 * before it starts and the result after it ended, so that a killed run leaves `pending_operations` behind.
 */
import type { Backend, StackRef } from "./backend";
import type { Crypter } from "./passphrase";
import { type OperationType, type PendingOperation, type ResourceState, type Snapshot, SnapshotWriter } from "./state";
import { parseReference } from "./urn";

export class SnapshotManager {
    /** Made or kept in this run, in order of completion: dependencies come first. */
    private readonly news: ResourceState[] = [];
    /** Old states that are superseded or gone. */
    private readonly done = new Set<ResourceState>();
    private pending: PendingOperation[] = [];
    private readonly writer: SnapshotWriter;
    private writing: Promise<void> | undefined;
    private next: Promise<void> | undefined;
    private dirty = false;

    constructor(
        private readonly backend: Backend,
        private readonly ref: StackRef,
        crypter: Crypter,
        private readonly base: Snapshot,
        /** Old URN to new URN of aliased resources. */
        private readonly aliased: ReadonlyMap<string, string>,
    ) {
        this.writer = new SnapshotWriter(crypter);
        // Creates that were cut off may have happened: they stay noted until a refresh clears them. Others are tried again.
        this.pending = base.pendingOperations.filter((o) => o.type === "creating");
    }

    begin(resource: ResourceState, type: OperationType): Promise<void> {
        this.pending.push({ resource, type });
        return this.write();
    }

    /** Takes back the note of an operation; the caller marks the outcome before and writes after. */
    end(resource: ResourceState): void {
        this.pending = this.pending.filter((o) => o.resource !== resource);
    }

    markNew(r: ResourceState): void {
        this.writer.invalidate(r);
        this.news.push(r);
        this.dirty = true;
    }

    markDone(r: ResourceState): void {
        this.done.add(r);
        this.dirty = true;
    }

    changed(r: ResourceState): void {
        this.writer.invalidate(r);
        this.dirty = true;
    }

    clearPendingCreates(): void {
        this.pending = [];
        this.dirty = true;
    }

    snapshot(): Snapshot {
        const resources = this.news.filter((r) => !this.done.has(r));
        const seen = new Set(resources);
        for (const r of this.base.resources) if (!this.done.has(r) && !seen.has(r)) resources.push(r);
        return {
            resources: this.aliased.size > 0 ? resources.map((r) => this.renamed(r)) : resources,
            pendingOperations: this.pending,
        };
    }

    private renamed(r: ResourceState): ResourceState {
        const fix = (u: string): string => this.aliased.get(u) ?? u;
        const provider = r.provider && parseReference(r.provider);
        const touched =
            [
                r.parent,
                r.deletedWith,
                ...r.dependencies,
                ...r.replaceWith,
                ...Object.values(r.propertyDependencies).flat(),
            ].some((u) => this.aliased.has(u)) ||
            (provider && this.aliased.has(provider.urn));
        if (!touched) return r;
        r.parent = fix(r.parent);
        r.deletedWith = fix(r.deletedWith);
        r.dependencies = r.dependencies.map(fix);
        r.replaceWith = r.replaceWith.map(fix);
        for (const [k, v] of Object.entries(r.propertyDependencies)) r.propertyDependencies[k] = v.map(fix);
        if (provider) r.provider = `${fix(provider.urn)}::${provider.id}`;
        this.writer.invalidate(r);
        return r;
    }

    /**
     * Done when a file with everything noted so far is in place. Calls during a write share the next one, so many
     * steps at a time do not mean as many writes of the whole state.
     */
    write(): Promise<void> {
        this.dirty = true;
        this.next ??= (async () => {
            // Steps that end at the same moment share a write; also, `next` must be set before it is taken back.
            await Promise.resolve();
            if (this.writing) await this.writing.catch(() => undefined);
            // What is asked for from here on needs a further write.
            this.next = undefined;
            this.dirty = false;
            const name = `organization/${this.ref.project}/${this.ref.stack}`;
            this.writing = this.backend.writeAsync(this.ref, this.writer.checkpoint(name, this.snapshot()));
            await this.writing;
        })();
        return this.next;
    }

    async close(): Promise<void> {
        if (this.next) await this.next;
        if (this.writing) await this.writing;
        if (this.dirty) await this.write();
    }
}
