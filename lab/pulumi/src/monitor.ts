/**
 * The official gRPC services a program talks to: ResourceMonitor and Engine, from the SDK's published stubs, and the
 * calls back into it (hooks).
 */
import * as grpc from "@grpc/grpc-js";
import * as callbackGrpc from "@pulumi/pulumi/proto/callback_grpc_pb";
import * as cp from "@pulumi/pulumi/proto/callback_pb";
import * as engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb";
import * as ep from "@pulumi/pulumi/proto/engine_pb";
import * as providerProto from "@pulumi/pulumi/proto/provider_pb";
import * as resourceGrpc from "@pulumi/pulumi/proto/resource_grpc_pb";
import * as rp from "@pulumi/pulumi/proto/resource_pb";
import * as gempty from "google-protobuf/google/protobuf/empty_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { hashAssets } from "./assets";
import { checkPulumiVersion, type Project } from "./project";
import type { Deployment } from "./engine/deployment";
import type { Alias, Goal, HookCall } from "./engine/goal";
import type { Severity } from "./providers/provider";
import type { CustomTimeouts, HookKind, Hooks, ResourceState } from "./state";
import { parsePath, type PropertyMap, fromWire, toWire } from "./values";
import type { Untyped } from "./untyped";

/** What the official engine says yes to and this one does too; transforms and parameterization are refused. */
const FEATURES = new Set([
    "secrets",
    "resourceReferences",
    "outputValues",
    "aliasSpecs",
    "deletedWith",
    "replaceWith",
    "resourceHooks",
    "errorHooks",
]);
const HOOKS: HookKind[] = [
    "BeforeCreate",
    "AfterCreate",
    "BeforeUpdate",
    "AfterUpdate",
    "BeforeDelete",
    "AfterDelete",
    "OnError",
];
const UNLIMITED = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

type Handler = (call: Untyped, callback: (e: Untyped, response?: Untyped) => void) => void;

export interface MonitorOptions {
    project: Project;
    stack: string;
    preview: boolean;
    parallel: number;
    config: Record<string, string>;
    secretKeys: string[];
    deployment: Deployment;
    /** Called when the program says that it registered all; the answer is sent when the promise resolves. */
    onFinished: () => Promise<void>;
}

export class Monitor {
    private readonly server = new grpc.Server(UNLIMITED);
    private readonly clients = new Map<string, Untyped>();
    private rootUrn = "";
    /** An error was logged by the program. */
    loggedError = false;

    constructor(private readonly o: MonitorOptions) {
        this.server.addService(resourceGrpc.ResourceMonitorService, this.wrap(this.monitorHandlers()));
        this.server.addService(engineGrpc.EngineService, this.wrap(this.engineHandlers()));
    }

