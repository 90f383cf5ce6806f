/** A stack's state: the resources, their serialization as a version 3 deployment, and secrets in it. */
import { createHash } from "node:crypto";
import { CommandError } from "./errors";
import type { Crypter } from "./passphrase";
import {
    Computed,
    formatPath,
    isObject,
    parsePath,
    type PropertyMap,
    Secret,
    SIG_KEY,
    toWire,
    fromWire,
    type Value,
} from "./values";
import { VERSION } from "./version";
import type { Untyped } from "./untyped";

const SIG_SECRET = "1b47061264138c4ac30d75fd1eb44270";

export interface CustomTimeouts {
    create?: number;
    update?: number;
    delete?: number;
}
export type HookKind =
    "BeforeCreate" | "AfterCreate" | "BeforeUpdate" | "AfterUpdate" | "BeforeDelete" | "AfterDelete" | "OnError";
export type Hooks = Partial<Record<HookKind, string[]>>;

export interface ResourceState {
    urn: string;
    type: string;
    custom: boolean;
    /** Replaced; waits for its deletion. */
    delete: boolean;
    id: string;
    inputs: PropertyMap;
    outputs: PropertyMap;
    parent: string;
    protect: boolean;
    external: boolean;
    dependencies: string[];
    initErrors: string[];
    provider: string;
    propertyDependencies: Record<string, string[]>;
    /** Deleted before its replacement, which is not made yet. */
    pendingReplacement: boolean;
    additionalSecretOutputs: string[];
    aliases: string[];
    customTimeouts: CustomTimeouts;
    retainOnDelete: boolean;
    deletedWith: string;
    replaceWith: string[];
    created?: string;
    modified?: string;
    ignoreChanges: string[];
    replaceOnChanges: string[];
    hideDiffs: string[];
    hooks: Hooks;
}

export function newState(
    s: Partial<ResourceState> & Pick<ResourceState, "urn" | "type" | "custom" | "inputs">,
): ResourceState {
    return {
        delete: false,
        id: "",
        outputs: {},
        parent: "",
        protect: false,
        external: false,
        dependencies: [],
        initErrors: [],
        provider: "",
        propertyDependencies: {},
        pendingReplacement: false,
        additionalSecretOutputs: [],
        aliases: [],
        customTimeouts: {},
        retainOnDelete: false,
        deletedWith: "",
        replaceWith: [],
        ignoreChanges: [],
        replaceOnChanges: [],
        hideDiffs: [],
        hooks: {},
        ...s,
    };
}

export type OperationType = "creating" | "updating" | "deleting" | "reading";
export interface PendingOperation {
    resource: ResourceState;
    type: OperationType;
}

export interface Snapshot {
    resources: ResourceState[];
    pendingOperations: PendingOperation[];
    /** `state.salt` of the passphrase provider, when the state names one. */
    salt?: string;
}

/** Ciphertexts are kept with the secret they came from or went to: unchanged secrets stay as they are in the file. */
const ciphertexts = new WeakMap<Secret, { crypter: Crypter; text: string }>();

export function serializeValue(v: Value, secret: (s: Secret) => unknown): Untyped {
    if (v instanceof Secret) return secret(v);
    if (v instanceof Computed) return toWire(v);
    if (Array.isArray(v)) return v.map((e) => serializeValue(e, secret));
    if (isObject(v)) return serializeMap(v, secret);
    return toWire(v);
}

export function serializeMap(m: PropertyMap, secret: (s: Secret) => unknown): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    for (const k of Object.keys(m).sort()) out[k] = serializeValue(m[k]!, secret);
    return out;
}

export function encryptedSecret(crypter: Crypter): (s: Secret) => unknown {
    return (s) => {
        const known = ciphertexts.get(s);
        let text = known?.crypter === crypter ? known.text : undefined;
        if (text === undefined) {
            text = crypter.encrypt(JSON.stringify(serializeValue(s.element, plainSecret)));
            ciphertexts.set(s, { crypter, text });
        }
        return { [SIG_KEY]: SIG_SECRET, ciphertext: text };
    };
}

/** For `stack export --show-secrets`. */
export function plainSecret(s: Secret): unknown {
    return { [SIG_KEY]: SIG_SECRET, plaintext: JSON.stringify(serializeValue(s.element, plainSecret)) };
}

function seconds(t: CustomTimeouts): Record<string, number> | undefined {
    const e = Object.entries(t).filter(([, v]) => v);
    return e.length > 0 ? Object.fromEntries(e) : undefined;
}

const nonEmpty = <T>(a: T[]): T[] | undefined => (a.length > 0 ? a : undefined);

