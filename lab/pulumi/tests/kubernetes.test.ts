import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { kubernetesPackage } from "../src/providers/kubernetes";
import { Computed, Secret } from "../src/values";
import { Harness } from "./engine-harness";
import type { Untyped } from "../src/untyped";

const PATCH = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch";

/** The few answers of an API server that a ClusterRole needs, over TLS with client certificates. */
class FakeApi {
    readonly dir = mkdtempSync(path.join(tmpdir(), "pulumi-k8s-"));
    readonly requests: { method: string; path: string; query: URLSearchParams; body: Untyped; type?: string }[] = [];
    owner = "";
    role: Untyped = {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        metadata: { name: "viewer", uid: "1" },
        rules: [{ verbs: ["get"] }],
    };
    private server!: https.Server;
    port = 0;

    async start(): Promise<this> {
        const run = (...args: string[]): void => void execFileSync("openssl", args, { cwd: this.dir, stdio: "pipe" });
        const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        run("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2");
        for (const n of ["server", "client"]) {
            run("req", ...key, "-keyout", `${n}.key`, "-out", `${n}.csr`, "-subj", `/CN=${n}`);
            execFileSync(
                "sh",
                [
                    "-c",
                    `printf 'subjectAltName=IP:127.0.0.1' > ext; openssl x509 -req -in ${n}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out ${n}.crt -days 2 -extfile ext`,
                ],
                { cwd: this.dir, stdio: "pipe" },
            );
        }
        const read = (f: string): Buffer => readFileSync(path.join(this.dir, f));
        this.server = https.createServer(
            {
                key: read("server.key"),
                cert: read("server.crt"),
                ca: read("ca.crt"),
                requestCert: true,
                rejectUnauthorized: true,
            },
            (req, res) => {
                let text = "";
                req.on("data", (b) => (text += b));
                req.on("end", () => {
                    const url = new URL(req.url!, "https://x");
                    const body = text ? JSON.parse(text) : undefined;
                    this.requests.push({
                        method: req.method!,
                        path: url.pathname,
                        query: url.searchParams,
                        body,
                        type: req.headers["content-type"],
                    });
                    const [code, answer] = this.answer(req.method!, url, body);
                    res.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(answer));
                });
            },
        );
        await new Promise<void>((r) => this.server.listen(0, "127.0.0.1", r));
        this.port = (this.server.address() as { port: number }).port;
        return this;
    }

    private answer(method: string, url: URL, body: Untyped): [number, unknown] {
        const base = "/apis/rbac.authorization.k8s.io/v1";
        if (url.pathname === base)
            return [200, { resources: [{ name: "clusterroles", kind: "ClusterRole", namespaced: false }] }];
        if (url.pathname !== `${base}/clusterroles/viewer`)
            return [404, { kind: "Status", message: "not found", code: 404 }];
        if (method === "GET") return [200, this.role];
        const manager = url.searchParams.get("fieldManager")!;
        if (body.rules && this.owner && this.owner !== manager && url.searchParams.get("force") !== "true")
            return [
                409,
                {
                    kind: "Status",
                    code: 409,
                    message: `Apply failed with 1 conflict: conflict with "${this.owner}": .rules`,
                },
            ];
        if (body.rules) this.owner = manager;
        this.role = {
            ...this.role,
            rules: body.rules ?? null,
            metadata: { ...this.role.metadata, annotations: body.metadata.annotations },
        };
        return [200, this.role];
    }

    kubeconfig(cluster = "c"): string {
        const b64 = (f: string): string => readFileSync(path.join(this.dir, f)).toString("base64");
        return JSON.stringify({
            "current-context": "x",
            contexts: [{ name: "x", context: { cluster, user: "u" } }],
            clusters: [
                {
                    name: cluster,
                    cluster: { server: `https://127.0.0.1:${this.port}`, "certificate-authority-data": b64("ca.crt") },
                },
            ],
            users: [
                {
                    name: "u",
                    user: { "client-certificate-data": b64("client.crt"), "client-key-data": b64("client.key") },
                },
            ],
        });
    }

    stop(): void {
        this.server.closeAllConnections();
        this.server.close();
        rmSync(this.dir, { recursive: true, force: true });
    }
}

