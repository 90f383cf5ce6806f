/** Step public-info-viewer: ClusterRole system:public-info-viewer, cut down to the health paths. */
// Single files: the whole package takes longer to load than all the rest of the program.
import { Provider } from "@pulumi/kubernetes/provider";
import { ClusterRolePatch } from "@pulumi/kubernetes/rbac/v1/clusterRolePatch";
import type * as pulumi from "@pulumi/pulumi";
import { PUBLIC_PATHS } from "../model/readiness";
import { clusterStep, formerName, type FormerName, type Place, type StepContext } from "./context";
import { quotedYaml } from "./k3s-files";

const ROLE = "system:public-info-viewer";

const RULES = [{ nonResourceURLs: [...PUBLIC_PATHS], verbs: ["get"] }];

/**
 * Without this annotation every start of an apiserver adds the missing default rules back (/version among them).
 * Source: Kubernetes, component-helpers auth/rbac/reconciliation.
 */
const NO_AUTOUPDATE = { "rbac.authorization.kubernetes.io/autoupdate": "false" };

/**
 * Replaces the role's whole rule list. Its removal would leave the role without any rule, /readyz forbidden and every server
 * down for every proxy, so it stays as it is when the resource goes (retainOnDelete).
 */
export function publicInfoViewer(
    context: StepContext,
    kubeconfig: pulumi.Output<string>,
    place: Place,
): pulumi.Resource {
    const { spec, cluster } = context;
    const name = `${spec.cluster}-public-info-viewer`;
    const component = ["k3s-ha:access:PublicInfoViewer", name] as const;
    const was = { component, name: `${name}-patch` };
    if (spec.publicInfoViewer.via === "ssh") return overSsh(context, place, was);
    // The identifier keeps a changed kubeconfig from showing the provider and all it holds as replaced.
    const provider = new Provider(
        `${name}-provider`,
        { kubeconfig, clusterIdentifier: spec.cluster, enableServerSideApply: true },
        { parent: cluster, dependsOn: [...place.after], aliases: [formerName(cluster, { component })] },
    );
    const annotations = {
        ...NO_AUTOUPDATE,
        // The apiserver owns `rules`: without force an update fails with a conflict.
        "pulumi.com/patchForce": "true",
        "pulumi.com/patchFieldManager": "k3s-ha",
    };
    return new ClusterRolePatch(
        name,
        { metadata: { name: ROLE, annotations }, rules: RULES },
        {
            parent: cluster,
            provider,
            dependsOn: [...place.after],
            retainOnDelete: true,
            aliases: [formerName(cluster, was)],
        },
    );
}

/** For a deployer that cannot reach the API: the same patch, on a server. */
function overSsh(context: StepContext, place: Place, was: FormerName): pulumi.Resource {
    const role = {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        metadata: { name: ROLE, annotations: NO_AUTOUPDATE },
        rules: RULES,
    };
    const files = [{ path: "/clusterrole.yaml", mode: "0600", content: quotedYaml(role) }];
    return clusterStep(context, "public-info-viewer", place, () => ({ settings: { node: place.on.name }, files }), was);
}
