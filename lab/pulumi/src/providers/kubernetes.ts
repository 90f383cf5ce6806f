/**
 * The package `kubernetes`: Patch resources by server-side apply, and a few kinds without any waiting for readiness.
 * The cluster is asked only when something is to be made, changed, deleted or refreshed, never for a preview.
 */
import { existsSync, readFileSync } from "node:fs";
import https from "node:https";
import { parse } from "yaml";
import { notSupported } from "../errors";
import { goQuote } from "../gotext";
import {
    Computed,
    containsSecrets,
    containsUnknowns,
    deepEquals,
    detailedDiff,
    diffMaps,
    isObject,
    makeSecret,
    parsePath,
    pathContains,
    type PropertyMap,
    Secret,
    unwrapSecrets,
    type Value,
} from "../values";
import {
    type CheckResult,
    diffOf,
    type DiffResult,
    noDiff,
    type PackageDefinition,
    type Provider,
    type Request,
} from "./provider";
import type { Untyped } from "../untyped";

/** Kinds that are ready as soon as they exist. */
const PLAIN_KINDS = new Set([
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "Namespace",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
]);
const REQUEST_TIMEOUT_MS = 30_000;
const CONFIG_KEYS = new Set([
    "cluster",
    "clusterIdentifier",
    "context",
    "deleteUnreachable",
    "enablePatchForce",
    "enableServerSideApply",
    "kubeconfig",
    "skipUpdateUnreachable",
    "suppressDeprecationWarnings",
    "suppressHelmHookWarnings",
    "version",
]);
const FORCE = "pulumi.com/patchForce";
const MANAGER = "pulumi.com/patchFieldManager";

export function kubernetesPackage(): PackageDefinition {
    return {
        checkConfig(inputs) {
            for (const [k, v] of Object.entries(inputs))
                if (!CONFIG_KEYS.has(k) && v !== null && v !== undefined)
                    throw notSupported(`the kubernetes provider's setting ${k}`);
            return { inputs, failures: [] };
        },
        diffConfig,
        configure: (inputs, known) => new KubernetesProvider(unwrapSecrets(inputs) as PropertyMap, known),
    };
}

/** Replacement when the cluster is another: by clusterIdentifier if given, else by the active entry of the kubeconfig. */
function diffConfig(oldInputs: PropertyMap, newInputs: PropertyMap): DiffResult {
    const olds = unwrapSecrets(oldInputs) as PropertyMap;
    const news = unwrapSecrets(newInputs) as PropertyMap;
    const d = diffMaps(olds, news);
    if (!d) return noDiff;
    const keys = Object.keys({ ...d.adds, ...d.deletes, ...d.updates });
    const oldId = olds.clusterIdentifier;
    const newId = news.clusterIdentifier;
    const replaces = new Set<string>();
    if (oldId && newId && !deepEquals(oldId, newId)) replaces.add("clusterIdentifier");
    const kept = !!newId && !(newId instanceof Computed) && deepEquals(oldId ?? null, newId);
    const result = (replaceKeys: string[], changedKeys: string[]): DiffResult => ({
        ...noDiff,
        changes: true,
        replaceKeys: kept ? [] : replaceKeys,
        changedKeys,
    });
    for (const k of ["kubeconfig", "context", "cluster"])
        if (news[k] instanceof Computed) return result([...replaces, k], [k]);
    const before = activeCluster(olds);
    const after = activeCluster(news);
    if (before && after && JSON.stringify(before) !== JSON.stringify(after))
        for (const k of ["kubeconfig", "context", "cluster"]) if (keys.includes(k)) replaces.add(k);
    return result([...replaces], keys);
}

function parseKubeconfig(v: Value | undefined): Untyped {
    if (typeof v !== "string" || v === "") return undefined;
    const text = !v.includes("\n") && existsSync(v) ? readFileSync(v, "utf8") : v;
    try {
        const c = parse(text);
        return typeof c === "object" ? c : undefined;
    } catch {
        return undefined;
    }
}

function activeCluster(inputs: PropertyMap): unknown {
    const c = parseKubeconfig(inputs.kubeconfig);
    if (!c) return undefined;
    const context = inputs.context || c["current-context"];
    const name = inputs.cluster || c.contexts?.find((x: Untyped) => x.name === context)?.context?.cluster;
    return c.clusters?.find((x: Untyped) => x.name === name)?.cluster;
}

interface Target {
    server: URL;
    tls: https.AgentOptions & { rejectUnauthorized?: boolean };
    token?: string;
}

class StatusError extends Error {
    constructor(
        message: string,
        readonly code: number,
    ) {
        super(message);
    }
}

class KubernetesProvider implements Provider {
    private target: Target | undefined;
    private agent: https.Agent | undefined;
    private readonly groups = new Map<string, Promise<Untyped[]>>();

