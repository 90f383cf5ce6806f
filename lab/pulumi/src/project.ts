/** Pulumi.yaml and Pulumi.<stack>.yaml: reading, checking against the declared types, defaults, and editing. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import semver from "semver";
import {
    Document,
    isAlias,
    isMap,
    isNode,
    isScalar,
    isSeq,
    parse,
    parseDocument,
    visit,
    type Alias,
    type Node,
} from "yaml";
import { CommandError, notSupported } from "./errors";
import type { Crypter } from "./passphrase";
import { parsePath, type PropertyPath } from "./values";
import { VERSION } from "./version";
import type { Untyped } from "./untyped";

interface ItemsType {
    type: string;
    items?: ItemsType;
}
interface ConfigDeclaration {
    type?: string;
    items?: ItemsType;
    description?: string;
    default?: unknown;
    value?: unknown;
    secret?: boolean;
}

export interface Project {
    name: string;
    /** Folder of Pulumi.yaml. */
    root: string;
    /** Folder the program runs in: `main` of Pulumi.yaml, relative to root. */
    programDir: string;
    nodeArgs: string;
    typescript: boolean;
    stackConfigDir: string;
    backendUrl?: string;
    config: Record<string, ConfigDeclaration>;
}

/** Looks for Pulumi.yaml from `dir` upwards. */
export function loadProject(dir: string): Project {
    let at = path.resolve(dir);
    let file: string | undefined;
    for (;;) {
        for (const ext of ["yaml", "yml"]) {
            const f = path.join(at, `Pulumi.${ext}`);
            if (!file && existsSync(f)) file = f;
        }
        if (file || path.dirname(at) === at) break;
        at = path.dirname(at);
    }
    if (!file)
        throw new CommandError(
            "no Pulumi.yaml project file found (searching upwards from " +
                `${path.resolve(dir)}). If you have not created a project yet, use \`pulumi new\` to do so`,
        );
    let raw: Untyped;
    try {
        raw = parse(readFileSync(file, "utf8"));
    } catch (e) {
        throw new CommandError(`could not read current project: unmarshalling ${file}: ${(e as Error).message}`);
    }
    const bad = (m: string): CommandError => new CommandError(`could not validate '${file}': ${m}`);
    if (typeof raw !== "object" || raw === null) throw bad("project is missing");
    if (typeof raw.name !== "string" || !/^[A-Za-z0-9_.-]{1,100}$/.test(raw.name))
        throw bad("project is missing a valid 'name' attribute");
    const runtime = typeof raw.runtime === "string" ? { name: raw.runtime, options: {} } : raw.runtime;
    if (typeof runtime?.name !== "string") throw bad("project is missing a 'runtime' attribute");
    if (runtime.name !== "nodejs") throw notSupported(`runtime ${JSON.stringify(runtime.name)}`);
    const options = runtime.options ?? {};
    for (const k of Object.keys(options))
        if (!["typescript", "nodeargs", "packagemanager"].includes(k)) throw notSupported(`runtime option ${k}`);
    for (const k of ["plugins", "packages", "template"])
        if (raw[k] !== undefined && k !== "template") throw notSupported(`'${k}' in Pulumi.yaml`);
    const range = raw.requiredPulumiVersion;
    if (range !== undefined) checkPulumiVersion(String(range));
    const root = path.dirname(file);
    const project: Project = {
        name: raw.name,
        root,
        programDir: path.resolve(root, typeof raw.main === "string" ? raw.main : "."),
        nodeArgs: String(options.nodeargs ?? ""),
        typescript: options.typescript !== false,
        stackConfigDir: path.resolve(root, raw.stackConfigDir ?? "."),
        backendUrl: raw.backend?.url,
        config: {},
    };
    for (const [k, v] of Object.entries(raw.config ?? {})) project.config[k] = readDeclaration(project.name, k, v, bad);
    return project;
}

