/**
 * An own backend in the place of the API's. The steps count servers by what the proxies see of this backend: before a server is
 * restarted, the others must be up. So it has to have all of them and nothing else, and to check them.
 */
import { backendName, listenPlaces, type HaproxyConfig, type Problem } from "../../haproxy";
import { servers, type ClusterSpec } from "../../model/cluster";
import { canonicalAddress, urlHost } from "../../values";

type Backend = NonNullable<HaproxyConfig["backend"]>[number];

/** Mistakes in an own backend of the API; `own` are the user's sections, to which the paths refer. */
export function apiBackendProblems(spec: ClusterSpec, own: HaproxyConfig): Problem[] {
    const name = backendName(spec);
    const problems: Problem[] = [];
    own.listen?.forEach((section, i) => {
        if (section.name === name)
            problems.push({
                path: `listen[${i}].name`,
                message: `"${name}" is the name of the API's backend; give this section another one`,
            });
    });
    own.backend?.forEach((backend, i) => {
        if (backend.name === name) problems.push(...ofBackend(spec, backend, `backend[${i}]`));
    });
    return problems;
}

function ofBackend(spec: ClusterSpec, backend: Backend, path: string): Problem[] {
    const problems: Problem[] = [];
    const missing = new Map(servers(spec).map((n) => [canonicalAddress(n.address), n]));
    const wanted = `they are, whatever their names: ${servers(spec)
        .map((n) => `${urlHost(n.address)}:6443`)
        .join(", ")}`;
    const why = "the steps count the servers that are up by this backend before they restart one";
    backend.server?.forEach((server, i) => {
        const at = `${path}.server[${i}].listen`;
        const [place] = listenPlaces(server.listen);
        const address = canonicalAddress(place?.address ?? "");
        if (place?.from === 6443 && place.to === 6443 && missing.delete(address)) return;
        const known = servers(spec).find((n) => canonicalAddress(n.address) === address);
        const reason =
            known && place?.from === 6443 ? "is a server that is listed twice" : "is no server of this cluster";
        problems.push({ path: at, message: `"${server.listen}" ${reason}: ${why}; ${wanted}` });
    });
    if (missing.size > 0 && backend.server_dynamic === undefined)
        problems.push({
            path: `${path}.server`,
            message: `lacks ${[...missing.values()].map((n) => `${n.name} (${n.address})`).join(", ")}: ${why}; ${wanted}`,
        });
    if (backend.server_template !== undefined)
        problems.push({
            path: `${path}.server_template`,
            message: `cannot replace the lines that lead to the servers: ${why}; ${wanted}`,
        });
    const checked = (params: readonly string[] | undefined): boolean =>
        /(^|\s)check(\s|$)/.test((params ?? []).join(" "));
    const unchecked = (backend.server ?? []).filter(
        (s) => !checked(s.param) && !checked(backend.default_server_params),
    );
    if (unchecked.length > 0)
        problems.push({
            path: `${path}.server`,
            message: `does not check ${unchecked.map((s) => s.name).join(", ")}, so no proxy knows whether that server is up; add check to param, or to default_server_params`,
        });
    return problems;
}
