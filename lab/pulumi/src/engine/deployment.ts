/**
 * One update, preview, destroy or refresh: decides for each registered resource what to do (the official
 * step generator's rules), does it in parallel within limits, and keeps the state. See the README's table for what
 * differs from the official engine.
 */
import { BailError, CommandError, notSupported } from "../errors";
import type { DiagEvent, EngineEvent, Op } from "../events";
import { type DiffResult, noDiff, type Request, type Severity } from "../providers/provider";
import type { SnapshotManager } from "../snapshot";
import { newState, type ResourceState, type Snapshot } from "../state";
import {
    isProviderType,
    isRootStack,
    makeUrn,
    matchesTarget,
    packageOf,
    parseReference,
    parseUrn,
    STACK_TYPE,
    urnName,
    urnType,
} from "../urn";
import {
    Computed,
    containsSecrets,
    deepEquals,
    parsePath,
    pathContains,
    type PropertyMap,
    resetPaths,
    Secret,
    toReplace,
    UNKNOWN,
    type Value,
} from "../values";
import { Applier, markSecrets, ProtectedError } from "./apply";
import { type Alias, emptyGoal, type Goal, type Registration } from "./goal";
import { StateGraph } from "./graph";
import { HookRegistry } from "./hooks";
import { ProviderRegistry } from "./registry";
import { isDefaultProvider, isInternal, OPERATIONS, sameMark, type Step, stepInfo } from "./step";

export interface DeploymentOptions {
    project: string;
    stack: string;
    preview: boolean;
    parallel: number;
    /** Inputs of default providers and `pulumi:disable-default-providers`: decrypted config by full key. */
    config: ReadonlyMap<string, { text: string; secret: boolean }>;
    continueOnError?: boolean;
    ignoreProtect?: boolean;
    targets?: string[];
    targetDependents?: boolean;
    replaceTargets?: string[];
    emit: (e: EngineEvent) => void;
    prev: Snapshot;
    snapshots?: SnapshotManager;
    /** Filled by the engine; the snapshot manager reads it. */
    aliased: Map<string, string>;
    /** The project's folder, for assets and local commands. */
    root: string;
    /** What a refresh finds is what is counted and shown (`pulumi refresh`; not `up --refresh`). */
    refreshOnly?: boolean;
}

export class Deployment {
    private readonly olds = new Map<string, ResourceState>();
    private readonly graph: StateGraph;
    /** URN to the current state of what was registered. */
    private readonly news = new Map<string, ResourceState>();
    private readonly goals = new Map<string, Goal>();
    private readonly urns = new Set<string>();
    /** New URN to the old one it was found under. */
    private readonly aliases = new Map<string, string>();
    private readonly sames = new Set<string>();
    private readonly creates = new Set<string>();
    private readonly updates = new Set<string>();
    private readonly replaces = new Set<string>();
    private readonly deletes = new Set<string>();
    private readonly skippedCreates = new Set<string>();
    private readonly pendingDeletes = new Set<ResourceState>();
    private readonly dependentReplaceKeys = new Map<string, string[]>();
    private readonly targets: Set<string> | undefined;
    /** Steps whose outputs registerResourceOutputs will give. */
    private readonly pendingOutputs = new Map<string, Step>();
    private stackOutputs: { urn: string; outputs: PropertyMap } | undefined;

    private readonly registry: ProviderRegistry;
    private readonly applier: Applier;
    private readonly defaultProviders = new Map<string, Promise<string>>();

    readonly hooks: HookRegistry;

    private running = 0;
    private readonly waiting: (() => void)[] = [];
    private readonly inFlight = new Set<Promise<void>>();
    private readonly failedSteps: Step[] = [];
    /** Nothing new is started any more. */
    cancelled = false;
    failed = false;
    /** Something was tried and failed, as opposed to a program or a request that was wrong from the start. */
    stepFailed = false;
    private readonly onCancel: (() => void)[] = [];
    readonly changes: Partial<Record<Op, number>> = {};

