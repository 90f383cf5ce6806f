import { z } from "zod";

/*
 * The haproxy configuration as data. Keys are those of the Ansible role Oefenweb.haproxy without its `haproxy_` prefix,
 * in the role's own spelling, so that YAML written for the role can be pasted. The role's flat `haproxy_global_log`
 * is `global: { log }` here and `haproxy_defaults_timeout` is `defaults: { timeout }`.
 */

/** Role settings that this program does not have, with what takes their place. */
const replaced: Record<string, string> = {
    reqadd: "removed in haproxy 2.1: use http_request with action add-header",
    rspadd: "removed in haproxy 2.1: use http_response with action add-header",
    reqdel: "removed in haproxy 2.1: use http_request with action del-header",
    reqidel: "removed in haproxy 2.1: use http_request with action del-header",
    rspdel: "removed in haproxy 2.1: use http_response with action del-header",
    rspidel: "removed in haproxy 2.1: use http_response with action del-header",
    reqrep: "removed in haproxy 2.1: use http_request with action replace-header or replace-path",
    reqirep: "removed in haproxy 2.1: use http_request with action replace-header or replace-path",
    rsprep: "removed in haproxy 2.1: use http_response with action replace-header",
    rspirep: "removed in haproxy 2.1: use http_response with action replace-header",
    bind_process: "removed in haproxy 2.7: processes are threads now, use `thread` in the parameters of bind",
    nbproc: "removed in haproxy 2.5: use nbthread, or leave it out (one thread for each core)",
    program: "an error since haproxy 3.2, gone in 3.4: run the program as a service of the host",
    ssl_map: "certificates are not copied by the proxy: put them on the hosts with the setting `files`",
    use_ppa: "haproxy is installed from the distribution's own packages",
    version: "haproxy is installed from the distribution's own packages; mark a line with `# haproxy >= X.Y` instead",
    install: "use the setting `packages`",
    dependencies: "use the setting `packages`",
    conf_template: "the file is rendered from this model; use raw_options for lines that it does not know",
    restart_handler_state: "haproxy is always reloaded, never restarted",
};

/** Directives, as they stand in a line of haproxy.cfg, that current versions refuse. */
const deadLines: readonly (readonly [RegExp, string])[] = [
    [
        /^(req|rsp)i?(add|del|rep|deny|allow|tarpit|pass|setbe)\b/,
        "removed in haproxy 2.1: use http-request, http-response",
    ],
    [/^nbproc\b/, "removed in haproxy 2.5: use nbthread"],
    [/^bind-process\b/, "removed in haproxy 2.7: use `thread` on the bind line"],
    [/^option forceclose\b/, "removed in haproxy 2.6: use option httpclose"],
    [/^option http-tunnel\b/, "removed in haproxy 2.4: has no replacement"],
    [/^(block|appsession|redispatch)\b/, "removed in haproxy 2.1: use http-request deny, stick or option redispatch"],
    [/^(con|cli|srv)timeout\b/, "removed in haproxy 2.1: use timeout connect, client, server"],
];

function hint(key: string): string {
    const known = Object.hasOwn(replaced, key) ? replaced[key] : undefined;
    if (known !== undefined) return `"${key}" is not supported: ${known}`;
    if (key.startsWith("haproxy_")) return `unknown key "${key}": write the role's keys without the prefix haproxy_`;
    const nested = /^(global|defaults)_(.+)$/.exec(key);
    if (nested) return `unknown key "${key}": write it as ${nested[1]}: { ${nested[2]}: ... }`;
    if (key.startsWith("letsencrypt_")) return `"${key}" is not supported: certificates are not obtained here`;
    return `unknown key "${key}"`;
}

/** An object that refuses unknown keys and says what replaces those that are known to be gone. */
function strict<S extends z.core.$ZodLooseShape>(shape: S) {
    return z.strictObject(shape, {
        error: (issue) =>
            issue.code === "unrecognized_keys" ? (issue.keys as string[]).map(hint).join("; ") : undefined,
    });
}

