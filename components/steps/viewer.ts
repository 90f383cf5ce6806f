/** ClusterRole system:public-info-viewer, cut down to the health paths. */
// Single files: the whole package takes longer to load than all the rest of the program.
import { Provider } from "@pulumi/kubernetes/provider";
import { ClusterRolePatch } from "@pulumi/kubernetes/rbac/v1/clusterRolePatch";
import * as pulumi from "@pulumi/pulumi";
import { quotedYaml } from "./k3s-files";
import { clusterStep, type ClusterStepArgs } from "./cluster-step";
import { PUBLIC_PATHS } from "../model/readiness";

const ROLE = "system:public-info-viewer";

const RULES = [{ nonResourceURLs: [...PUBLIC_PATHS], verbs: ["get"] }];

/**
 * Without this annotation every start of an apiserver adds the missing default rules back (/version among them).
 * Source: Kubernetes, component-helpers auth/rbac/reconciliation.
 */
const NO_AUTOUPDATE = { "rbac.authorization.kubernetes.io/autoupdate": "false" };

/** Arguments of {@link PublicInfoViewer}. */
export interface PublicInfoViewerArgs extends ClusterStepArgs {
    readonly kubeconfig: pulumi.Output<string>;
}

/**
 * Replaces the role's whole rule list. Its removal would leave the role without any rule, /readyz forbidden and every master
 * down for every proxy, so it stays as it is when the resource goes (retainOnDelete).
 */
export class PublicInfoViewer extends pulumi.ComponentResource {
    public readonly applied: pulumi.Resource;

    public constructor(name: string, args: PublicInfoViewerArgs, opts?: pulumi.ComponentResourceOptions) {
        super("k3s-ha:access:PublicInfoViewer", name, {}, opts);
        if (args.spec.publicInfoViewer.via === "ssh") {
            const role = {
                apiVersion: "rbac.authorization.k8s.io/v1",
                kind: "ClusterRole",
                metadata: { name: ROLE, annotations: NO_AUTOUPDATE },
                rules: RULES,
            };
            const bundle = {
                settings: { node: args.node.name },
                files: [{ path: "/clusterrole.yaml", mode: "0600", content: quotedYaml(role) }],
            };
            this.applied = clusterStep(`${name}-patch`, "viewer.sh", "", bundle, args, this);
        } else {
            // The identifier keeps a changed kubeconfig from showing the provider and all it holds as replaced.
            const provider = new Provider(
                `${name}-provider`,
                { kubeconfig: args.kubeconfig, clusterIdentifier: args.spec.cluster, enableServerSideApply: true },
                { parent: this, dependsOn: [...args.after] },
            );
            this.applied = new ClusterRolePatch(
                `${name}-patch`,
                {
                    metadata: {
                        name: ROLE,
                        annotations: {
                            ...NO_AUTOUPDATE,
                            // The apiserver owns `rules`: without force an update fails with a conflict.
                            "pulumi.com/patchForce": "true",
                            "pulumi.com/patchFieldManager": "k3s-ha",
                        },
                    },
                    rules: RULES,
                },
                { parent: this, provider, dependsOn: [...args.after], retainOnDelete: true },
            );
        }
        this.registerOutputs({});
    }
}