    constructor(private readonly o: DeploymentOptions) {
        for (const r of o.prev.resources) if (!r.delete) this.olds.set(r.urn, r);
        this.graph = new StateGraph(o.prev.resources);
        this.registry = new ProviderRegistry(o.prev.resources, o.aliased, o.root);
        this.hooks = new HookRegistry(o.preview, (severity, message, urn) => this.diag(severity, message, urn));
        this.applier = new Applier({
            preview: o.preview,
            ignoreProtect: o.ignoreProtect ?? false,
            registry: this.registry,
            hooks: this.hooks,
            request: (r, timeout) => this.request(r, timeout),
            isDeleted: (urn) => this.deletes.has(urn),
            afterHookFailed: (message, urn) => {
                this.error(message, urn);
                this.stepFailed = true;
                if (!o.continueOnError) this.cancel();
            },
        });
        if (o.targets?.length) {
            this.targets = new Set();
            const all = o.prev.resources.map((r) => r.urn);
            for (const t of o.targets) {
                this.targets.add(t);
                for (const u of all) if (matchesTarget(t, u)) this.targets.add(u);
            }
        }
    }

    /* ---------- messages ---------- */

    diag(severity: Severity, message: string, urn = "", streamId = 0, ephemeral = false): void {
        const prefix = severity === "info" || severity === "info#err" ? "" : `${severity}: `;
        const e: DiagEvent = { kind: "diag", urn, prefix, message, severity, streamId, ephemeral };
        this.o.emit(e);
    }

    private error(message: string, urn = ""): void {
        this.failed = true;
        this.diag("error", message, urn);
    }

    /** Stops anything new; what runs is let finish. */
    cancel(): void {
        if (this.cancelled) return;
        this.cancelled = true;
        for (const f of this.onCancel) f();
    }

    whenCancelled(f: () => void): void {
        if (this.cancelled) f();
        else this.onCancel.push(f);
    }

    /** When it was cancelled and what ran then has ended. */
    whenOver(f: () => void): void {
        this.whenCancelled(() => void this.idle().then(f));
    }

    /* ---------- providers ---------- */

    /** The reference of the package's default provider, which is registered the first time it is asked for. */
    private defaultProvider(pkg: string, version: string, type: string): Promise<string> {
        const denied = this.o.config.get("pulumi:disable-default-providers");
        if (denied && pkg !== "pulumi") {
            const list: unknown = JSON.parse(denied.text);
            if (Array.isArray(list) && (list.includes(pkg) || list.includes("*")))
                throw new CommandError(
                    `Default provider for '${pkg}' disabled. '${type}' must use an explicit provider.`,
                );
        }
        const key = `${pkg}@${version}`;
        let ref = this.defaultProviders.get(key);
        if (!ref) {
            const inputs: PropertyMap = {};
            for (const [k, v] of this.o.config)
                if (k.startsWith(`${pkg}:`)) inputs[k.slice(pkg.length + 1)] = v.secret ? new Secret(v.text) : v.text;
            if (version) inputs.version = version;
            ref = this.register({
                ...emptyGoal,
                type: `pulumi:providers:${pkg}`,
                name: version ? `default_${version.replace(/[^A-Za-z0-9]/g, "_")}` : "default",
                custom: true,
                inputs,
                version,
            }).then((r) => `${r.state.urn}::${r.state.id || UNKNOWN}`);
            this.defaultProviders.set(key, ref);
        }
        return ref;
    }

    async invoke(token: string, args: PropertyMap, ref: string, version: string): Promise<PropertyMap> {
        if (token === "pulumi:pulumi:getResource") {
            const r = this.news.get(String(args.urn));
            if (!r) throw new CommandError(`unknown resource ${String(args.urn)}`);
            return { urn: r.urn, id: r.id, state: r.outputs };
        }
        const pkg = packageOf(token);
        const provider = this.registry.get(ref || (await this.defaultProvider(pkg, version, token)), token);
        if (!provider.invoke) throw notSupported(`function ${token}`);
        return provider.invoke(token, args, this.o.preview);
    }

    /* ---------- registration ---------- */

    /** Resolves when the resource is in place; never when the deployment ends before. */
    async register(goal: Goal): Promise<Registration> {
        const parent = this.goals.get(goal.parent);
        if (parent) {
            // What the official engine passes on from a parent.
            goal.protect ??= parent.protect;
            goal.retainOnDelete ??= parent.retainOnDelete;
            goal.deletedWith ||= parent.deletedWith;
        }
        if (goal.custom && !isProviderType(goal.type)) {
            const pkg = packageOf(goal.type);
            for (let p: Goal | undefined = goal; p && !goal.provider; p = this.goals.get(p.parent))
                goal.provider = p.providers[pkg] ?? "";
            if (goal.provider && packageOf(urnType(parseReference(goal.provider).urn)) !== pkg) goal.provider = "";
            goal.provider ||= await this.defaultProvider(pkg, goal.version, goal.type);
        } else if (isProviderType(goal.type)) {
            if (goal.version) goal.inputs = { ...goal.inputs, version: goal.version };
        } else goal.provider = "";
        return new Promise((resolve, reject) => {
            if (this.cancelled) return;
            let steps: Step[];
            const urn = this.urnOf(goal);
            try {
                steps = this.generate(goal, urn, resolve);
            } catch (e) {
                if (!(e instanceof BailError)) this.error((e as Error).message, isDefaultProvider(urn) ? "" : urn);
                this.failed = true;
                this.cancel();
                if (goal.type.startsWith("pulumi:providers:")) reject(e as Error);
                return;
            }
            this.run(steps);
        });
    }