    start(): Promise<string> {
        return new Promise((resolve, reject) =>
            this.server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (e, port) =>
                e ? reject(e) : resolve(`127.0.0.1:${port}`),
            ),
        );
    }

    stop(): void {
        for (const c of this.clients.values()) c.close();
        this.server.forceShutdown();
    }

    /** Methods that are async functions of the request; the rest of the service answers "not supported". */
    private wrap(handlers: Record<string, (req: Untyped) => Promise<Untyped>>): Record<string, Handler> {
        const out: Record<string, Handler> = {};
        for (const [name, f] of Object.entries(handlers))
            out[name] = (call, callback) => {
                // After a failure nothing more is answered that waits for a resource, as officially: the program is ended.
                f(call.request).then(
                    (r) => callback(null, r),
                    (e: Error & { code?: number }) =>
                        callback({ code: e.code ?? grpc.status.UNKNOWN, message: e.message }),
                );
            };
        return out;
    }

    private monitorHandlers(): Record<string, (req: Untyped) => Promise<Untyped>> {
        const { o } = this;
        const unsupported = (what: string) => async (): Promise<never> => {
            throw Object.assign(new Error(`${what} are not supported by this stand-in for pulumi`), {
                code: grpc.status.UNIMPLEMENTED,
            });
        };
        return {
            supportsFeature: async (req) => {
                const r = new rp.SupportsFeatureResponse();
                r.setHassupport(FEATURES.has(req.getId()));
                return r;
            },
            getDeploymentInfo: async () => {
                const r = new rp.DeploymentInfo();
                r.setProject(o.project.name);
                r.setStack(o.stack);
                r.setOrganization("organization");
                for (const [k, v] of Object.entries(o.config)) r.getConfigMap().set(k, v);
                r.setConfigsecretkeysList(o.secretKeys);
                r.setDryrun(o.preview);
                r.setParallel(o.parallel);
                return r;
            },
            registerResource: (req) => this.registerResource(req),
            registerResourceOutputs: async (req) => {
                await o.deployment.registerOutputs(req.getUrn(), readStruct(req.getOutputs()));
                return new gempty.Empty();
            },
            invoke: async (req) => {
                const ret = await o.deployment.invoke(
                    req.getTok(),
                    readStruct(req.getArgs()),
                    req.getProvider(),
                    req.getVersion(),
                );
                const r = new providerProto.InvokeResponse();
                r.setReturn(Struct.fromJavaScript(toWire(ret)));
                return r;
            },
            registerResourceHook: async (req) => {
                const target = req.getCallback();
                o.deployment.hooks.resource.set(this.hookName(req.getName()), {
                    onDryRun: req.getOnDryRun(),
                    ignoreErrors: req.getIgnoreErrors(),
                    run: (call) => this.runHook(target, call),
                });
                return new gempty.Empty();
            },
            registerErrorHook: async (req) => {
                const target = req.getCallback();
                o.deployment.hooks.error.set(this.hookName(req.getName()), {
                    run: (call) => this.runErrorHook(target, call),
                });
                return new gempty.Empty();
            },
            signalAndWaitForShutdown: async () => {
                await o.onFinished();
                return new gempty.Empty();
            },
            call: unsupported("calls of provider methods"),
            readResource: unsupported("resources read with get()"),
            registerStackTransform: unsupported("stack transforms"),
            registerStackInvokeTransform: unsupported("invoke transforms"),
            registerPackage: unsupported("parameterized packages"),
        };
    }

    private hookName(name: string): string {
        if (!name) throw new Error("resource hook name cannot be empty");
        if (this.o.deployment.hooks.resource.has(name) || this.o.deployment.hooks.error.has(name))
            throw new Error(`resource hook already registered for name "${name}"`);
        return name;
    }

    private engineHandlers(): Record<string, (req: Untyped) => Promise<Untyped>> {
        const severities: Record<number, Severity> = { 0: "debug", 1: "info", 2: "warning", 3: "error" };
        return {
            log: async (req) => {
                const severity = severities[req.getSeverity()] ?? "info";
                if (severity === "error") this.loggedError = true;
                if (severity !== "debug")
                    this.o.deployment.diag(
                        severity,
                        req.getMessage(),
                        req.getUrn() || this.rootUrn,
                        req.getStreamid(),
                        req.getEphemeral(),
                    );
                return new gempty.Empty();
            },
            getRootResource: async () => {
                const r = new ep.GetRootResourceResponse();
                r.setUrn(this.rootUrn);
                return r;
            },
            setRootResource: async (req) => {
                this.rootUrn = req.getUrn();
                return new ep.SetRootResourceResponse();
            },
            startDebugging: async () => {
                throw Object.assign(new Error("debugging is not supported"), { code: grpc.status.UNIMPLEMENTED });
            },
            requirePulumiVersion: async (req) => {
                checkPulumiVersion(req.getPulumiVersionRange());
                return new ep.RequirePulumiVersionResponse();
            },
        };
    }

    private async registerResource(req: Untyped): Promise<Untyped> {
        if (req.getRemote()) throw new Error("remote components are not supported by this stand-in for pulumi");
        if (req.getImportid()) throw new Error("the import option is not supported by this stand-in for pulumi");
        if (req.getTransformsList().length > 0)
            throw new Error("transforms are not supported by this stand-in for pulumi");
        if (req.getPackageref())
            throw new Error("parameterized packages are not supported by this stand-in for pulumi");
        if (req.hasReplacementTrigger())
            throw new Error("replacementTrigger is not supported by this stand-in for pulumi");
        if (req.getEnvvarmappingsMap().getLength() > 0)
            throw new Error("envVarMappings are not supported by this stand-in for pulumi");
        const inputs = hashAssets(readStruct(req.getObject()), this.o.project.programDir) as PropertyMap;
        const dependencies: string[] = unique(req.getDependenciesList());
        const propertyDependencies: Record<string, string[]> = {};
        if (req.getPropertydependenciesMap().getLength() === 0)
            for (const k of Object.keys(inputs)) propertyDependencies[k] = dependencies;
        else
            for (const [k, d] of req.getPropertydependenciesMap().entries())
                propertyDependencies[k] = unique(d.getUrnsList());
        const providers: Record<string, string> = {};
        for (const [k, v] of req.getProvidersMap().entries()) providers[k] = v;
        const hooks: Hooks = {};
        const binding = req.getHooks();
        if (binding)
            for (const kind of HOOKS) {
                const list: string[] = binding[`get${kind.charAt(0)}${kind.slice(1)}List`]();
                if (list.length > 0) hooks[kind] = list;
            }
        for (const p of [...req.getReplaceonchangesList(), ...req.getHidediffsList(), ...req.getIgnorechangesList()])
            parsePath(p);
        const goal: Goal = {
            type: req.getType(),
            name: req.getName(),
            custom: req.getCustom(),
            inputs,
            parent: req.getParent(),
            protect: req.hasProtect() ? req.getProtect() : undefined,
            dependencies,
            provider: req.getProvider(),
            providers,
            version: req.getVersion(),
            propertyDependencies,
            deleteBeforeReplace:
                req.getDeletebeforereplacedefined() || req.getDeletebeforereplace()
                    ? req.getDeletebeforereplace()
                    : undefined,
            ignoreChanges: req.getIgnorechangesList(),
            additionalSecretOutputs: req.getAdditionalsecretoutputsList(),
            aliases: [
                ...req.getAliasurnsList().map((urn: string) => ({ urn })),
                ...req.getAliasesList().map(readAlias),
            ],
            customTimeouts: readTimeouts(req.getCustomtimeouts()),
            replaceOnChanges: req.getReplaceonchangesList(),
            retainOnDelete: req.hasRetainondelete() ? req.getRetainondelete() : undefined,
            deletedWith: req.getDeletedwith(),
            replaceWith: req.getReplaceWithList(),
            hideDiffs: req.getHidediffsList(),
            hooks,
        };
        const { state, failed } = await this.o.deployment.register(goal);
        const r = new rp.RegisterResourceResponse();
        r.setUrn(state.urn);
        r.setId(state.id);
        r.setObject(Struct.fromJavaScript(toWire(state.outputs)));
        r.setResult(failed ? rp.Result.FAIL : rp.Result.SUCCESS);
        return r;
    }

    /* ---------- calls back ---------- */

    private async invokeCallback(callback: Untyped, request: Untyped): Promise<Uint8Array> {
        const target: string = callback.getTarget();
        let client = this.clients.get(target);
        if (!client) {
            client = new callbackGrpc.CallbacksClient(target, grpc.credentials.createInsecure(), UNLIMITED);
            this.clients.set(target, client);
        }
        const req = new cp.CallbackInvokeRequest();
        req.setToken(callback.getToken());
        req.setRequest(request.serializeBinary());
        return new Promise((resolve, reject) =>
            client.invoke(req, (e: grpc.ServiceError | null, r: Untyped) =>
                e ? reject(new Error(e.details || e.message)) : resolve(r.getResponse_asU8()),
            ),
        );
    }

    private fill(req: Untyped, c: HookCall): void {
        req.setUrn(c.urn);
        req.setId(c.id);
        req.setName(c.name);
        req.setType(c.type);
        const set = (name: string, v: PropertyMap | undefined): void => {
            if (v) req[`set${name}`](Struct.fromJavaScript(toWire(v)));
        };
        set("NewInputs", c.newInputs);
        set("OldInputs", c.oldInputs);
        set("OldOutputs", c.oldOutputs);
        if (req.setNewOutputs) set("NewOutputs", c.newOutputs);
        if (c.oldState) req.setOldOptions(options(c.oldState));
        if (c.newState) req.setNewOptions(options(c.newState));
    }

    private async runHook(target: Untyped, c: HookCall): Promise<string> {
        const req = new rp.ResourceHookRequest();
        this.fill(req, c);
        try {
            return rp.ResourceHookResponse.deserializeBinary(await this.invokeCallback(target, req)).getError();
        } catch (e) {
            return (e as Error).message;
        }
    }

    private async runErrorHook(
        target: Untyped,
        c: HookCall & { operation: string; errors: string[] },
    ): Promise<{ error: string; retry: boolean }> {
        const req = new rp.ErrorHookRequest();
        this.fill(req, c);
        req.setFailedOperation(c.operation);
        req.setErrorsList(c.errors);
        try {
            const r = rp.ErrorHookResponse.deserializeBinary(await this.invokeCallback(target, req));
            return { error: r.getError(), retry: r.getRetry() };
        } catch (e) {
            return { error: (e as Error).message, retry: false };
        }
    }
}