describe("kubernetes", () => {
    let api: FakeApi;
    let h: Harness;
    before(async () => (api = await new FakeApi().start()));
    after(() => api.stop());
    beforeEach(() => {
        h = new Harness();
        api.requests.length = 0;
        api.owner = "";
    });
    afterEach(() => h.remove());

    const program =
        (rules: Untyped[], o: { kubeconfig?: Untyped; force?: boolean; id?: string; retain?: boolean } = {}) =>
        async (r: Untyped) => {
            const provider = await r.custom("pulumi:providers:kubernetes", "k8s", {
                kubeconfig: o.kubeconfig ?? new Secret(api.kubeconfig()),
                ...(o.id ? { clusterIdentifier: o.id } : {}),
            });
            await r.custom(
                PATCH,
                "viewer",
                {
                    apiVersion: "rbac.authorization.k8s.io/v1",
                    kind: "ClusterRole",
                    metadata: {
                        name: "viewer",
                        annotations: {
                            "pulumi.com/patchFieldManager": "mine",
                            ...(o.force ? { "pulumi.com/patchForce": "true" } : {}),
                        },
                    },
                    rules,
                },
                { provider: `${provider.state.urn}::${provider.state.id}`, retainOnDelete: o.retain },
            );
        };

    it("a patch is a server-side apply under its field manager; nothing is asked in a preview", async () => {
        await h.run(program([{ verbs: ["list"] }]), { preview: true });
        assert.deepEqual(api.requests, []);
        const r = await h.run(program([{ verbs: ["list"] }]));
        assert.deepEqual(r.errors, []);
        const patch = (api.requests as { method: string; query: URLSearchParams; type?: string }[]).at(-1)!;
        assert.deepEqual(
            [patch.method, patch.type, patch.query.get("fieldManager"), patch.query.get("force")],
            ["PATCH", "application/apply-patch+yaml", "mine", "false"],
        );
        assert.deepEqual(api.role.rules, [{ verbs: ["list"] }]);
        assert.equal(r.resources.at(-1)!.id, "viewer");
        api.requests.length = 0;
        const again = await h.run(program([{ verbs: ["list"] }]));
        assert.deepEqual(again.changes, { same: 3 });
        assert.deepEqual(api.requests, []);
    });

    it("a conflict is an error that names the owner; patchForce takes over", async () => {
        api.owner = "kube-apiserver";
        const r = await h.run(program([{ verbs: ["list"] }]));
        assert.match(
            r.errors[0]!,
            /was not successfully created by the Kubernetes API server: server-side apply field conflict detected.*\nThe resource managed by field manager "mine" had an apply conflict: Apply failed with 1 conflict: conflict with "kube-apiserver": \.rules/,
        );
        const forced = await h.run(program([{ verbs: ["list"] }], { force: true }));
        assert.equal(forced.failed, false);
        assert.equal(api.owner, "mine");
    });

    it("deletion gives up the fields, which empties the rules; retainOnDelete leaves them", async () => {
        await h.run(program([{ verbs: ["list"] }]));
        await h.run(undefined);
        assert.equal(api.role.rules, null);
        assert.deepEqual(api.requests.at(-1)!.body, {
            apiVersion: "rbac.authorization.k8s.io/v1",
            kind: "ClusterRole",
            metadata: { name: "viewer" },
        });
        await h.run(program([{ verbs: ["watch"] }], { retain: true }));
        await h.run(undefined);
        assert.deepEqual(api.role.rules, [{ verbs: ["watch"] }]);
    });

    it("refresh sees what others changed; the next update puts it back", async () => {
        await h.run(program([{ verbs: ["list"] }]));
        api.role.rules = [{ verbs: ["delete"] }];
        api.owner = "mine";
        const d = kubernetesPackage().configure({ kubeconfig: api.kubeconfig() }, true);
        const old = (await h.snapshot()).resources.at(-1)!;
        const found = await d.read(
            { urn: old.urn, type: PATCH, name: "viewer", preview: false, log: () => undefined },
            "viewer",
            old.inputs,
            old.outputs,
        );
        d.close!();
        assert.deepEqual(found!.inputs.rules, [{ verbs: ["delete"] }]);
    });

    it("a kubeconfig not yet known: replace without clusterIdentifier, update with it", async () => {
        await h.run(program([{ verbs: ["list"] }]));
        const unknown = await h.run(program([{ verbs: ["list"] }], { kubeconfig: Computed.value }), { preview: true });
        assert.deepEqual(unknown.changes, { same: 1, replace: 2 });
        await h.run(undefined);
        await h.run(program([{ verbs: ["list"] }], { id: "me" }));
        const kept = await h.run(program([{ verbs: ["list"] }], { id: "me", kubeconfig: Computed.value }), {
            preview: true,
        });
        assert.deepEqual(kept.changes, { same: 1, update: 2 });
        assert.ok(
            kept.events.some((e) => e.kind === "diag" && /inputs that are not known during preview/.test(e.message)),
        );
    });

    it("another cluster replaces; new credentials for the same one only update the provider", async () => {
        const p = kubernetesPackage();
        const a = { kubeconfig: api.kubeconfig() };
        const creds = { kubeconfig: JSON.stringify({ ...JSON.parse(api.kubeconfig()), users: [] }) };
        const other = { kubeconfig: api.kubeconfig().replace("127.0.0.1", "127.0.0.2") };
        assert.deepEqual(p.diffConfig(a, creds).replaceKeys, []);
        assert.equal(p.diffConfig(a, creds).changes, true);
        assert.deepEqual(p.diffConfig(a, other).replaceKeys, ["kubeconfig"]);
        assert.deepEqual(
            p.diffConfig({ ...a, clusterIdentifier: "1" }, { ...other, clusterIdentifier: "1" }).replaceKeys,
            [],
        );
        assert.deepEqual(p.diffConfig({ ...a, clusterIdentifier: "1" }, { ...a, clusterIdentifier: "2" }).replaceKeys, [
            "clusterIdentifier",
        ]);
    });

    it("an unreachable cluster is told; PULUMI_K8S_DELETE_UNREACHABLE's setting lets go", async () => {
        const dead = api.kubeconfig().replace(`:${api.port}`, ":1");
        const provider = (x = {}) => kubernetesPackage().configure({ kubeconfig: dead, ...x }, true);
        const r = {
            urn: `urn:pulumi:s::p::${PATCH}::viewer`,
            type: PATCH,
            name: "viewer",
            preview: false,
            log: () => undefined,
        };
        const inputs = {
            apiVersion: "rbac.authorization.k8s.io/v1",
            kind: "ClusterRole",
            metadata: { name: "viewer" },
            rules: [],
        };
        await assert.rejects(
            provider().create(r, inputs),
            /configured Kubernetes cluster is unreachable: .*connection refused/,
        );
        await assert.rejects(provider().delete(r, "viewer", inputs, inputs), /PULUMI_K8S_DELETE_UNREACHABLE/);
        await provider({ deleteUnreachable: "true" }).delete(r, "viewer", inputs, inputs);
    });
});