    private urnOf(goal: Goal): string {
        const q = goal.parent ? parseUrn(goal.parent).qualifiedType : "";
        return makeUrn(this.o.stack, this.o.project, q, goal.type, goal.name);
    }

    private aliasUrns(goal: Goal): string[] {
        const collapse = (a: Alias): string => {
            if (a.urn) return a.urn;
            const parent = a.parentUrn || (a.noParent ? "" : goal.parent);
            const q = parent ? parseUrn(parent).qualifiedType : "";
            return makeUrn(
                a.stack || this.o.stack,
                a.project || this.o.project,
                q,
                a.type || goal.type,
                a.name || goal.name,
            );
        };
        const out = new Set(goal.aliases.map(collapse));
        const oldParent = this.aliases.get(goal.parent);
        if (oldParent) {
            const inherit = (type: string, name: string): string => {
                const parentName = urnName(goal.parent);
                const n = name.startsWith(parentName) ? urnName(oldParent) + name.slice(parentName.length) : name;
                return makeUrn(this.o.stack, this.o.project, parseUrn(oldParent).qualifiedType, type, n);
            };
            out.add(inherit(goal.type, goal.name));
            for (const a of [...out]) out.add(inherit(urnType(a), urnName(a)));
        }
        return [...out];
    }

    private findOld(goal: Goal, urn: string): ResourceState | undefined {
        const by = this.o.aliased.get(urn);
        if (by)
            throw new CommandError(
                `Duplicate resource URN '${urn}' conflicting with alias on resource with URN '${by}'`,
            );
        for (const u of [urn, ...this.aliasUrns(goal)]) {
            const old = this.olds.get(u);
            if (!old) continue;
            if (u !== urn) {
                const other = this.urns.has(u) ? u : this.o.aliased.get(u);
                if (other)
                    throw new CommandError(
                        `Duplicate resource alias '${u}' applied to resource with URN '${urn}' conflicting with resource with URN '${other}'`,
                    );
                this.o.aliased.set(u, urn);
                this.aliases.set(urn, u);
            }
            return old;
        }
        return undefined;
    }

    private request(r: { urn: string; type: string }, timeout?: number): Request {
        return {
            urn: r.urn,
            type: r.type,
            name: urnName(r.urn),
            preview: this.o.preview,
            log: (severity, message, ephemeral = false) => this.diag(severity, message, r.urn, 0, ephemeral),
            timeout,
        };
    }

    private isTargeted(goal: Goal, urn: string): boolean {
        if (!this.targets || isProviderType(goal.type) || goal.type === STACK_TYPE) return true;
        if (this.targets.has(urn) || this.o.targets!.some((t) => matchesTarget(t, urn))) {
            this.targets.add(urn);
            return true;
        }
        if (!this.o.targetDependents) return false;
        const deps = [
            goal.parent,
            goal.deletedWith,
            ...goal.dependencies,
            ...Object.values(goal.propertyDependencies).flat(),
        ];
        if (!deps.some((d) => d && this.targets!.has(d) && !isRootStack(d))) return false;
        this.targets.add(urn);
        return true;
    }

    private isTargetedReplace(urn: string): boolean {
        return this.o.replaceTargets?.some((t) => matchesTarget(t, urn)) ?? false;
    }

    private checkProvider(r: Request, provider: string, olds: PropertyMap | undefined, news: PropertyMap): PropertyMap {
        let result;
        if (isProviderType(r.type)) result = this.registry.definition(packageOf(r.type)).checkConfig(news);
        else {
            const p = this.registry.get(provider, r.urn);
            if (!p.known) return news;
            result = p.check(r, olds, news);
        }
        for (const f of result.failures) {
            this.error(
                f.property
                    ? `${r.type} resource '${r.name}': property ${f.property} value {${shortValue(news[f.property] ?? null)}} has a problem: ${f.reason}`
                    : `${r.type} resource '${r.name}' has a problem: ${f.reason}`,
                r.urn,
            );
        }
        if (result.failures.length > 0) throw new BailError();
        return result.inputs;
    }

