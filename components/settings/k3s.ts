/** Settings of k3s and of what comes with it. */
import { z } from "zod";
import { bool, certificates, hostFile, line, matching, sha256, url, word } from "../values/forms";

/** k3s's own settings, by the names of its config.yaml; checked key by key against the role in config/checks/k3s-config.ts. */
export const k3sConfig = z.record(
    z.string(),
    z.union([line, z.number(), z.boolean(), z.array(z.union([line, z.number()]))], {
        error: "must be text (one line), a number, true or false, or a list of texts and numbers",
    }),
);

/** Keys of YAML files that others read are one word or line of ASCII, as all of theirs are. */
function asciiKeys(content: unknown, ctx: z.core.$RefinementCtx): void {
    const look = (value: unknown, path: readonly (string | number)[]): void => {
        if (value === null || typeof value !== "object") return;
        for (const [key, inner] of Object.entries(value)) {
            const at = [...path, Array.isArray(value) ? Number(key) : key];
            if (/^[ -~]+$/.test(key)) look(inner, at);
            else ctx.addIssue({ code: "custom", path: at, message: "must have a name of printable ASCII characters" });
        }
    };
    look(content, []);
}

/** Content of a YAML file that others read. */
const yamlContent = z.record(z.string(), z.unknown()).superRefine(asciiKeys);

/** Kubernetes' own structured authentication (AuthenticationConfiguration.jwt): what it needs to start is looked at, the rest is its. */
const claim = z
    .looseObject({ claim: line.optional(), prefix: line.optional(), expression: line.optional() })
    .refine(
        (c) => (c.expression !== undefined) !== (c.claim !== undefined && c.prefix !== undefined),
        "must have claim and prefix (it may be empty), or expression",
    );
const jwtIssuers = z
    .array(
        z.looseObject({
            issuer: z.looseObject({
                url: matching(/^https:\/\/[^\s'"\\]+$/, "an https:// URL"),
                audiences: z.array(word).min(1, "must list at least one audience (the client's id)"),
                certificateAuthority: certificates.optional(),
            }),
            claimMappings: z.looseObject({ username: claim, groups: claim.optional() }),
        }),
    )
    .max(64, "must list at most 64 issuers")
    .superRefine(asciiKeys);

/** Of the k3s process. Which names are taken is in config/checks/environment.ts. */
const environment = z
    .record(
        matching(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "a name of letters, digits and _, such as HTTPS_PROXY"),
        z.union([line, z.number(), z.boolean()], { error: "must be text (one line), a number, true or false" }),
    )
    .default({});

export const server = z
    .strictObject({
        config: k3sConfig.default({}).meta({
            description: "k3s settings of all servers, by their names in k3s's `config.yaml`",
            otherwise: "none",
        }),
        environment: environment.meta({
            description: "variables of k3s on all servers: [environment](operations.md#environment)",
            otherwise: "none",
        }),
        datastore: z
            .enum(["etcd", "sqlite"], { error: "must be etcd or sqlite" })
            .default("etcd")
            .describe("`etcd`, or `sqlite` for one server"),
    })
    .prefault({})
    .describe("all servers (control plane)");

export const agent = z
    .strictObject({
        config: k3sConfig
            .default({})
            .meta({ description: "k3s settings of all agents, by the same names", otherwise: "none" }),
        environment: environment.meta({ description: "variables of k3s on all agents", otherwise: "none" }),
        throughProxy: bool.default(true).describe("kubelet and kube-proxy stay behind haproxy"),
    })
    .prefault({})
    .describe("all agents");

export const authentication = z
    .strictObject({
        jwt: jwtIssuers.optional().describe("issuers of tokens that the API accepts, with `readiness: scoped`"),
    })
    .prefault({})
    .describe("who may log in to the API");

export const hardening = z
    .enum(["cis"], { error: "must be cis" })
    .optional()
    .meta({ description: "`cis`: settings of k3s's hardening guide: [hardening](hardening.md)", otherwise: "none" });

export const kubelet = yamlContent
    .default({})
    .meta({ description: "`KubeletConfiguration` fields (k3s 1.32 or newer)", otherwise: "none" });

export const registries = yamlContent
    .default({})
    .meta({ description: "content of `registries.yaml`", otherwise: "none" });

const sums = z.strictObject({
    amd64: sha256.optional().meta({ description: "SHA-256 of `k3s`", otherwise: "the release's sum file" }),
    arm64: sha256.optional().meta({ description: "SHA-256 of `k3s-arm64`", otherwise: "the release's sum file" }),
    arm: sha256.optional().meta({ description: "SHA-256 of `k3s-armhf`", otherwise: "the release's sum file" }),
});

export const download = z
    .strictObject({
        baseUrl: url.default("https://github.com/k3s-io/k3s/releases/download").meta({
            description:
                "where releases are, in the layout of GitHub's: [mirror and airgap](operations.md#mirror-and-airgap)",
            otherwise: "GitHub's releases",
        }),
        sha256: sums.prefault({}).describe("pinned sums of the binary"),
        file: hostFile.optional().describe("a file on every host instead of a download"),
    })
    .prefault({})
    .describe("where the k3s binary comes from");

export const kubeconfig = z
    .strictObject({
        context: word.optional().meta({
            description: "name of the context in the output `kubeconfig`",
            otherwise: "the cluster's name",
        }),
        server: url.optional().meta({
            description: "address of the API in that context; one that is no server's is added to the certificates",
            otherwise: "port 6443 of the first server",
        }),
    })
    .prefault({})
    .describe("the output `kubeconfig`");

export const publicInfoViewer = z
    .strictObject({
        via: z
            .enum(["provider", "ssh"], { error: "must be provider or ssh" })
            .default("provider")
            .describe("`provider` (the Kubernetes provider), or `ssh`: kubectl on a server"),
    })
    .prefault({})
    .describe("how ClusterRole `system:public-info-viewer` is narrowed");