/** Throws when this version is outside the range (official: requiredPulumiVersion). */
export function checkPulumiVersion(range: string): void {
    const v = VERSION.split("+")[0]!;
    if (!semver.validRange(range)) throw new CommandError(`invalid version range: ${range}`);
    if (!semver.satisfies(v, range))
        throw new CommandError(`Pulumi CLI version ${v} does not satisfy the version range ${JSON.stringify(range)}`);
}

function readDeclaration(
    project: string,
    key: string,
    raw: unknown,
    bad: (m: string) => CommandError,
): ConfigDeclaration {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
        // Short form: the value itself.
        return namespaced(project, key) ? { type: typeName(raw), default: raw } : { value: raw };
    }
    const d = raw as ConfigDeclaration;
    for (const k of Object.keys(d))
        if (!["type", "items", "description", "default", "value", "secret"].includes(k))
            throw bad(`Configuration key '${key}' has the unknown attribute '${k}'`);
    if (!namespaced(project, key)) {
        if (d.type !== undefined)
            throw bad(`Configuration key '${key}' is not namespaced by the project and should not define a type`);
        if (d.default !== undefined)
            throw bad(
                `Configuration key '${key}' is not namespaced by the project and should not define a default value. ` +
                    "Did you mean to use the 'value' attribute instead of 'default'?",
            );
        return d;
    }
    if (d.type !== undefined && !["string", "integer", "boolean", "array", "object"].includes(d.type))
        throw bad(`Configuration key '${key}' has the unknown type '${d.type}'`);
    if (d.type === "array" && !d.items)
        throw bad(
            `The configuration key '${key}' declares an array but does not specify the underlying type via the 'items' attribute`,
        );
    if (d.value !== undefined && d.default !== undefined)
        throw bad(`project config key '${key}' cannot have both a 'default' and 'value' attribute`);
    if (d.default !== undefined && d.type && !hasType(d.type, d.items, d.default))
        throw bad(
            `The default value specified for configuration key '${key}' is not of the expected type '${fullType(d.type, d.items)}'`,
        );
    return d;
}

const namespaced = (project: string, key: string): boolean => !key.includes(":") || key.startsWith(`${project}:`);

function typeName(v: unknown): string {
    if (Array.isArray(v)) return "array";
    if (typeof v === "number") return "integer";
    if (typeof v === "boolean") return "boolean";
    return typeof v === "object" ? "object" : "string";
}

function fullType(type: string, items?: ItemsType): string {
    return items ? `array<${fullType(items.type, items.items)}>` : type;
}

function hasType(type: string, items: ItemsType | undefined, v: unknown): boolean {
    switch (type) {
        case "string":
            return typeof v === "string";
        case "integer":
            return (typeof v === "number" && Number.isInteger(v)) || (typeof v === "string" && /^[+-]?\d+$/.test(v));
        case "boolean":
            return typeof v === "boolean" || v === "true" || v === "false";
        case "object":
            return typeof v === "object" && v !== null && !Array.isArray(v);
        case "array":
            return Array.isArray(v) && !!items && v.every((e) => hasType(items.type, items.items, e));
        default:
            return false;
    }
}

/** One configuration value as the program gets it. */
export interface ConfigValue {
    /** Decrypted; lists and maps are JSON. */
    text: string;
    secret: boolean;
    object: boolean;
    /** The decrypted values in it: never to be shown. */
    secrets: string[];
}
export type StackConfig = Map<string, ConfigValue>;

/** `name` or `ns:name` to the full key. */
export function configKey(project: string, key: string): string {
    const parts = key.split(":");
    if (parts.length > 2 || parts.some((p) => p === ""))
        throw new CommandError(
            `invalid configuration key: could not parse ${key} as a configuration key (configuration keys should be of the form \`<namespace>:<name>\`)`,
        );
    return parts.length === 2 ? key : `${project}:${key}`;
}

/** The file Pulumi.<stack>.yaml. Edits keep comments and order. */
export class StackFile {
    private doc: Document;
    readonly exists: boolean;