    private generate(goal: Goal, urn: string, done: (r: Registration) => void): Step[] {
        if (this.urns.has(urn)) throw new CommandError(`Duplicate resource URN '${urn}'; try giving it a unique name`);
        if (goal.parent && !this.urns.has(goal.parent))
            throw new CommandError(`could not find parent resource ${goal.parent}`);
        this.urns.add(urn);
        this.goals.set(urn, goal);
        const old = this.findOld(goal, urn);
        const recreating = this.deletes.has(urn) || (old !== undefined && this.deletes.has(old.urn));
        const targeted = this.isTargeted(goal, urn);
        const now = newState({
            urn,
            type: goal.type,
            custom: goal.custom,
            inputs: goal.inputs,
            parent: goal.parent,
            protect: goal.protect ?? false,
            dependencies: goal.dependencies,
            provider: goal.provider,
            propertyDependencies: goal.propertyDependencies,
            additionalSecretOutputs: goal.additionalSecretOutputs,
            customTimeouts: goal.customTimeouts,
            retainOnDelete: goal.retainOnDelete ?? false,
            deletedWith: goal.deletedWith,
            replaceWith: goal.replaceWith,
            ignoreChanges: goal.ignoreChanges,
            replaceOnChanges: goal.replaceOnChanges,
            hideDiffs: goal.hideDiffs,
            hooks: goal.hooks,
            created: old?.created,
            modified: old?.modified,
        });
        this.news.set(urn, now);
        const fresh = recreating || !old || this.isTargetedReplace(urn);
        const r = this.request(now);
        let inputs = goal.inputs;
        if (old && goal.ignoreChanges.length > 0) inputs = resetPaths(inputs, old.inputs, goal.ignoreChanges);
        if (goal.custom) {
            if (!targeted) inputs = old?.inputs ?? inputs;
            else
                inputs = this.checkProvider(
                    r,
                    goal.provider,
                    fresh ? undefined : old!.inputs,
                    fresh ? goal.inputs : inputs,
                );
        }
        now.inputs = inputs;

        if (recreating) {
            this.deletes.delete(urn);
            this.deletes.delete(old!.urn);
            this.replaces.add(urn);
            const keys = this.dependentReplaceKeys.get(old!.urn) ?? [];
            return [
                { op: "replace", urn, old, new: now, logical: true },
                { op: "create-replacement", urn, old, new: now, keys, logical: false, done },
            ];
        }
        if (!old) {
            if (!targeted) {
                this.sames.add(urn);
                this.skippedCreates.add(urn);
                return [{ op: "same", urn, old: now, new: now, logical: true, skippedCreate: true, done }];
            }
            this.checkSkipped(now);
            this.creates.add(urn);
            return [{ op: "create", urn, new: now, logical: true, done }];
        }
        if (!targeted) {
            this.sames.add(urn);
            return [{ op: "same", urn, old, new: { ...old, urn }, logical: true, done }];
        }
        this.checkSkipped(now);

        let diff: DiffResult;
        try {
            diff = this.diff(goal, urn, old, now, r);
        } catch (e) {
            throw e instanceof BailError ? e : new CommandError((e as Error).message);
        }
        diff = applyReplaceOnChanges(diff, goal.replaceOnChanges);
        const replace =
            diff.changes &&
            (diff.replaceKeys.length > 0 ||
                Object.values(diff.detailedDiff ?? {}).some((d) => d.kind.endsWith("-replace")));
        if (replace || old.pendingReplacement) return this.replaceSteps(goal, old, now, diff, r, done);
        if (diff.changes || old.initErrors.length > 0) {
            this.updates.add(urn);
            return [
                {
                    op: "update",
                    urn,
                    old,
                    new: now,
                    diffs: diff.changedKeys,
                    detailedDiff: diff.detailedDiff,
                    logical: true,
                    done,
                },
            ];
        }
        this.sames.add(urn);
        return [{ op: "same", urn, old, new: now, logical: true, done }];
    }

    /** With --target: nothing may depend on what was left out. */
    private checkSkipped(now: ResourceState): void {
        for (const d of [now.parent, ...now.dependencies])
            if (this.skippedCreates.has(d)) {
                this.error(`Resource '${now.urn}' depends on '${d}' which was was not specified in --target list.`);
                if (!this.o.preview) throw new BailError();
                this.skippedCreates.delete(d);
            }
    }