/** Field order as the official apitype.ResourceV3. */
export function serializeResource(r: ResourceState, secret: (s: Secret) => unknown): Record<string, unknown> {
    const deps = Object.entries(r.propertyDependencies);
    const hooks = Object.entries(r.hooks).filter(([, v]) => v && v.length > 0);
    const out: Record<string, unknown> = {
        urn: r.urn,
        custom: r.custom,
        delete: r.delete || undefined,
        id: r.id || undefined,
        type: r.type,
        inputs: Object.keys(r.inputs).length > 0 ? serializeMap(r.inputs, secret) : undefined,
        outputs: Object.keys(r.outputs).length > 0 ? serializeMap(r.outputs, secret) : undefined,
        parent: r.parent || undefined,
        protect: r.protect || undefined,
        external: r.external || undefined,
        dependencies: nonEmpty(r.dependencies),
        initErrors: nonEmpty(r.initErrors),
        provider: r.provider || undefined,
        propertyDependencies:
            deps.length > 0 ? Object.fromEntries(deps.map(([k, v]) => [k, v.length > 0 ? v : null])) : undefined,
        pendingReplacement: r.pendingReplacement || undefined,
        additionalSecretOutputs: nonEmpty(r.additionalSecretOutputs),
        aliases: nonEmpty(r.aliases),
        customTimeouts: seconds(r.customTimeouts),
        retainOnDelete: r.retainOnDelete || undefined,
        deletedWith: r.deletedWith || undefined,
        replaceWith: nonEmpty(r.replaceWith),
        created: r.created,
        modified: r.modified,
        ignoreChanges: nonEmpty(r.ignoreChanges),
        hideDiff: nonEmpty(r.hideDiffs.map(parsePath)),
        replaceOnChanges: nonEmpty(r.replaceOnChanges),
        resourceHooks: hooks.length > 0 ? Object.fromEntries(hooks) : undefined,
    };
    return out;
}

const INDENT = " ".repeat(16);
const SEPARATOR = Buffer.from(",\n");

/** Keeps the text of each resource as bytes: only what changed since the last write is serialized again, and nothing is joined or copied. */
export class SnapshotWriter {
    private texts = new WeakMap<ResourceState, Buffer>();
    constructor(private readonly crypter: Crypter) {}

    /** To be called for each resource whose fields changed. */
    invalidate(r: ResourceState): void {
        this.texts.delete(r);
    }

    private text(r: ResourceState): Buffer {
        let t = this.texts.get(r);
        if (t === undefined) {
            const json = JSON.stringify(serializeResource(r, encryptedSecret(this.crypter)), null, 4);
            t = Buffer.from(INDENT + json.replaceAll("\n", `\n${INDENT}`));
            this.texts.set(r, t);
        }
        return t;
    }

    /** The stack's file, in parts to be written one after another. */
    checkpoint(stack: string, s: Snapshot): Buffer[] {
        const head = JSON.stringify(
            {
                manifest: manifest(),
                secrets_providers: { type: "passphrase", state: { salt: this.crypter.salt } },
            },
            null,
            4,
        );
        const body = head.slice(0, -2).replaceAll("\n", "\n        ");
        const parts: Buffer[] = [];
        const add = (text: string): number => parts.push(Buffer.from(text));
        add(
            `{\n    "version": 3,\n    "checkpoint": {\n        "stack": ${JSON.stringify(stack)},\n        "latest": ${body}`,
        );
        if (s.resources.length > 0) {
            add(`,\n            "resources": [\n`);
            for (const [i, r] of s.resources.entries()) {
                if (i > 0) parts.push(SEPARATOR);
                parts.push(this.text(r));
            }
            add("\n            ]");
        }
        if (s.pendingOperations.length > 0) {
            add(`,\n            "pending_operations": [\n`);
            for (const [i, o] of s.pendingOperations.entries()) {
                if (i > 0) parts.push(SEPARATOR);
                add(`${INDENT}{\n${INDENT}"resource":\n`);
                parts.push(this.text(o.resource));
                add(`,\n${INDENT}"type": ${JSON.stringify(o.type)}\n${INDENT}}`);
            }
            add("\n            ]");
        }
        add(`,\n            "metadata": {}\n        }\n    }\n}\n`);
        return parts;
    }
}

function manifest(): Record<string, string> {
    const version = `v${VERSION}`;
    return {
        time: new Date().toISOString(),
        magic: createHash("sha256").update(version).digest("hex"),
        version,
    };
}

