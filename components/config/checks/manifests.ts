/** manifests: names that k3s takes and has not itself, content that it can apply. */
import { isScalar, parseAllDocuments, type Document } from "yaml";
import type { Report } from "../problems";
import { MANIFESTS } from "../../model/paths";
import type { StackSettings } from "../../settings";
import { repeated } from "./repeated";

/**
 * Addons of k3s's own (its folder manifests, and what `disable` knows): one of the same name would prune the other's objects. Those of
 * metrics-server lie in a folder, which makes no difference: an Addon has the name of the file alone.
 */
const PACKAGED: ReadonlySet<string> = new Set(
    `ccm coredns local-storage rolebindings runtimes traefik metrics-server servicelb
aggregated-metrics-reader auth-delegator auth-reader metrics-apiservice metrics-server-deployment metrics-server-service resource-reader`.split(
        /\s+/,
    ),
);

/** The kube-apiserver takes no larger object into etcd (1.5 MiB a request), with k3s's copy of it in an annotation. */
const MOST_OBJECT = 1024 * 1024;
/** Every server's step holds all of them, in the state too. */
const MOST_FILE = 4 * 1024 * 1024;

/** Name of the file's Addon. */
export const addonOf = (name: string): string => name.split(".")[0] as string;

export function checkManifests(settings: StackSettings, report: Report): void {
    repeated(
        settings.manifests,
        ({ name }) => addonOf(name),
        ({ name }, i, before) =>
            report(
                ["manifests", i, "name"],
                name,
                `has the same Addon (${addonOf(name)}) as manifests[${before}]: each would delete the other's objects`,
            ),
    );
    settings.manifests.forEach(({ name, content, state }, i) => {
        const tell = (key: string, value: unknown, message: string): void =>
            report(["manifests", i, key], value, message);
        const addon = addonOf(name);
        const taken = takenBy(settings, name, addon);
        if (taken !== undefined) tell("name", name, taken);
        if (state === "absent") {
            if (content !== undefined)
                tell("content", undefined, `cannot be set together with state: absent (${name}); leave it out`);
        } else if (content === undefined) {
            tell("content", undefined, `is missing (${name}); it must be objects in YAML or JSON`);
        } else {
            const wrong = contentProblem(content);
            if (wrong !== undefined) tell("content", undefined, `${wrong} (${name})`);
        }
    });
}

/** Who else has that name. */
function takenBy({ host, server }: StackSettings, name: string, addon: string): string | undefined {
    if (PACKAGED.has(addon))
        return "is a name of k3s's own: its objects and yours would delete each other; give yours another name";
    const disabled = [server.config["disable"] ?? []].flat().map(String);
    if (disabled.includes(name.replace(/\.[^.]*$/, "")))
        return "is in server.config.disable: k3s deletes the file and its objects";
    for (const { path } of host.files) {
        if (!path.startsWith(`${MANIFESTS}/`)) continue;
        const other = path.slice(path.lastIndexOf("/") + 1);
        if (other === `${name}.skip`) return `is skipped by host.files (${path}): k3s does not apply it`;
        if (/\.(ya?ml|json)$/i.test(other) && addonOf(other) === addon)
            return `has the same Addon (${addon}) as ${path} of host.files; keep one of them`;
    }
    return undefined;
}

/** What is wrong with a file; nothing of its text is in the answer, which may be secret. */
function contentProblem(content: string): string | undefined {
    const size = Buffer.byteLength(content);
    if (size > MOST_FILE) return `has ${size} bytes, and a file may have ${MOST_FILE}; use several files`;
    let objects = 0;
    for (const [i, document] of (parseAllDocuments(content, { version: "1.1" }) as Document[]).entries()) {
        const at = `document ${i + 1}`;
        const [error] = document.errors;
        if (error !== undefined) {
            const what = error.code.toLowerCase().replaceAll("_", " ");
            return `is no YAML or JSON: ${what} in line ${error.linePos?.[0].line ?? "?"}`;
        }
        if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) continue;
        const found = objectsIn(document);
        if (found === undefined) return `${at} is no Kubernetes object, which is a map with apiVersion and kind`;
        const wrong = found.map((object) => objectProblem(object)).find((problem) => problem !== undefined);
        if (wrong !== undefined) return `${at} ${wrong}`;
        objects += found.length;
    }
    return objects > 0 ? undefined : "holds no object; state: absent deletes those that it had";
}

/** Those of a document, in k3s's eyes: a map with `items` is a list of them. Undefined where it is something else. */
function objectsIn(document: Document): Record<string, unknown>[] | undefined {
    try {
        const value: unknown = document.toJS({ maxAliasCount: 1000 });
        if (!isObject(value)) return undefined;
        if (!Array.isArray(value["items"])) return [value];
        return value["items"].every(isObject) ? value["items"] : undefined;
    } catch {
        return undefined;
    }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
    value !== null && typeof value === "object" && !Array.isArray(value);

/** What the API needs of every object. */
function objectProblem(object: Record<string, unknown>): string | undefined {
    for (const key of ["apiVersion", "kind"])
        if (typeof object[key] !== "string" || object[key] === "") return `has no ${key}, or one that is no text`;
    const metadata = object["metadata"];
    if (!isObject(metadata) || typeof metadata["name"] !== "string" || metadata["name"] === "")
        return "has no metadata.name, by which k3s knows an object";
    const size = Buffer.byteLength(JSON.stringify(object));
    return size > MOST_OBJECT ? `has ${size} bytes in JSON, and etcd takes objects of ${MOST_OBJECT}` : undefined;
}

/** Whether one of the objects is a Secret with something in it. */
export function holdsSecret(content: string): boolean {
    if (!content.includes("Secret") || Buffer.byteLength(content) > MOST_FILE) return false;
    return (parseAllDocuments(content, { version: "1.1" }) as Document[]).some(
        (document) =>
            document.errors.length === 0 &&
            objectsIn(document)?.some(
                ({ kind, data, stringData }) =>
                    kind === "Secret" &&
                    [data, stringData].some((part) => isObject(part) && Object.keys(part).length > 0),
            ) === true,
    );
}