    private diff(goal: Goal, urn: string, old: ResourceState, now: ResourceState, r: Request): DiffResult {
        const replaceFor = (key: string): DiffResult => ({ ...noDiff, changes: true, replaceKeys: [key] });
        if (this.isTargetedReplace(urn)) return replaceFor("id");
        if (now.replaceWith.some((u) => this.replaces.has(u))) return replaceFor("replaceWith");
        if (now.deletedWith && this.replaces.has(now.deletedWith)) return replaceFor("deletedWith");
        if (this.providerChanged(old, now)) return replaceFor("provider");
        if (!goal.custom) return deepEquals(old.inputs, now.inputs) ? noDiff : { ...noDiff, changes: true };
        if (isProviderType(goal.type))
            return this.registry.definition(packageOf(goal.type)).diffConfig(old.inputs, now.inputs);
        return this.diffResource(goal.provider, r, old, now.inputs, goal.ignoreChanges);
    }

    private diffResource(
        ref: string,
        r: Request,
        old: ResourceState,
        inputs: PropertyMap,
        ignoreChanges: string[],
    ): DiffResult {
        const p = this.registry.get(ref, r.urn);
        if (!p.known) {
            this.diag(
                "warning",
                "The provider for this resource has inputs that are not known during preview.\n" +
                    "This preview may not correctly represent the changes that will be applied during an update.",
                r.urn,
            );
            return { ...noDiff, changes: true };
        }
        return p.diff(r, old.id, old.inputs, old.outputs, inputs, ignoreChanges);
    }

    private providerChanged(old: ResourceState, now: ResourceState): boolean {
        if (old.provider === now.provider) return false;
        if (!old.provider || !now.provider) return true;
        const oldRef = parseReference(old.provider);
        const newRef = parseReference(now.provider);
        if (this.o.aliased.get(oldRef.urn) === newRef.urn && oldRef.id === newRef.id) return false;
        const oldProvider = this.o.prev.resources.find((p) => p.urn === oldRef.urn && p.id === oldRef.id);
        const newProvider = this.news.get(newRef.urn);
        if (!oldProvider || !newProvider) return true;
        const d = this.registry
            .definition(packageOf(newProvider.type))
            .diffConfig(oldProvider.inputs, newProvider.inputs);
        return d.replaceKeys.length > 0;
    }

    private replaceSteps(
        goal: Goal,
        old: ResourceState,
        now: ResourceState,
        diff: DiffResult,
        r: Request,
        done: (r: Registration) => void,
    ): Step[] {
        const urn = now.urn;
        if (now.protect && old.protect && !this.o.ignoreProtect) {
            this.error(
                `unable to replace resource "${urn}"\nas it is currently marked for protection. To unprotect the resource, ` +
                    "remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`",
                urn,
            );
            if (!this.o.preview) throw new BailError();
        }
        this.replaces.add(urn);
        // Defaults are worked out anew: nothing is carried over from the old one.
        if (goal.custom && !this.isTargetedReplace(urn))
            now.inputs = this.checkProvider(r, goal.provider, undefined, goal.inputs);
        const parts = {
            old,
            new: now,
            keys: diff.replaceKeys,
            diffs: diff.changedKeys,
            detailedDiff: diff.detailedDiff,
        };
        const create: Step = { op: "create-replacement", urn, ...parts, logical: false, done };
        const replace: Step = { op: "replace", urn, ...parts, logical: true };
        if (!(goal.deleteBeforeReplace ?? diff.deleteBeforeReplace)) {
            return [{ ...create, pendingDelete: !old.pendingReplacement }, replace];
        }
        const steps: Step[] = [];
        for (const { res, keys } of this.dependentReplacements(old).reverse()) {
            if (this.pendingDeletes.has(res)) continue;
            this.dependentReplaceKeys.set(res.urn, keys);
            if (res.protect && !this.o.ignoreProtect) {
                this.error(
                    `unable to replace resource "${res.urn}" as part of replacing "${urn}" as it is currently marked for protection. ` +
                        "To unprotect the resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`",
                    res.urn,
                );
                throw new BailError();
            }
            steps.push({ op: "delete-replaced", urn: res.urn, old: res, logical: false, beforeReplace: true });
            this.deletes.add(res.urn);
            this.pendingDeletes.add(res);
        }
        if (!old.pendingReplacement) {
            this.deletes.add(old.urn);
            steps.push({ op: "delete-replaced", urn: old.urn, old, logical: false, beforeReplace: true });
        }
        return [...steps, replace, create];
    }