    constructor(
        private readonly config: PropertyMap,
        private readonly known: boolean,
    ) {
        if (config.enableServerSideApply === "false" || config.enableServerSideApply === false)
            throw notSupported("enableServerSideApply: false");
    }

    close(): void {
        this.agent?.destroy();
    }

    check(r: Request, olds: PropertyMap | undefined, news: PropertyMap): CheckResult {
        const inputs: PropertyMap = {};
        for (const [k, v] of Object.entries(news))
            if (v !== null && k !== "version" && !k.startsWith("__")) inputs[k] = v;
        const meta = inputs.metadata === undefined ? undefined : unwrapSecrets(inputs.metadata);
        if (!isPatch(r.type)) {
            const kind = r.type.split(":")[2]!;
            if (!PLAIN_KINDS.has(kind)) throw notSupported(`resource type ${r.type} (it needs waiting for readiness)`);
            if (!(meta instanceof Computed) && !(isObject(meta!) && meta.name))
                throw notSupported(`${r.type} without metadata.name`);
        } else if (!(meta instanceof Computed) && !(isObject(meta!) && meta.name))
            throw new Error("patch resources require the `.metadata.name` field to be set");
        void olds;
        return { inputs, failures: [] };
    }

    diff(
        r: Request,
        _id: string,
        oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        newInputs: PropertyMap,
        ignoreChanges: readonly string[],
    ): DiffResult {
        const strip = (m: PropertyMap): PropertyMap => unwrapSecrets(m) as PropertyMap;
        const olds = prune(strip(oldOutputs), strip(oldInputs)) as PropertyMap;
        let detailed = detailedDiff(diffMaps(olds, strip(newInputs)), true);
        const ignored = ignoreChanges.map(parsePath);
        detailed = Object.fromEntries(
            Object.entries(detailed).filter(([p]) => !ignored.some((i) => pathContains(i, parsePath(p)))),
        );
        const forceNew = isPatch(r.type)
            ? /^metadata\.(name|namespace)$/
            : /^(metadata\.(name|namespace)$|roleRef\b|kind$|type$|immutable$)/;
        const d = diffOf(detailed, (p) => forceNew.test(p));
        return { ...d, deleteBeforeReplace: d.replaceKeys.length > 0 && !d.replaceKeys.includes("metadata") };
    }

    async create(r: Request, inputs: PropertyMap): Promise<{ id: string; outputs: PropertyMap }> {
        if (r.preview || containsUnknowns(inputs)) return { id: "", outputs: inputs };
        const o = unwrapSecrets(inputs) as Untyped;
        const manager = this.manager(o, r);
        let live;
        try {
            live = isPatch(r.type)
                ? await this.apply(o, manager)
                : await this.call("POST", await this.path(o, false), { fieldManager: manager }, o);
        } catch (e) {
            throw new Error(
                `resource ${goQuote(r.urn)} was not successfully created by the Kubernetes API server: ${(e as Error).message}`,
            );
        }
        return { id: objectId(live), outputs: checkpoint(inputs, live, manager) };
    }

    async update(
        r: Request,
        _id: string,
        _oldInputs: PropertyMap,
        oldOutputs: PropertyMap,
        inputs: PropertyMap,
    ): Promise<PropertyMap> {
        if (r.preview) return inputs;
        const o = unwrapSecrets(inputs) as Untyped;
        const manager = o.metadata?.annotations?.[MANAGER] ?? oldOutputs.__fieldManager ?? this.manager(o, r);
        try {
            return checkpoint(inputs, await this.apply(o, String(manager)), String(manager));
        } catch (e) {
            if ((e as Error).message.startsWith(UNREACHABLE)) throw e;
            throw new Error(`update of resource ${goQuote(r.urn)} failed: ${(e as Error).message}`);
        }
    }

    async delete(r: Request, _id: string, inputs: PropertyMap, outputs: PropertyMap): Promise<void> {
        const o = unwrapSecrets(inputs) as Untyped;
        try {
            if (isPatch(r.type)) {
                // Gives up all fields: what nobody else owns is emptied.
                const bare = {
                    apiVersion: o.apiVersion,
                    kind: o.kind,
                    metadata: {
                        name: o.metadata.name,
                        ...(o.metadata.namespace ? { namespace: o.metadata.namespace } : {}),
                    },
                };
                const manager = o.metadata?.annotations?.[MANAGER] ?? outputs.__fieldManager;
                await this.call("PATCH", await this.path(o, true), { fieldManager: String(manager) }, bare);
                return;
            }
            const path = await this.path(o, true);
            await this.call("DELETE", path, { propagationPolicy: "Foreground" });
            const limit = Date.now() + (r.timeout ?? 600) * 1000;
            for (;;) {
                await this.call("GET", path, {});
                if (Date.now() > limit) throw new Error(`timed out waiting for ${o.kind} ${o.metadata.name} to go`);
                await new Promise((res) => setTimeout(res, 200));
            }
        } catch (e) {
            if (e instanceof StatusError && e.code === 404) return;
            if ((e as Error).message.startsWith(UNREACHABLE)) {
                r.log("warning", (e as Error).message);
                if (String(this.config.deleteUnreachable) === "true") {
                    r.log(
                        "info",
                        "configured Kubernetes cluster is unreachable and the `deleteUnreachable` option is enabled. Deleting the unreachable resource from Pulumi state",
                    );
                    return;
                }
                throw new Error(
                    "configured Kubernetes cluster is unreachable. If the cluster was deleted, you can remove this resource from " +
                        'Pulumi state by rerunning the operation with the PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"',
                );
            }
            throw e;
        }
    }