function options(s: ResourceState): Untyped {
    const o = new rp.ResourceOptions();
    o.setDependsOnList(s.dependencies);
    o.setIgnoreChangesList(s.ignoreChanges);
    o.setReplaceOnChangesList(s.replaceOnChanges);
    o.setProvider(s.provider);
    o.setDeletedWith(s.deletedWith);
    o.setHideDiffList(s.hideDiffs);
    o.setReplaceWithList(s.replaceWith);
    o.setAdditionalSecretOutputsList(s.additionalSecretOutputs);
    o.setProtect(s.protect);
    o.setRetainOnDelete(s.retainOnDelete);
    o.setParent(s.parent);
    return o;
}

function readStruct(s: Untyped): PropertyMap {
    return s ? (fromWire(s.toJavaScript()) as PropertyMap) : {};
}

function readAlias(a: Untyped): Alias {
    if (!a.hasSpec()) return { urn: a.getUrn() };
    const s = a.getSpec();
    return {
        name: s.getName(),
        type: s.getType(),
        stack: s.getStack(),
        project: s.getProject(),
        parentUrn: s.getParenturn(),
        noParent: s.getNoparent(),
    };
}

const unique = (a: string[]): string[] => [...new Set(a)].sort();

const UNITS: Record<string, number> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/** Go durations (`1h30m`) to seconds. */
function readTimeouts(t: Untyped): CustomTimeouts {
    const out: CustomTimeouts = {};
    if (!t) return out;
    const seconds = (text: string): number => {
        const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
        if (parts.length === 0 || parts.map((p) => p[0]).join("") !== text)
            throw new Error(`unable to parse customTimeout Value ${text}`);
        return parts.reduce((n, p) => n + Number(p[1]) * UNITS[p[2]!]!, 0);
    };
    if (t.getCreate()) out.create = seconds(t.getCreate());
    if (t.getUpdate()) out.update = seconds(t.getUpdate());
    if (t.getDelete()) out.delete = seconds(t.getDelete());
    return out;
}
