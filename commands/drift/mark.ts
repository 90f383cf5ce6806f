/**
 * Marks drifted steps in an exported deployment: a comment line in the recorded data makes them differ from what the program says, so
 * that the next `up` runs exactly these again, and its preview shows the finding as the line that goes. Pure.
 */
import { KIT_DIR } from "../../components/model/paths";
import { CLUSTER_STEPS } from "../../components/model/steps";
import { nameOfUrn } from "../urn";
import type { Finding } from "./findings";

interface Resource {
    readonly urn: string;
    readonly type: string;
    readonly delete?: boolean;
    readonly inputs?: Record<string, unknown>;
    readonly outputs?: Record<string, unknown>;
}

/** An operation that was cut off. */
interface Pending {
    readonly type: string;
    readonly resource: { readonly urn: string };
}

/** The part of `pulumi stack export` that is read here; all else is passed through. */
export interface Deployment {
    readonly deployment: { readonly resources?: readonly Resource[]; readonly pending_operations?: readonly Pending[] };
}

/** A marked deployment. */
export interface Marked {
    readonly deployment: Deployment;
    /** Names of the resources that the next `up` updates. */
    readonly marked: readonly string[];
    /** Steps without a resource in the state; the next `up` makes them anyway. */
    readonly unknown: readonly string[];
}

const COMMAND = "command:remote:Command";
const COPY = "command:remote:CopyToRemote";
const PATCH = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch";
const MARK = /^# drift: .*\n/gm;

/** @throws when an operation is pending: what the state says is not what is */
export function mark(exported: Deployment, findings: readonly Finding[], cluster: string): Marked {
    const { resources = [], pending_operations: pending = [] } = exported.deployment;
    // A creation stays noted after a later `up` has made the resource; `stack import` drops the note.
    const made = new Set(resources.map((resource) => resource.urn));
    const open = pending.filter((op) => op.type !== "creating" || !made.has(op.resource.urn));
    if (open.length > 0)
        throw new Error(
            `the stack has pending operations (an up was cut off) on ${open.map((op) => nameOfUrn(op.resource.urn)).join(", ")}: run pulumi up first, then look for drift again`,
        );
    const ofCluster = new Set<string>(CLUSTER_STEPS);
    const wanted = new Map<string, string[]>();
    for (const { node, step, what } of findings) {
        const name = `${ofCluster.has(step) ? cluster : node}-${step}`;
        const names = step === "prepare" && lacksScripts(what) ? [`${node}-kit`, name] : [name];
        for (const each of names) wanted.set(each, [...(wanted.get(each) ?? []), what]);
    }
    const marked: string[] = [];
    const seen = new Set<string>();
    const changed = resources.map((resource) => {
        const name = nameOfUrn(resource.urn);
        const whats = wanted.get(name);
        if (whats === undefined || resource.delete === true) return resource;
        if (![COMMAND, COPY, PATCH].includes(resource.type)) return resource;
        seen.add(name);
        marked.push(name);
        if (resource.type === PATCH) return patchWithMark(resource, whats.join("; "));
        const lines = whats.map((what) => `# drift: ${what.replace(/[\u0000-\u001f\u007f]/g, " ").slice(0, 300)}\n`);
        return {
            ...resource,
            inputs: withMark(resource.inputs, lines.join("")),
            outputs: withMark(resource.outputs, lines.join("")),
        };
    });
    return {
        deployment: { ...exported, deployment: { ...exported.deployment, resources: changed } },
        marked,
        unknown: [...wanted.keys()].filter((name) => !seen.has(name)),
    };
}

/** Step prepare installs what lies in the user's home, and it is not there any more: scripts have to be sent again. */
const lacksScripts = (what: string): boolean => what.startsWith(`${KIT_DIR}/`) || what === "/var/lib/k3s-ha is missing";

/**
 * stdin is what every step has; the copy of the scripts has none, and comes again where its path differs; where it is secret (prepare, or server and agent with encrypted settings), it is encrypted here and a command line
 * takes the mark: `update`, where there is one, since the first server ignores `create`. Not `triggers`, which would replace the resource.
 */
function withMark(values: Record<string, unknown> | undefined, lines: string): Record<string, unknown> | undefined {
    if (values === undefined) return undefined;
    const key =
        ["stdin", "update", "create", "remotePath"].find((name) => typeof values[name] === "string") ?? "create";
    const text = values[key];
    if (typeof text !== "string") return values;
    const bare = text.replace(MARK, "");
    return { ...values, [key]: `${bare}${bare.endsWith("\n") ? "" : "\n"}${lines}` };
}

/**
 * An annotation that was never there. The provider compares the program's inputs with those it recorded next to the live object
 * (`__inputs`), pruned to what both have; a refresh alone makes no difference there (4.34.2, tried).
 */
function patchWithMark(resource: Resource, text: string): Resource {
    const annotated = (object: unknown): unknown => {
        const { metadata, ...rest } = object as { metadata?: { annotations?: object } };
        return { ...rest, metadata: { ...metadata, annotations: { ...metadata?.annotations, "k3s-ha/drift": text } } };
    };
    const { inputs, outputs } = resource;
    const recorded = outputs?.["__inputs"];
    return {
        ...resource,
        inputs: annotated(inputs ?? {}) as Record<string, unknown>,
        outputs: {
            ...(annotated(outputs ?? {}) as Record<string, unknown>),
            ...(recorded === undefined ? {} : { __inputs: annotated(recorded) }),
        },
    };
}