    /** Resources that must go before `root` does because its deletion would replace them; in dependency order. */
    private dependentReplacements(root: ResourceState): { res: ResourceState; keys: string[] }[] {
        const out: { res: ResourceState; keys: string[] }[] = [];
        const set = new Set([root.urn]);
        const dependents = new Set([root.urn]);
        const operated = (u: string): boolean => this.isOperatedOn(u) || this.deletes.has(u);
        for (const r of this.o.prev.resources.slice(this.graph.position.get(root)! + 1)) {
            if (operated(r.urn)) continue;
            const deps = [
                ...r.dependencies,
                ...Object.values(r.propertyDependencies).flat(),
                r.deletedWith,
                ...r.replaceWith,
            ];
            if (r.provider) deps.push(parseReference(r.provider).urn);
            if (!deps.some((d) => d && dependents.has(d))) continue;
            dependents.add(r.urn);
            if (!r.custom || r.delete) continue;
            let keys: string[] | undefined;
            if (r.provider && set.has(parseReference(r.provider).urn)) keys = [];
            else if ((r.deletedWith && set.has(r.deletedWith)) || r.replaceWith.some((u) => set.has(u))) keys = [];
            else {
                const inputs: PropertyMap = {};
                let touched = false;
                for (const [k, v] of Object.entries(r.inputs)) {
                    const t = r.propertyDependencies[k]?.some((d) => set.has(d)) ?? false;
                    touched ||= t;
                    inputs[k] = t ? Computed.value : v;
                }
                if (!touched) continue;
                let d = isProviderType(r.type)
                    ? this.registry.definition(packageOf(r.type)).diffConfig(r.inputs, inputs)
                    : this.diffResource(r.provider, { ...this.request(r), preview: true }, r, inputs, r.ignoreChanges);
                d = applyReplaceOnChanges(d, r.replaceOnChanges);
                if (d.replaceKeys.length > 0) keys = d.replaceKeys;
            }
            if (keys) {
                out.push({ res: r, keys });
                set.add(r.urn);
            }
        }
        return out;
    }

    private isOperatedOn(urn: string): boolean {
        const u = this.o.aliased.get(urn) ?? urn;
        return this.sames.has(u) || this.creates.has(u) || this.updates.has(u) || this.replaces.has(u);
    }

    /* ---------- execution ---------- */

    /** Starts a chain of steps; they go one after another, chains side by side. */
    private run(steps: Step[]): void {
        const p: Promise<void> = this.runChain(steps)
            .catch((e: Error) => {
                this.error(e.message);
                this.cancel();
            })
            .finally(() => this.inFlight.delete(p));
        this.inFlight.add(p);
    }

    private async runChain(steps: Step[]): Promise<void> {
        if (this.running >= this.o.parallel) await new Promise<void>((r) => this.waiting.push(r));
        else this.running++;
        try {
            for (const s of steps) {
                if (this.cancelled) return;
                if (!(await this.runStep(s))) return;
            }
        } finally {
            const next = this.waiting.shift();
            if (next) next();
            else this.running--;
        }
    }

    private async runStep(s: Step): Promise<boolean> {
        const { preview, snapshots, emit } = this.o;
        const hidden = isInternal(s);
        if (!hidden && !s.skippedCreate) emit({ kind: "pre", step: stepInfo(s), planning: preview });
        const touches = OPERATIONS[s.op];
        const pending = s.op === "create" || s.op === "create-replacement" || s.op === "update" ? s.new! : s.old!;
        if (!preview && snapshots && touches) await snapshots.begin(pending, touches);
        const before = s.op === "same" ? sameMark(s.old!) : "";
        try {
            await this.applier.apply(s);
        } catch (e) {
            const message = (e as Error).message;
            this.stepFailed = true;
            if (!preview && snapshots && touches) {
                snapshots.end(pending);
                await snapshots.write();
            }
            if (e instanceof ProtectedError) this.error(message, s.urn);
            else if (preview) this.error(`Preview failed: ${message}`, hidden ? "" : s.urn);
            else this.error(message, hidden ? "" : s.urn);
            if (!preview && !hidden) emit({ kind: "failed", step: stepInfo(s) });
            if (this.o.continueOnError || e instanceof ProtectedError) {
                this.failedSteps.push(s);
                if (s.new) s.done?.({ state: s.new, failed: true });
            } else this.cancel();
            return false;
        }
        if (s.new && s.op !== "replace") markSecrets(s, (m, urn) => this.diag("warning", m, urn));
        if (s.logical && s.new && s.op !== "refresh") this.pendingOutputs.set(s.urn, s);
        const counted = s.logical || (s.op === "refresh" && this.o.refreshOnly);
        const op: Op = s.op === "refresh" && this.o.refreshOnly && s.result ? s.result : s.op;
        if (counted && !hidden && !s.skippedCreate) this.changes[op] = (this.changes[op] ?? 0) + 1;
        const res = s.new ?? s.old!;
        if (!hidden && !s.skippedCreate && (preview || res.custom || s.op === "refresh" || s.op === "delete"))
            emit({ kind: "outputs", step: stepInfo(s, op), planning: preview });
        if (!preview && snapshots) await this.record(s, snapshots, before, touches !== undefined);
        if (s.new) s.done?.({ state: s.new, failed: false });
        return true;
    }