    constructor(readonly file: string) {
        this.exists = existsSync(file);
        this.doc = parseDocument(this.exists ? readFileSync(file, "utf8") : "");
        if (this.doc.errors.length > 0)
            throw new CommandError(`unmarshalling stack configuration ${file}: ${this.doc.errors[0]!.message}`);
        const top = this.doc.contents;
        if (top !== null && !isMap(top) && !(isScalar(top) && top.value === null))
            throw new CommandError(`unmarshalling stack configuration ${file}: expected a map`);
        if (isMap(top)) {
            for (const item of top.items) {
                const k = String((item.key as Untyped)?.value ?? item.key);
                if (k === "environment" || k === "secretsprovider" || k === "encryptedkey")
                    throw notSupported(`'${k}' in ${path.basename(file)}`);
            }
        }
    }

    get salt(): string | undefined {
        const s = this.doc.get("encryptionsalt");
        return typeof s === "string" ? s : undefined;
    }
    set salt(v: string) {
        this.doc.set("encryptionsalt", v);
    }

    get hasSecrets(): boolean {
        return /^\s*-?\s*"?secure"?\s*:/m.test(this.doc.toString());
    }

    /** Every value, keyed by the full key. A crypter is asked for only when there is something secret. */
    async read(project: string, crypter: () => Promise<Crypter>): Promise<StackConfig> {
        const out: StackConfig = new Map();
        const config = this.doc.get("config") as Node | null | undefined;
        if (!isMap(config)) return out;
        const aliases = this.aliases();
        for (const item of config.items) {
            const key = configKey(project, String((item.key as Untyped)?.value ?? item.key));
            const value = item.value as Node | null;
            const node = isAlias(value) ? (aliases.get(value) ?? null) : value;
            const cipher = secureOf(node);
            if (cipher !== undefined) {
                const text = (await crypter()).decrypt(cipher);
                out.set(key, { text, secret: true, object: false, secrets: [text] });
            } else if (isMap(node) || isSeq(node)) {
                const secrets: string[] = [];
                const plain = async (n: Node | null): Promise<unknown> => {
                    const c = secureOf(n);
                    if (c !== undefined) {
                        const text = (await crypter()).decrypt(c);
                        secrets.push(text);
                        return text;
                    }
                    if (isMap(n)) {
                        const o: Record<string, unknown> = {};
                        for (const e of n.items)
                            o[String((e.key as Untyped)?.value ?? e.key)] = await plain(e.value as Node | null);
                        return o;
                    }
                    if (isSeq(n)) {
                        const a: unknown[] = [];
                        for (const e of n.items) a.push(await plain(e as Node | null));
                        return a;
                    }
                    if (isAlias(n)) return plain(aliases.get(n) ?? null);
                    return n === null ? null : n.toJSON();
                };
                out.set(key, {
                    text: JSON.stringify(await plain(node)),
                    secret: secrets.length > 0,
                    object: true,
                    secrets,
                });
            } else {
                out.set(key, { text: scalarText(node), secret: false, object: false, secrets: [] });
            }
        }
        return out;
    }

    /** What each alias stands for: the last node before it with that anchor. Alias.resolve() would walk the file once for each. */
    private aliases(): Map<Alias, Node> {
        const anchors = new Map<string, Node>();
        const out = new Map<Alias, Node>();
        visit(this.doc, (_, n) => {
            if (isAlias(n)) {
                const target = anchors.get(n.source);
                if (target) out.set(n, target);
            } else if (isNode(n) && n.anchor) anchors.set(n.anchor, n);
        });
        return out;
    }

    has(key: string): boolean {
        return this.doc.hasIn(["config", key]);
    }