    async read(
        _r: Request,
        id: string,
        inputs: PropertyMap,
        outputs: PropertyMap,
    ): Promise<{ id: string; inputs: PropertyMap; outputs: PropertyMap } | undefined> {
        const o = unwrapSecrets(inputs) as Untyped;
        try {
            const live = await this.call("GET", await this.path(o, true), {});
            const secret = containsSecrets(inputs);
            const found = prune(live, o) as PropertyMap;
            return {
                id,
                inputs: secret ? inputs : found,
                outputs: checkpoint(inputs, live, String(outputs.__fieldManager ?? "")),
            };
        } catch (e) {
            if (e instanceof StatusError && e.code === 404) return undefined;
            throw e;
        }
    }

    async invoke(token: string): Promise<PropertyMap> {
        throw notSupported(`function ${token}`);
    }

    private manager(o: Untyped, r: Request): string {
        return (
            o.metadata?.annotations?.[MANAGER] ??
            (isPatch(r.type) ? `pulumi-kubernetes-${Math.random().toString(16).slice(2, 10)}` : "pulumi-kubernetes")
        );
    }

    private async apply(o: Untyped, manager: string): Promise<Untyped> {
        const force = o.metadata?.annotations?.[FORCE] === "true" || String(this.config.enablePatchForce) === "true";
        try {
            return await this.call(
                "PATCH",
                await this.path(o, true),
                { fieldManager: manager, force: String(force), fieldValidation: "Warn" },
                o,
            );
        } catch (e) {
            if (!(e instanceof StatusError) || e.code !== 409) throw e;
            throw new Error(
                "server-side apply field conflict detected, see https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/" +
                    "managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources for troubleshooting help\n" +
                    `The resource managed by field manager ${goQuote(manager)} had an apply conflict: ${e.message}`,
            );
        }
    }

    /** The API path of the object or of its collection, by the server's own list of resources. */
    private async path(o: Untyped, named: boolean): Promise<string> {
        const version = String(o.apiVersion);
        const base = version.includes("/") ? `/apis/${version}` : `/api/${version}`;
        let group = this.groups.get(base);
        if (!group) {
            group = this.call("GET", base, {}).then((l) => l.resources ?? []);
            this.groups.set(base, group);
            group.catch(() => this.groups.delete(base));
        }
        const res = (await group).find((x: Untyped) => x.kind === o.kind && !x.name.includes("/"));
        if (!res) throw new Error(`no matches for kind ${goQuote(String(o.kind))} in version ${goQuote(version)}`);
        const ns = res.namespaced ? `/namespaces/${encodeURIComponent(o.metadata?.namespace || "default")}` : "";
        return `${base}${ns}/${res.name}${named ? `/${encodeURIComponent(o.metadata.name)}` : ""}`;
    }

    private connect(): Target {
        if (this.target) return this.target;
        if (!this.known) throw new Error("the provider's configuration is not known");
        const given = this.config.kubeconfig || process.env.KUBECONFIG || "";
        const c = parseKubeconfig(given);
        if (!c) throw new Error(`${UNREACHABLE}: failed to parse kubeconfig data in \`kubernetes:config:kubeconfig\``);
        const contextName = this.config.context || c["current-context"];
        const context = c.contexts?.find((x: Untyped) => x.name === contextName)?.context;
        const cluster = c.clusters?.find((x: Untyped) => x.name === (this.config.cluster || context?.cluster))?.cluster;
        const user = c.users?.find((x: Untyped) => x.name === context?.user)?.user ?? {};
        if (!cluster?.server)
            throw new Error(`${UNREACHABLE}: context ${goQuote(String(contextName))} does not name a cluster`);
        for (const k of ["exec", "auth-provider", "username", "password"])
            if (user[k]) throw notSupported(`'${k}' in a kubeconfig`);
        const data = (inline: unknown, file: unknown): Buffer | undefined =>
            inline ? Buffer.from(String(inline), "base64") : file ? readFileSync(String(file)) : undefined;
        this.target = {
            server: new URL(cluster.server),
            tls: {
                ca: data(cluster["certificate-authority-data"], cluster["certificate-authority"]),
                cert: data(user["client-certificate-data"], user["client-certificate"]),
                key: data(user["client-key-data"], user["client-key"]),
                servername: cluster["tls-server-name"],
                rejectUnauthorized: cluster["insecure-skip-tls-verify"] !== true,
            },
            token: user.token,
        };
        this.agent = new https.Agent({ keepAlive: true, ...this.target.tls });
        return this.target;
    }

