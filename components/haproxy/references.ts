/** What only the whole configuration shows: names that are not there or used twice, and passwords in clear text. */
import type { Problem } from "./problem";
import type { HaproxyConfig } from "./schema";

/**
 * Mistakes that show only in the whole configuration, after `merge`: names used twice, a backend, user list, cache or
 * resolvers section that is not there. Values with conditions or `%[...]` are left to haproxy itself.
 */
export function checkReferences(config: HaproxyConfig): Problem[] {
    const problems = usedTwice(config);
    const backends = new Set([...(config.backend ?? []), ...(config.listen ?? [])].map((section) => section.name));
    config.frontend?.forEach((frontend, index) => {
        const missing = (path: string, target: string) => {
            if (!target.includes("%[") && !backends.has(target))
                problems.push({
                    path: `frontend[${index}].${path}`,
                    message: `there is no backend "${target}"; there are: ${[...backends].join(", ") || "none"}`,
                });
        };
        if (frontend.default_backend !== undefined) missing("default_backend", frontend.default_backend);
        frontend.use_backend?.forEach((line, position) =>
            missing(`use_backend[${position}]`, line.split(/\s+/)[0] ?? ""),
        );
    });
    // What the preset asks about, which sections of the user's may have replaced.
    const servers = new Set(
        [...(config.backend ?? []), ...(config.listen ?? [])].flatMap((section) =>
            (section.server ?? []).map((server) => `${section.name}/${server.name}`),
        ),
    );
    const asked = new Set<string>();
    const askedFor = (path: string, section: string, condition: string | undefined) => {
        for (const [, server = ""] of condition?.matchAll(/\bsrv_is_up\(([^)]+)\)/g) ?? []) {
            if (servers.has(server) || asked.has(`${section} ${server}`)) continue;
            asked.add(`${section} ${server}`);
            problems.push({
                path,
                message: `there is no server "${server}"; where a backend of your own replaces that one, replace "${section}" too`,
            });
        }
    };
    config.frontend?.forEach((frontend, index) =>
        frontend.tcp_request_content?.forEach(({ cond }, position) =>
            askedFor(`frontend[${index}].tcp_request_content[${position}].cond`, frontend.name, cond),
        ),
    );
    config.backend?.forEach((backend, index) =>
        backend.raw_options?.forEach((line, position) => {
            if (line.startsWith("use-server "))
                askedFor(`backend[${index}].raw_options[${position}]`, backend.name, line);
        }),
    );
    return problems;
}

function usedTwice(config: HaproxyConfig): Problem[] {
    const problems: Problem[] = [];
    const unique = (path: string, items: readonly { readonly name: string }[] | undefined) => {
        const seen = new Set<string>();
        items?.forEach((item, index) => {
            if (seen.has(item.name))
                problems.push({
                    path: `${path}[${index}].name`,
                    message: `"${item.name}" is used twice`,
                    kind: "twice",
                });
            seen.add(item.name);
        });
    };
    for (const key of ["listen", "frontend", "backend", "userlists", "resolvers", "mailers", "cache", "rings"] as const)
        unique(key, config[key]);
    for (const key of ["listen", "backend"] as const)
        config[key]?.forEach((section, index) => unique(`${key}[${index}].server`, section.server));
    return problems;
}

/** Paths of passwords that stand as plain text or hash in the configuration instead of as a placeholder `@@...@@`. */
export function inlineSecrets(config: HaproxyConfig): string[] {
    const paths: string[] = [];
    const look = (path: string, value: string | undefined) => {
        if (value !== undefined && !/^@@[a-z-]+@@$/.test(value)) paths.push(path);
    };
    for (const key of ["listen", "backend"] as const)
        config[key]?.forEach((section, index) =>
            section.stats?.auth?.forEach((auth, position) =>
                look(`${key}[${index}].stats.auth[${position}].passwd`, auth.passwd),
            ),
        );
    config.userlists?.forEach((list, index) =>
        list.users.forEach((user, position) => {
            look(`userlists[${index}].users[${position}].password`, user.password);
            look(`userlists[${index}].users[${position}].insecure_password`, user.insecure_password);
        }),
    );
    return paths;
}
