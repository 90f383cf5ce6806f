/** What the state keeps of a cluster, so that the next `up` can compare: plain data. Pure. */
import { fixedSettings } from "../model/change-rules";
import { encryptionDescription, type EncryptionDescription } from "../model/encryption";
import type { ClusterSpec } from "../model/cluster";

/** A node, as the next `up` compares it. Absent properties are 0 and false. */
export interface NodeDescription {
    readonly role: string;
    readonly address: string;
    readonly rebuilt?: number;
    readonly lost?: boolean;
}

/** What of a spec decides about the next one; plain data that is kept in the state and shown in previews. */
export interface ClusterDescription {
    readonly version: string;
    readonly datastore: string;
    /** Its name; absent in what older versions of this program left. */
    readonly cluster?: string;
    /** The first server; see ClusterSpec.firstServer. The states keep this name. */
    readonly founder?: string;
    readonly nodes: Readonly<Record<string, NodeDescription>>;
    /** What k3s fixes at the founding and what the pods' network depends on (model/change-rules.ts); absent as above. */
    readonly settings?: Readonly<Record<string, string>>;
    /** Names of the files in `manifests` whose objects are to be there; absent where there are none. */
    readonly manifests?: readonly string[];
    /** Of the keys of Secrets; absent where those are not encrypted. */
    readonly encryption?: EncryptionDescription;
}

/** The description of a spec. */
export function descriptionOf(spec: ClusterSpec): ClusterDescription {
    const manifests = spec.manifests.filter(({ state }) => state === "present").map(({ name }) => name);
    const encryption = encryptionDescription(spec);
    return {
        version: spec.version,
        datastore: spec.server.datastore,
        cluster: spec.cluster,
        founder: spec.firstServer,
        nodes: Object.fromEntries(
            spec.nodes.map(({ name, role, address, rebuilt, lost }) => [
                name,
                { role, address, ...(rebuilt > 0 ? { rebuilt } : {}), ...(lost ? { lost } : {}) },
            ]),
        ),
        settings: fixedSettings(spec),
        ...(manifests.length > 0 ? { manifests } : {}),
        ...(encryption === undefined ? {} : { encryption }),
    };
}

/** A description as the state has it. Before 0.2 a node was a text: `server 10.0.0.1 rebuilt 2 lost`. */
export function readDescription(kept: unknown): ClusterDescription {
    const description = kept as Omit<ClusterDescription, "nodes"> & {
        readonly nodes: Readonly<Record<string, NodeDescription | string>>;
    };
    const nodes = Object.entries(description.nodes).map(([name, node]) => [
        name,
        typeof node === "string" ? readNode(node) : node,
    ]);
    return { ...description, nodes: Object.fromEntries(nodes) as ClusterDescription["nodes"] };
}

function readNode(text: string): NodeDescription {
    const [role = "", address = ""] = text.split(" ");
    return { role, address, rebuilt: Number(/ rebuilt (\d+)/.exec(text)?.[1] ?? 0), lost: text.endsWith(" lost") };
}