/** For `stack export`. */
export function exportDeployment(s: Snapshot, crypter: Crypter, showSecrets: boolean): unknown {
    const secret = showSecrets ? plainSecret : encryptedSecret(crypter);
    return {
        version: 3,
        deployment: {
            manifest: manifest(),
            secrets_providers: { type: "passphrase", state: { salt: crypter.salt } },
            resources: s.resources.map((r) => serializeResource(r, secret)),
            ...(s.pendingOperations.length > 0
                ? {
                      pending_operations: s.pendingOperations.map((o) => ({
                          resource: serializeResource(o.resource, secret),
                          type: o.type,
                      })),
                  }
                : {}),
            metadata: {},
        },
    };
}

/** Reads `latest` of a checkpoint or `deployment` of an export. */
export function readDeployment(raw: Untyped, crypter: Crypter | undefined): Snapshot {
    const decode = (v: Untyped): Value => {
        if (typeof v === "object" && v !== null && v[SIG_KEY] === SIG_SECRET) {
            if (typeof v.plaintext === "string") return new Secret(decode(JSON.parse(v.plaintext)));
            if (typeof v.ciphertext === "string") {
                if (!crypter) throw new CommandError("the state has secrets but no passphrase was given");
                const s = new Secret(decode(JSON.parse(crypter.decrypt(v.ciphertext))));
                ciphertexts.set(s, { crypter, text: v.ciphertext });
                return s;
            }
        }
        if (Array.isArray(v)) return v.map(decode);
        if (typeof v === "object" && v !== null && v[SIG_KEY] === undefined) {
            const out: PropertyMap = {};
            for (const k of Object.keys(v)) out[k] = decode(v[k]);
            return out;
        }
        return fromWire(v);
    };
    const resource = (r: Untyped): ResourceState => {
        if (typeof r?.urn !== "string" || typeof r.type !== "string")
            throw new CommandError("could not deserialize deployment: a resource without urn or type");
        if (r.viewOf)
            throw new CommandError(`could not deserialize deployment: ${r.urn} is a view, which is not supported`);
        const deps: Record<string, string[]> = {};
        for (const [k, v] of Object.entries(r.propertyDependencies ?? {})) deps[k] = (v as string[] | null) ?? [];
        return newState({
            urn: r.urn,
            type: r.type,
            custom: r.custom === true,
            delete: r.delete === true,
            id: r.id ?? "",
            inputs: decode(r.inputs ?? {}) as PropertyMap,
            outputs: decode(r.outputs ?? {}) as PropertyMap,
            parent: r.parent ?? "",
            protect: r.protect === true,
            external: r.external === true,
            dependencies: r.dependencies ?? [],
            initErrors: r.initErrors ?? [],
            provider: r.provider ?? "",
            propertyDependencies: deps,
            pendingReplacement: r.pendingReplacement === true,
            additionalSecretOutputs: r.additionalSecretOutputs ?? [],
            aliases: r.aliases ?? [],
            customTimeouts: r.customTimeouts ?? {},
            retainOnDelete: r.retainOnDelete === true,
            deletedWith: r.deletedWith ?? "",
            replaceWith: r.replaceWith ?? [],
            created: r.created,
            modified: r.modified,
            ignoreChanges: r.ignoreChanges ?? [],
            replaceOnChanges: r.replaceOnChanges ?? [],
            hideDiffs: (r.hideDiff ?? []).map(formatPath),
            hooks: r.resourceHooks ?? {},
        });
    };
    return {
        resources: (raw?.resources ?? []).map(resource),
        pendingOperations: (raw?.pending_operations ?? []).map((o: Untyped) => ({
            resource: resource(o.resource),
            type: o.type,
        })),
        salt: raw?.secrets_providers?.state?.salt,
    };
}

/** A stack whose resources do not hang together must not be worked on. */
export function verifySnapshot(s: Snapshot): void {
    const seen = new Set<string>();
    for (const r of s.resources) {
        const bad = (what: string, urn: string): CommandError =>
            new CommandError(`snapshot integrity failure: resource ${r.urn} refers to unknown ${what} ${urn}`);
        if (r.parent && !seen.has(r.parent)) throw bad("parent", r.parent);
        for (const d of r.dependencies) if (!seen.has(d)) throw bad("dependency", d);
        if (r.provider && !seen.has(r.provider.slice(0, r.provider.lastIndexOf("::"))))
            throw bad("provider", r.provider);
        if (seen.has(r.urn) && !r.delete && !s.resources.some((o) => o !== r && o.urn === r.urn && o.delete))
            throw new CommandError(`snapshot integrity failure: duplicate resource ${r.urn}`);
        seen.add(r.urn);
    }
}