    private async record(s: Step, snapshots: SnapshotManager, before: string, wasPending: boolean): Promise<void> {
        const { old, new: now } = s;
        if (s.skippedCreate) return;
        switch (s.op) {
            case "same":
                snapshots.markDone(old!);
                snapshots.markNew(now!);
                if (before !== sameMark(now!)) await snapshots.write();
                return;
            case "create":
            case "create-replacement":
                snapshots.markNew(now!);
                if (old?.pendingReplacement) snapshots.markDone(old);
                else if (old) snapshots.changed(old);
                break;
            case "update":
                snapshots.markDone(old!);
                snapshots.markNew(now!);
                break;
            case "delete":
            case "delete-replaced":
                if (!old!.pendingReplacement) snapshots.markDone(old!);
                else snapshots.changed(old!);
                break;
            case "remove-pending-replace":
                snapshots.markDone(old!);
                break;
            case "replace":
            case "refresh":
                return;
        }
        if (wasPending) snapshots.end(s.op.startsWith("delete") ? old! : now!);
        await snapshots.write();
    }

    async registerOutputs(urn: string, outputs: PropertyMap): Promise<void> {
        if (isRootStack(urn)) {
            // Kept for the end, when it is known whether all went well.
            this.stackOutputs = { urn, outputs };
            return;
        }
        await this.setOutputs(urn, outputs);
    }

    private async setOutputs(urn: string, outputs: PropertyMap): Promise<void> {
        const s = this.pendingOutputs.get(urn);
        if (!s) {
            if (this.skippedCreates.has(urn)) return;
            throw new CommandError(`cannot complete a resource '${urn}' whose registration isn't pending`);
        }
        this.pendingOutputs.delete(urn);
        if (s.skippedCreate) return;
        const now = s.new!;
        const changed = !deepEquals(now.outputs, outputs);
        now.outputs = outputs;
        if (!now.custom) {
            const call = { newInputs: now.inputs, newOutputs: now.outputs, newState: now, oldState: s.old };
            if (s.op === "create") await this.applier.afterHooks("AfterCreate", now, call);
            if (s.op === "update") await this.applier.afterHooks("AfterUpdate", now, call);
        }
        this.o.emit({ kind: "outputs", step: stepInfo(s), planning: this.o.preview });
        if (!this.o.preview && this.o.snapshots) {
            this.o.snapshots.changed(now);
            if (changed) await this.o.snapshots.write();
        }
    }

    closeProviders(): void {
        this.registry.close();
    }

    /** Waits until no step runs. */
    async idle(): Promise<void> {
        while (this.inFlight.size > 0) await Promise.all([...this.inFlight]);
    }

    /** After the program: deletes what it no longer wants. */
    async finish(): Promise<void> {
        await this.idle();
        if (this.cancelled) return;
        const steps = new Map(this.generateDeletes().map((s) => [s.old!, s]));
        for (const chain of this.graph.deletionOrder([...steps.keys()])) {
            if (this.cancelled) return;
            // What a failed deletion still needs must stay.
            const needed = new Set(
                this.failedSteps.flatMap((f) => [...this.graph.transitiveDependencies((f.old ?? f.new)!)]),
            );
            for (const r of chain) if (!needed.has(r)) this.run([steps.get(r)!]);
            await this.idle();
        }
    }

    /** Sets the stack's outputs. To be called last, also after a failure. */
    async finalize(): Promise<void> {
        const s = this.stackOutputs;
        if (!s || !this.pendingOutputs.has(s.urn)) return;
        const old = this.olds.get(s.urn)?.outputs ?? {};
        await this.setOutputs(s.urn, this.failed || this.cancelled ? { ...old, ...s.outputs } : s.outputs);
    }

