/**
 * The haproxy configuration as data. Keys are those of the Ansible role Oefenweb.haproxy without its `haproxy_` prefix,
 * in the role's own spelling, so that YAML written for the role can be pasted. The role's flat `haproxy_global_log`
 * is `global: { log }` here and `haproxy_defaults_timeout` is `defaults: { timeout }`.
 */
import { z } from "zod";
import {
    count,
    directive,
    directives,
    duration,
    name,
    numberAsText,
    oneOrMore,
    options,
    orFalse,
    port,
    size,
    strict,
    text,
    texts,
    word,
} from "./fields";

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
