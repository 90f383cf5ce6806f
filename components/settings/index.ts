/**
 * Every setting of a stack file (namespace `k3s-ha`): form, default and description, in this place only. Types, docs/settings.md, the
 * block in Pulumi.yaml and the schema for editors come out of it (npm run settings). What is optional here has a default that follows
 * from other settings, which config/fill.ts fills in; `otherwise` is it in words. Relations between settings are in config/checks.
 */
import { z } from "zod";
import { proxySettings } from "../haproxy";
import { K3S_VERSION_FORM, isLabel, parseK3sVersion } from "../values";
import { refined, sha256 } from "../values/forms";
import { allow, rollout, rotate } from "./changes";
import { host, timeouts } from "./host";
import {
    agent,
    authentication,
    download,
    hardening,
    kubeconfig,
    kubelet,
    publicInfoViewer,
    registries,
    server,
    type k3sConfig,
} from "./k3s";
import { images, manifests } from "./manifests";
import { nodes, ssh, vpn } from "./nodes";
import { secrets } from "./secrets";
import { snapshots } from "./snapshots";

const cluster = {
    cluster: refined((t) => isLabel(t) && t.length <= 40, "a lower-case DNS label of at most 40 characters").describe(
        "name of the cluster, of its kubeconfig context and of haproxy's backend (`<cluster>-kube-api`)",
    ),
    version: refined((t) => parseK3sVersion(t) !== undefined, K3S_VERSION_FORM).describe(
        "k3s release of all nodes, such as `v1.36.3+k3s1`; at least 1.28.9, 1.29.4 or 1.30",
    ),
    readiness: z
        .enum(["unauthorized", "anonymous", "scoped"], { error: "must be unauthorized, anonymous or scoped" })
        .default("anonymous")
        .describe("how proxies see that a server is ready: [readiness](#readiness)"),
    nodes,
    caHash: sha256
        .optional()
        .meta({ description: "SHA-256 of the cluster's CA that joining nodes require", otherwise: "as founded" }),
};

/** All settings by the sections of docs/settings.md, in their order there. */
export const sections = {
    cluster,
    access: { ssh, vpn },
    proxy: { proxy: proxySettings.prefault({}).describe("the local haproxy of every node") },
    k3s: {
        server,
        agent,
        authentication,
        hardening,
        kubelet,
        registries,
        download,
        images,
        manifests,
        kubeconfig,
        publicInfoViewer,
    },
    hosts: { host, timeouts },
    changes: { rollout, allow, rotate },
    snapshots: { snapshots },
    secrets,
};

const open = z.strictObject({
    ...sections.cluster,
    ...sections.access,
    ...sections.proxy,
    ...sections.k3s,
    ...sections.hosts,
    ...sections.changes,
    ...sections.snapshots,
});

/** Everything that a stack file may hold under `k3s-ha:`. */
export const stackSchema = z.strictObject({ ...open.shape, ...secrets });

/** Settings that must be secret in the stack file, and whose values never appear in a message. */
export const SECRET_SETTINGS: ReadonlySet<string> = new Set(Object.keys(secrets));

/** Settings whose value is one text; all others are structures or numbers in YAML. */
export const TEXT_SETTINGS: ReadonlySet<string> = new Set(
    Object.keys(stackSchema.shape).filter((key) => {
        let schema: z.core.$ZodType = stackSchema.shape[key as keyof typeof stackSchema.shape];
        while (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
            schema = schema.unwrap();
        return schema instanceof z.ZodString || schema instanceof z.ZodEnum;
    }),
);

/** A stack file's settings as the user wrote them. */
export type WrittenSettings = z.input<typeof stackSchema>;
export type SecretName = keyof typeof secrets;
/** The same, every field known and well formed, with the defaults. */
export type StackSettings = z.output<typeof stackSchema>;
/** Those that may be shown. */
export type OpenSettings = z.output<typeof open>;
export type NodeSettings = OpenSettings["nodes"][number];
/** k3s's own settings, by the names of its config.yaml. */
export type K3sConfig = z.output<typeof k3sConfig>;