    private generateDeletes(): Step[] {
        const steps: Step[] = [];
        const dependents = this.targets && this.targetedDeletes();
        for (const res of this.o.prev.resources) {
            if (dependents && !dependents.has(res.urn)) {
                if (!this.isOperatedOn(res.urn) && !res.delete) {
                    this.sames.add(res.urn);
                    this.o.snapshots?.markDone(res);
                    this.o.snapshots?.markNew({ ...res });
                }
                continue;
            }
            if (res.delete) {
                if (this.pendingDeletes.has(res)) continue;
                this.deletes.add(res.urn);
                steps.push({ op: "delete-replaced", urn: res.urn, old: res, logical: false });
            } else if (!this.isOperatedOn(res.urn)) {
                const gone = this.deletes.has(res.urn);
                this.deletes.add(res.urn);
                if (res.pendingReplacement || gone)
                    steps.push({ op: "remove-pending-replace", urn: res.urn, old: res, logical: false });
                else steps.push({ op: "delete", urn: res.urn, old: res, logical: true });
            }
        }
        return steps;
    }

    /** With --target: what may be deleted, with dependents when asked for. */
    private targetedDeletes(): Set<string> {
        const out = new Set(this.targets);
        const extra = new Set<string>();
        for (const r of this.o.prev.resources) {
            if (out.has(r.urn)) continue;
            const deps = [r.parent, r.deletedWith, ...r.dependencies, ...Object.values(r.propertyDependencies).flat()];
            if (r.provider) deps.push(parseReference(r.provider).urn);
            if (!this.isOperatedOn(r.urn) && deps.some((d) => d && out.has(d) && !this.isOperatedOn(d))) {
                out.add(r.urn);
                extra.add(r.urn);
            }
        }
        if (extra.size > 0 && !this.o.targetDependents) {
            for (const u of extra)
                this.error(
                    `Resource '${u}' will be destroyed but was not specified in --target list.\n` +
                        "Either include resource in --target list or pass --target-dependents to proceed.",
                );
            if (!this.o.preview) {
                this.cancel();
                return new Set();
            }
        }
        return out;
    }

    /* ---------- refresh ---------- */

    /** Reads every resource; gives the state to go on with. */
    async refresh(): Promise<Snapshot> {
        const steps = this.o.prev.resources
            .filter((r) => !this.targets || this.targets.has(r.urn))
            .map((old): Step => ({ op: "refresh", urn: old.urn, old, new: old, logical: false }));
        for (const s of steps) this.run([s]);
        await this.idle();
        const result = new Map(steps.map((s) => [s.old!, s]));
        const resources: ResourceState[] = [];
        const gone = new Set<string>();
        for (const r of this.o.prev.resources) {
            const s = result.get(r);
            if (s && s.result === "delete") gone.add(r.urn);
            else resources.push(s?.new ?? r);
        }
        for (const r of resources) {
            r.dependencies = r.dependencies.filter((d) => !gone.has(d));
            for (const k of Object.keys(r.propertyDependencies))
                r.propertyDependencies[k] = r.propertyDependencies[k]!.filter((d) => !gone.has(d));
            if (gone.has(r.deletedWith)) r.deletedWith = "";
        }
        return { resources, pendingOperations: [] };
    }
}

function shortValue(v: Value): string {
    const t = containsSecrets(v) ? "[secret]" : v instanceof Computed ? "unknown" : JSON.stringify(v);
    return t.length > 60 ? `${t.slice(0, 57)}...` : t;
}

function applyReplaceOnChanges(diff: DiffResult, paths: readonly string[]): DiffResult {
    if (!diff.changes || paths.length === 0) return diff;
    const parsed = paths.map(parsePath);
    const hit = (p: string): boolean => parsed.some((q) => pathContains(q, parsePath(p)));
    const keys = new Set(diff.replaceKeys);
    for (const k of diff.changedKeys) if (hit(k)) keys.add(k);
    const detailed = diff.detailedDiff && { ...diff.detailedDiff };
    for (const k of Object.keys(detailed ?? {}))
        if (hit(k)) {
            detailed![k] = { ...detailed![k]!, kind: toReplace(detailed![k]!.kind) };
            keys.add(k.split(/[.[]/, 1)[0]!);
        }
    return { ...diff, replaceKeys: [...keys], detailedDiff: detailed };
}