    /**
     * Sets a value. With a path below the key, `true`, `false` and integers become typed values as the official
     * command line does; a missing level is made as a list when the next part is an index.
     */
    set(key: string, below: PropertyPath, text: string, cipher: string | undefined): void {
        let value: unknown = text;
        if (cipher !== undefined) value = { secure: cipher };
        else if (below.length > 0) {
            if (text === "true" || text === "false") value = text === "true";
            else if (/^(0|-?[1-9]\d*)$/.test(text) && Number.isSafeInteger(Number(text))) value = Number(text);
        }
        if (!isMap(this.doc.contents)) this.doc.contents = this.doc.createNode({}) as Untyped;
        if (!isMap(this.doc.get("config"))) this.doc.set("config", this.doc.createNode({}));
        const full: PropertyPath = ["config", key, ...below];
        for (let i = 2; i < full.length; i++) {
            const at = this.doc.getIn(full.slice(0, i), true);
            const list = typeof full[i] === "number";
            if (at === undefined || isScalar(at)) this.doc.setIn(full.slice(0, i), this.doc.createNode(list ? [] : {}));
            else if (list !== isSeq(at))
                throw new CommandError(`invalid path: ${full.slice(1, i).join(".")} is ${list ? "no list" : "a list"}`);
            const len = isSeq(at) ? at.items.length : 0;
            if (list && (full[i] as number) > len) throw new CommandError("array index out of range");
        }
        this.doc.setIn(full, this.doc.createNode(value));
    }

    remove(key: string, below: PropertyPath): void {
        this.doc.deleteIn(["config", key, ...below]);
    }

    save(): void {
        const tmp = `${this.file}.${process.pid}.tmp`;
        writeFileSync(tmp, this.doc.toString({ lineWidth: 0 }));
        renameSync(tmp, this.file);
    }
}

function secureOf(node: Node | null): string | undefined {
    if (!isMap(node) || node.items.length !== 1) return undefined;
    const v = node.get("secure");
    return typeof v === "string" ? v : undefined;
}

/** A scalar as the official command line sees it: the text that stands in the file. */
function scalarText(node: Node | null): string {
    if (node === null || (isScalar(node) && node.value === null)) return "";
    if (isScalar(node)) return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
    return String(node.toJSON());
}

/**
 * Fills in the project's values and defaults and, unless `check` is false, refuses what is missing or of a wrong type.
 * Messages as in the official sdk/go/common/workspace/config.go.
 */
export function applyProjectConfig(project: Project, stack: string, config: StackConfig, check = true): void {
    const missing: string[] = [];
    for (const name of Object.keys(project.config).sort()) {
        const d = project.config[name]!;
        const key = configKey(project.name, name);
        if (!config.has(key)) {
            const v = d.value ?? d.default;
            if (v !== undefined) {
                const object = typeof v === "object" && v !== null;
                config.set(key, { text: object ? JSON.stringify(v) : String(v), secret: false, object, secrets: [] });
                if (d.secret && check)
                    throw new CommandError(
                        `Stack '${stack}' with configuration key '${name}' must be encrypted as it's secret`,
                    );
            } else if (d.type !== undefined) missing.push(name);
        } else if (check && d.type !== undefined) {
            const c = config.get(key)!;
            if (d.secret && !c.secret)
                throw new CommandError(
                    `Stack '${stack}' with configuration key '${name}' must be encrypted as it's secret`,
                );
            if (!hasType(d.type, d.items, c.object ? JSON.parse(c.text) : c.text))
                throw new CommandError(
                    `Stack '${stack}' with configuration key '${name}' must be of type '${fullType(d.type, d.items)}'`,
                );
        }
    }
    if (check && missing.length > 0) {
        const quoted = missing.map((m) => `'${m}'`);
        const last = quoted.pop()!;
        const list = quoted.length === 0 ? last : `${quoted.join(", ")} and ${last}`;
        throw new CommandError(
            `Stack '${stack}' is missing configuration value${missing.length > 1 ? "s" : ""} ${list}`,
        );
    }
}

/** `a.b[0]` of `config set --path` to key and path below it. */
export function splitConfigPath(project: string, text: string): { key: string; below: PropertyPath } {
    const colon = /^([^.[\]:]+):(.*)$/s.exec(text);
    const [head, ...below] = parsePath(colon ? colon[2]! : text);
    if (head === undefined || typeof head === "number") throw new CommandError(`invalid configuration key: ${text}`);
    return { key: configKey(project, colon ? `${colon[1]}:${head}` : head), below };
}