    private call(method: string, path: string, query: Record<string, string>, body?: unknown): Promise<Untyped> {
        const t = this.connect();
        const url = new URL(t.server.pathname.replace(/\/$/, "") + path, t.server);
        for (const [k, v] of Object.entries(query)) url.searchParams.set(k, v);
        return new Promise((resolve, reject) => {
            const req = https.request(
                url,
                {
                    method,
                    agent: this.agent,
                    timeout: REQUEST_TIMEOUT_MS,
                    headers: {
                        accept: "application/json",
                        ...(t.token ? { authorization: `Bearer ${t.token}` } : {}),
                        ...(body !== undefined
                            ? {
                                  "content-type":
                                      method === "PATCH" ? "application/apply-patch+yaml" : "application/json",
                              }
                            : {}),
                    },
                },
                (res) => {
                    const parts: Buffer[] = [];
                    res.on("data", (b: Buffer) => parts.push(b));
                    res.on("error", (e) => reject(new Error(`${method} ${url.href}: ${e.message}`)));
                    res.on("end", () => {
                        const text = Buffer.concat(parts).toString("utf8");
                        let json: Untyped;
                        try {
                            json = JSON.parse(text);
                        } catch {
                            json = undefined;
                        }
                        if (res.statusCode! < 300 && json !== undefined) resolve(json);
                        else
                            reject(
                                new StatusError(json?.message ?? (text || `HTTP ${res.statusCode}`), res.statusCode!),
                            );
                    });
                },
            );
            req.on("timeout", () => req.destroy(new Error("context deadline exceeded")));
            req.on("error", (e: NodeJS.ErrnoException) => {
                const host = `${url.hostname}:${url.port || 443}`;
                const why = e.code === "ECONNREFUSED" ? `dial tcp ${host}: connect: connection refused` : e.message;
                reject(
                    new Error(
                        `${UNREACHABLE}: unable to load schema information from the API server: ${method.charAt(0)}${method.slice(1).toLowerCase()} "${url.origin}${url.pathname}": ${why}`,
                    ),
                );
            });
            req.end(body === undefined ? undefined : JSON.stringify(body));
        });
    }
}

const UNREACHABLE = "configured Kubernetes cluster is unreachable";

function isPatch(type: string): boolean {
    return type.endsWith("Patch") && !type.endsWith(":Patch");
}

function objectId(o: Untyped): string {
    return o.metadata.namespace ? `${o.metadata.namespace}/${o.metadata.name}` : o.metadata.name;
}

/** The live object, with the inputs beside it and secret where the inputs are. */
function checkpoint(inputs: PropertyMap, live: Untyped, manager: string): PropertyMap {
    const out: PropertyMap = {};
    for (const [k, v] of Object.entries(live)) out[k] = secretLike(v as Value, inputs[k]);
    if (live.kind === "Secret" && inputs.stringData !== undefined && out.data !== undefined)
        out.data = makeSecret(out.data);
    out.__inputs = inputs;
    out.__initialApiVersion = live.apiVersion;
    out.__fieldManager = manager;
    return out;
}

function secretLike(v: Value, input: Value | undefined): Value {
    if (input instanceof Secret) return makeSecret(v);
    if (isObject(v) && input !== undefined && isObject(input)) {
        const out: PropertyMap = {};
        for (const [k, e] of Object.entries(v)) out[k] = secretLike(e, input[k]);
        return out;
    }
    if (Array.isArray(v) && Array.isArray(input)) return v.map((e, i) => secretLike(e, input[i]));
    return v;
}

/** What of the live object the inputs speak of. */
function prune(live: Value | undefined, inputs: Value): Value {
    if (isObject(inputs)) {
        if (live === undefined || !isObject(live)) return live === undefined ? inputs : live;
        const out: PropertyMap = {};
        for (const k of Object.keys(inputs)) if (live[k] !== undefined) out[k] = prune(live[k], inputs[k]!);
        return out;
    }
    if (Array.isArray(inputs) && Array.isArray(live))
        return live.map((e, i) => (i < inputs.length ? prune(e, inputs[i]!) : e));
    return live ?? inputs;
}
