/** The proxies: what goes with a preset, and the user's own sections over it. */
import { checkReferences, inlineSecrets, placeholders } from "../../haproxy";
import { haproxyModel } from "../../model/proxy";
import type { Problem } from "../../haproxy/problem";
import type { Report } from "../problems";
import type { WrittenSettings } from "../../settings";
import type { ClusterSpec, NodeSpec } from "../../model/cluster";
import { apiBackendProblems } from "./api-backend";
import { haproxySecrets } from "./secrets";

/** The values of preset ansible-role are the role's, so what would change them is refused and not left out in silence. */
export function checkSeed({ proxy }: WrittenSettings, report: Report): void {
    if (proxy?.preset !== "ansible-role") return;
    const refuse = (section: object | undefined, path: readonly string[], used: readonly string[]): void => {
        for (const [key, value] of Object.entries(section ?? {}))
            if (!used.includes(key) && value !== undefined)
                report(
                    ["proxy", ...path, key],
                    undefined,
                    "has no effect with proxy.preset: ansible-role, whose values are the role's; leave it out, write it in an own section of proxy.haproxy, or take the preset recommended",
                );
    };
    refuse(proxy, [], ["preset", "port", "stats", "haproxy"]);
    refuse(proxy.stats, ["stats"], ["port", "address"]);
}

/** Mistakes in the user's own haproxy sections that show only together with the preset's. */
export function checkProxy(spec: ClusterSpec, problems: Problem[]): void {
    const own = spec.proxy.haproxy;
    if (own === undefined) return;
    const at = (path: string): string => `k3s-ha:proxy.haproxy.${path}`;
    for (const path of inlineSecrets(own)) {
        problems.push({
            path: at(path),
            message: `holds a password in the stack file; write ${placeholders.statsPassword} (or ${placeholders.statsPasswordHash} for its hash) and set the secret k3s-ha:statsPassword`,
        });
    }
    problems.push(...haproxySecrets(own));
    // Sections are found by name in the merged configuration; the user knows them by their place in the stack file.
    const merged = haproxyModel(spec, spec.nodes[0] as NodeSpec);
    const placeOf = (path: string): string =>
        path.replace(/^(\w+)\[(\d+)\]/, (whole, key: keyof typeof merged, i: string) => {
            const name = (merged[key] as readonly { name?: string }[])[Number(i)]?.name;
            const place = (own[key] as readonly { name?: string }[] | undefined)?.findIndex((s) => s.name === name);
            return place === undefined || place < 0 ? whole : `${key}[${place}]`;
        });
    for (const { path, message } of checkReferences(merged)) problems.push({ path: at(placeOf(path)), message });
    // Of two sections with one name the merge would keep the last without a word.
    for (const { path, message, kind } of checkReferences(own))
        if (kind === "twice" && /^\w+\[\d+\]\.name$/.test(path)) problems.push({ path: at(path), message });
    for (const { path, message } of apiBackendProblems(spec, own)) problems.push({ path: at(path), message });
    own.backend?.forEach((backend, i) => {
        if (backend.server_dynamic !== undefined)
            problems.push({
                path: at(`backend[${i}].server_dynamic`),
                message: "takes its servers from Ansible's inventory, which is not there: list them in server",
            });
    });
}