const numberAsText = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? String(value) : value);

/** Any one-line text. haproxy.cfg is line based, so a newline in a value would add a directive. */
const text = z.preprocess(
    numberAsText,
    z
        .string()
        .min(1, "must not be empty")
        .regex(/^[^\u0000-\u001f\u007f\u2028\u2029]*$/, "must not contain a newline or control character"),
);

/** Text that stands behind `prefix` on a line of its own, and must not be a directive that is gone. */
function lineAfter(prefix: string) {
    return text.superRefine((rest, ctx) => {
        const dead = deadLines.find(([pattern]) => pattern.test(`${prefix}${rest}`));
        if (dead) ctx.addIssue({ code: "custom", message: `"${prefix}${rest}": ${dead[1]}` });
    });
}
const directive = lineAfter("");

/** One word: no white space, no quotes, no comment sign. */
const word = text.pipe(z.string().regex(/^[^\s"'#\\]+$/, "must be one word without spaces, quotes, # or \\"));

/** Name of a section, server, user ...: what haproxy accepts in names. */
const name = text.pipe(z.string().regex(/^[A-Za-z0-9_.:-]+$/, "may contain only letters, digits and _ . : -"));

/** haproxy's time format; without a unit milliseconds. */
const duration = z.preprocess(
    numberAsText,
    z
        .string()
        .regex(/^[0-9]+(us|ms|s|m|h|d)?$/, "must be a number with an optional unit us, ms, s, m, h or d")
        .refine((text) => !(milliseconds(text) >= 2 ** 31), "must be less than 25 days, as haproxy's timers are"),
);

const UNITS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
function milliseconds(text: string): number {
    const [, number, unit] = /^([0-9]+)([a-z]*)$/.exec(text) ?? [];
    return Number(number) * (UNITS[unit || "ms"] ?? 1);
}

/** haproxy's size format; without a unit bytes. */
const size = z.preprocess(
    numberAsText,
    z.string().regex(/^[0-9]+[kKmMgG]?$/, "must be a number with an optional k, m or g"),
);

const count = z.preprocess(
    (value) => (typeof value === "string" && /^[0-9]+$/.test(value) ? Number(value) : value),
    z.int("must be a whole number").nonnegative("must not be negative"),
);
const port = count.pipe(z.int().min(1, "must be 1..65535").max(65535, "must be 1..65535"));
const texts = z.array(text);
const directives = z.array(directive);
const options = z.array(lineAfter("option "));

/** A list that may be written as a single value. */
const oneOrMore = z.preprocess((value) => (value === undefined || Array.isArray(value) ? value : [value]), directives);

/** `false` leaves the directive out; a plain union would report any mistake inside as "invalid input". */
function orFalse<T extends z.ZodType>(schema: T) {
    return (
        z
            .unknown()
            .transform((value, ctx): z.output<T> | false => {
                if (value === false) return false;
                const result = schema.safeParse(value);
                if (result.success) return result.data;
                for (const issue of result.error.issues)
                    ctx.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue);
                return z.NEVER;
            })
            // For those that walk the schema: the transformation hides what is inside.
            .meta({ orFalse: schema })
    );
}

const bind = strict({ listen: word, param: texts.optional() });
const server = strict({ name, listen: word, param: texts.optional() });
const rule = strict({ action: directive, param: text.optional(), cond: text.optional() });
const timeout = strict({ type: word, timeout: duration });
const errorfile = strict({ code: count, file: word });
const compression = strict({ name: word, value: text });
const filter = strict({ name: word, param: texts.optional() });
const stats = strict({
    enable: z.boolean(),
    uri: word.optional(),
    refresh: duration.optional(),
    admin: text.optional(),
    options: texts.optional(),
    auth: z.array(strict({ user: name, passwd: text })).optional(),
});
const serverTemplate = strict({ name, num: word, fqdn: word, port: port.optional(), param: texts.optional() });

const common = {
    name,
    description: text.optional(),
    mode: z.enum(["http", "tcp", "log"]).optional(),
    option: options.optional(),
    no_option: options.optional(),
    no_log: z.boolean().optional(),
    timeout: z.array(timeout).optional(),
    acl: z.array(strict({ string: text })).optional(),
    filter: z.array(filter).optional(),
    http_request: z.array(rule).optional(),
    http_response: z.array(rule).optional(),
    tcp_request_inspect_delay: z.array(strict({ timeout: duration })).optional(),
    tcp_request_content: z.array(rule).optional(),
    compression: z.array(compression).optional(),
    errorfile: z.array(errorfile).optional(),
    raw_options: directives.optional(),
};
const listening = {
    bind: z.array(bind).min(1, "needs at least one address"),
    maxconn: count.optional(),
    logformat: text.optional(),
    capture: z.array(strict({ type: text, name: word, length: count })).optional(),
    tcp_request_connection: z.array(rule).optional(),
    tcp_request_session: z.array(rule).optional(),
    redirect: z.array(strict({ string: text, cond: text.optional() })).optional(),
    // Not in the role, whose raw_options would put them behind http-request, of which haproxy warns.
    monitor_uri: word.optional(),
    monitor_fail: texts.optional(),
};
const balancing = {
    hash_type: text.optional(),
    source: text.optional(),
    stick: z.array(strict({ table: text, stick_on: text.optional() })).optional(),
    http_check: oneOrMore.optional(),
    tcp_check: texts.optional(),
    stats: stats.optional(),
    default_server_params: texts.optional(),
    server: z.array(server).optional(),
    server_template: serverTemplate.optional(),
    retry_on: z.array(word).optional(),
    retries: count.optional(),
};

const listenSection = strict({ ...common, ...listening, ...balancing, balance: text.optional() });
const frontendSection = strict({
    ...common,
    ...listening,
    stick: z.array(strict({ table: text })).optional(),
    use_backend: oneOrMore.optional(),
    default_backend: name.optional(),
});
const backendSection = strict({
    ...common,
    ...balancing,
    balance: text,
    cookie: text.optional(),
    server_dynamic: z.array(strict({ group: word, listen_port: port.optional(), param: texts.optional() })).optional(),
    email_alert: z.array(strict({ code: word, value: text })).optional(),
});

const globalSection = strict({
    log: orFalse(
        z.array(
            strict({
                address: word,
                facility: word,
                level: word.optional(),
                minlevel: word.optional(),
                length: count.optional(),
            }),
        ),
    ).optional(),
    chroot: orFalse(word).optional(),
    stats: orFalse(
        strict({
            sockets: z.array(strict({ listen: word, param: texts.optional() })).optional(),
            timeout: duration.optional(),
        }),
    ).optional(),
    user: orFalse(name).optional(),
    group: orFalse(name).optional(),
    daemon: z.boolean().optional(),
    master_worker: z.boolean().optional(),
    maxconn: count.optional(),
    ca_base: orFalse(word).optional(),
    crt_base: orFalse(word).optional(),
    ssl_default_bind_curves: text.optional(),
    ssl_default_bind_ciphers: orFalse(text).optional(),
    ssl_default_bind_ciphersuites: orFalse(text).optional(),
    ssl_default_bind_options: orFalse(text).optional(),
    ssl_default_server_curves: text.optional(),
    ssl_default_server_ciphers: orFalse(text).optional(),
    ssl_default_server_ciphersuites: orFalse(text).optional(),
    ssl_default_server_options: orFalse(text).optional(),
    ssl_engines: z.array(strict({ name: word, algos: z.array(word).optional() })).optional(),
    ssl_mode_async: z.boolean().optional(),
    nbthread: count.optional(),
    tune: z.array(strict({ key: word, value: text })).optional(),
    option: directives.optional(),
    peers: z.array(strict({ name, peers: z.array(strict({ name, listen: word })) })).optional(),
    raw_options: directives.optional(),
});

const defaultsSection = strict({
    log: orFalse(text).optional(),
    logformat: text.optional(),
    mode: orFalse(z.enum(["http", "tcp", "log"])).optional(),
    source: text.optional(),
    option: orFalse(options).optional(),
    no_option: options.optional(),
    // Not in the role.
    retries: count.optional(),
    timeout: orFalse(z.array(timeout)).optional(),
    errorfile: orFalse(z.array(errorfile)).optional(),
    compression: z.array(compression).optional(),
    default_server_params: texts.optional(),
    raw_options: directives.optional(),
});

const userlist = strict({
    name,
    groups: z.array(strict({ name, users: z.array(name).optional() })).optional(),
    users: z.array(
        strict({
            name,
            password: word.optional(),
            insecure_password: text.optional(),
            groups: z.array(name).optional(),
        }).refine(
            (user) => (user.password === undefined) !== (user.insecure_password === undefined),
            "needs either password (a crypt hash) or insecure_password (plain text)",
        ),
    ),
});

const aclFile = strict({
    dest: word.pipe(
        z
            .string()
            .regex(/^\/etc\/haproxy\/[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/, "must be a file below /etc/haproxy/")
            .refine(
                (path) => !path.split("/").some((part) => part === ".." || part === "."),
                "must not contain .. or .",
            ),
    ),
    content: texts,
    owner: name.optional(),
    group: name.optional(),
    mode: z
        .preprocess(numberAsText, z.string().regex(/^0?[0-7]{3}$/, 'must be an octal mode such as "0644"'))
        .optional(),
});

/**
 * Schema of a haproxy configuration in the role's words. Unknown keys are errors that name the key and, for settings of
 * the role that haproxy or this program has no longer, what replaces them. Numbers are accepted for texts and times.
 * No value may hold a newline or a control character.
 */
export const haproxyConfigSchema = strict({
    global: globalSection.optional(),
    defaults: defaultsSection.optional(),
    listen: z.array(listenSection).optional(),
    frontend: z.array(frontendSection).optional(),
    backend: z.array(backendSection).optional(),
    userlists: z.array(userlist).optional(),
    resolvers: z
        .array(
            strict({
                name,
                nameservers: z.array(strict({ name, listen: word })).optional(),
                accepted_payload_size: count.optional(),
                parse_resolv_conf: z.boolean().optional(),
                resolve_retries: count.optional(),
                hold: z.record(name, duration).optional(),
                timeout: z.record(name, duration).optional(),
            }),
        )
        .optional(),
    mailers: z
        .array(strict({ name, servers: z.array(strict({ name, host: word, port: port.optional() })) }))
        .optional(),
    cache: z
        .array(
            strict({
                name,
                total_max_size: count.optional(),
                max_object_size: count.optional(),
                max_age: count.optional(),
            }),
        )
        .optional(),
    rings: z
        .array(
            strict({
                name,
                description: text.optional(),
                format: word.optional(),
                maxlen: count.optional(),
                size: size.optional(),
                timeout: z.record(name, duration).optional(),
                server: z.array(server).optional(),
            }),
        )
        .optional(),
    logforwards: z
        .array(
            strict({
                name,
                bind: text.optional(),
                dgram_bind: text.optional(),
                backlog: count.optional(),
                maxconn: count.optional(),
                timeout: duration.optional(),
                log: z.array(strict({ address: word, param: texts.optional() })).optional(),
            }),
        )
        .optional(),
    acl_files: z.array(aclFile).optional(),
});

/** A haproxy configuration, as `haproxyConfigSchema` gives it. */
export type HaproxyConfig = z.output<typeof haproxyConfigSchema>;

/** One mistake in what a user wrote. */
export interface Problem {
    /** Where: `frontend[0].bind` in a haproxy configuration, `k3s-ha:nodes[2].address` in a stack file. */
    readonly path: string;
    /** What stood there, cut to a readable length; undefined when it is absent or secret. */
    readonly value?: string;
    /** What is wrong or allowed, and where it helps why. */
    readonly message: string;
    /** Set where somebody has to tell mistakes of this kind from others. */
    readonly kind?: "twice";
}

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
