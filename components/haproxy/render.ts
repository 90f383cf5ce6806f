import type { HaproxyConfig } from "./schema";

type Section<K extends "listen" | "frontend" | "backend"> = NonNullable<HaproxyConfig[K]>[number];
type AnySection = Partial<Section<"listen"> & Section<"frontend"> & Section<"backend">>;
type Server = NonNullable<Section<"backend">["server"]>[number];

/** A host of a group that a backend's `server_dynamic` names. */
export interface GroupMember {
    readonly name: string;
    readonly address: string;
}

export interface RenderOptions {
    /** Hosts by group for `server_dynamic`, which takes them from Ansible's inventory in the role. */
    readonly groups?: Readonly<Record<string, readonly GroupMember[]>>;
}

/** First line of every rendered file. */
export const header = "# Managed by k3s-ha: changes made here are lost.";

/**
 * Marks a line that only haproxy `version` ("2.4") and newer understand. The version on a host is not known while the
 * file is rendered; haproxy-apply.sh leaves marked lines out on older ones. For haproxy the mark is a comment.
 */
export function since(version: string, line: string): string {
    return `${line} # haproxy >= ${version}`;
}

/** One argument that haproxy reads as one word whatever it contains. */
export function quote(argument: string): string {
    return /^[^\s"'#\\]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

/** Descriptions take the rest of the line, so only what haproxy would interpret or collapse needs quotes. */
function prose(description: string): string {
    return /["'#\\]|^\s|\s$|\s\s/.test(description) ? quote(description) : description;
}

/** Host and port as haproxy wants them: IPv6 in brackets. */
export function hostPort(address: string, port: number): string {
    return address.includes(":") && !address.startsWith("[") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** `words(["bind", x], undefined, [])` joins what is there with single spaces. */
function words(...parts: readonly (string | number | readonly string[] | undefined)[]): string {
    return parts
        .flat()
        .filter((part) => part !== undefined && part !== "")
        .join(" ");
}

function each<T>(items: readonly T[] | false | undefined, line: (item: T) => string): string[] {
    return items ? items.map(line) : [];
}

function one(keyword: string, value: string | number | false | undefined): string[] {
    return value === undefined || value === false ? [] : [`${keyword} ${value}`];
}

function serverLine(server: Server): string {
    return words("server", server.name, server.listen, server.param);
}

function renderGlobal(section: NonNullable<HaproxyConfig["global"]>): string[] {
    const stats = section.stats || {};
    return [
        ...each(section.log, (log) =>
            words(
                "log",
                log.address,
                log.length === undefined ? [] : ["len", `${log.length}`],
                log.facility,
                log.level,
                log.minlevel,
            ),
        ),
        ...one("chroot", section.chroot),
        ...each(stats.sockets, (socket) => words("stats socket", socket.listen, socket.param)),
        ...one("stats timeout", stats.timeout),
        ...one("user", section.user),
        ...one("group", section.group),
        ...(section.daemon ? ["daemon"] : []),
        ...(section.master_worker ? ["master-worker"] : []),
        ...one("maxconn", section.maxconn),
        ...one("ca-base", section.ca_base),
        ...one("crt-base", section.crt_base),
        ...one("ssl-default-bind-curves", section.ssl_default_bind_curves),
        ...one("ssl-default-bind-ciphers", section.ssl_default_bind_ciphers),
        ...one("ssl-default-bind-ciphersuites", section.ssl_default_bind_ciphersuites),
        ...one("ssl-default-bind-options", section.ssl_default_bind_options),
        ...(section.ssl_default_server_curves
            ? [since("2.9", `ssl-default-server-curves ${section.ssl_default_server_curves}`)]
            : []),
        ...one("ssl-default-server-ciphers", section.ssl_default_server_ciphers),
        ...one("ssl-default-server-ciphersuites", section.ssl_default_server_ciphersuites),
        ...one("ssl-default-server-options", section.ssl_default_server_options),
        ...each(section.ssl_engines, (engine) =>
            words("ssl-engine", engine.name, engine.algos?.length ? ["algo", engine.algos.join(",")] : []),
        ),
        ...(section.ssl_mode_async ? ["ssl-mode-async"] : []),
        ...one("nbthread", section.nbthread),
        ...each(section.tune, (tune) => `tune.${tune.key} ${tune.value}`),
        ...(section.option ?? []),
        ...(section.raw_options ?? []),
    ];
}

function renderDefaults(section: NonNullable<HaproxyConfig["defaults"]>): string[] {
    return [
        ...one("log", section.log),
        ...one("log-format", section.logformat),
        ...one("mode", section.mode),
        ...one("source", section.source),
        ...each(section.option, (option) => `option ${option}`),
        ...each(section.no_option, (option) => `no option ${option}`),
        ...one("retries", section.retries),
        ...each(section.timeout, (timeout) => `timeout ${timeout.type} ${timeout.timeout}`),
        ...each(section.errorfile, (file) => `errorfile ${file.code} ${file.file}`),
        ...each(section.compression, (item) => `compression ${item.name} ${item.value}`),
        ...(section.default_server_params?.length ? [words("default-server", section.default_server_params)] : []),
        ...(section.raw_options ?? []),
    ];
}

function statsLines(stats: AnySection["stats"]): string[] {
    if (!stats?.enable) return [];
    return [
        "stats enable",
        `stats uri ${stats.uri ?? "/"}`,
        ...one("stats refresh", stats.refresh),
        ...one("stats admin", stats.admin),
        ...each(stats.options, (option) => `stats ${option}`),
        ...each(stats.auth, (auth) => `stats auth ${auth.user}:${quote(auth.passwd)}`),
    ];
}

/**
 * listen, frontend or backend, in the order of the role's templates. haproxy keeps an order of its own between kinds of
 * rules (connection, session, content, http-request, redirect, use_backend); within one kind the order is the caller's.
 */
function renderProxy(section: AnySection, options: RenderOptions): string[] {
    const rules = (keyword: string, list: AnySection["http_request"]) =>
        each(list, (rule) => words(keyword, rule.action, rule.param, rule.cond));
    const { server_template: template } = section;
    return [
        ...each(section.description ? [section.description] : [], (text) => `description ${prose(text)}`),
        ...each(section.bind, (bind) => words("bind", bind.listen, bind.param)),
        ...one("mode", section.mode),
        ...one("balance", section.balance),
        ...one("hash-type", section.hash_type),
        ...one("maxconn", section.maxconn),
        ...one("source", section.source),
        ...each(section.stick, (stick) => `stick-table ${stick.table}`),
        ...(section.stick ?? []).flatMap((stick) =>
            "stick_on" in stick ? one("stick on", stick.stick_on as string | undefined) : [],
        ),
        ...each(section.option, (option) => `option ${option}`),
        ...each(section.no_option, (option) => `no option ${option}`),
        ...each(section.http_check, (check) => `http-check ${check}`),
        ...one("cookie", section.cookie),
        ...one("log-format", section.logformat),
        ...(section.no_log ? ["no log"] : []),
        ...each(section.tcp_check, (check) => `tcp-check ${check}`),
        ...each(section.timeout, (timeout) => `timeout ${timeout.type} ${timeout.timeout}`),
        ...each(section.filter, (filter) => words("filter", filter.name, filter.param)),
        ...each(section.acl, (acl) => `acl ${acl.string}`),
        ...each(section.capture, (capture) => `capture ${capture.type} ${capture.name} len ${capture.length}`),
        ...one("monitor-uri", section.monitor_uri),
        ...each(section.monitor_fail, (condition) => `monitor fail ${condition}`),
        ...statsLines(section.stats),
        ...each(section.tcp_request_inspect_delay, (delay) => `tcp-request inspect-delay ${delay.timeout}`),
        ...rules("tcp-request connection", section.tcp_request_connection),
        ...rules("tcp-request session", section.tcp_request_session),
        ...rules("tcp-request content", section.tcp_request_content),
        ...rules("http-request", section.http_request),
        ...rules("http-response", section.http_response),
        ...each(section.redirect, (redirect) => words("redirect", redirect.string, redirect.cond)),
        ...each(section.compression, (item) => `compression ${item.name} ${item.value}`),
        ...each(section.use_backend, (line) => `use_backend ${line}`),
        ...one("default_backend", section.default_backend),
        ...(section.default_server_params?.length ? [words("default-server", section.default_server_params)] : []),
        ...each(section.server, serverLine),
        ...(section.server_dynamic ?? []).flatMap((dynamic) => {
            const members = options.groups?.[dynamic.group];
            if (!members) {
                const known = Object.keys(options.groups ?? {}).join(", ") || "none";
                throw new Error(`server_dynamic: there is no group "${dynamic.group}"; there are: ${known}`);
            }
            return members.map(({ name, address }) =>
                serverLine({
                    name,
                    listen: dynamic.listen_port === undefined ? address : hostPort(address, dynamic.listen_port),
                    param: dynamic.param,
                }),
            );
        }),
        ...(template
            ? [
                  words(
                      "server-template",
                      template.name,
                      template.num,
                      template.port === undefined ? template.fqdn : `${template.fqdn}:${template.port}`,
                      template.param,
                  ),
              ]
            : []),
        ...(section.retry_on?.length ? [words("retry-on", section.retry_on)] : []),
        ...one("retries", section.retries),
        ...each(section.errorfile, (file) => `errorfile ${file.code} ${file.file}`),
        ...each(section.email_alert, (alert) => `email-alert ${alert.code} ${alert.value}`),
        ...(section.raw_options ?? []),
    ];
}

/** Timeouts and holds by name, sorted, so that the text does not depend on the order of keys. */
function byName(keyword: string, entries: Readonly<Record<string, string>> | undefined): string[] {
    return Object.entries(entries ?? {})
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, value]) => `${keyword} ${name} ${value}`);
}

/**
 * Text of haproxy.cfg for a configuration: same input, same text. Sections stand in the order of the role (global,
 * peers, log-forward, ring, defaults, userlist, resolvers, listen, cache, mailers, frontend, backend), indented by two
 * spaces; rules keep the order in which they are given.
 *
 * The text is a template: haproxy-apply.sh fills in `@@stats-password@@` and its like, leaves out lines marked by `since` for
 * newer versions, and takes back certificate checks (`caVerify`) while the CA file is missing.
 *
 * @throws Error when a `server_dynamic` names a group that `options.groups` does not have.
 */
export function renderHaproxy(config: HaproxyConfig, options: RenderOptions = {}): string {
    const out: string[] = [header, ""];
    const section = (title: string, lines: readonly string[]) =>
        out.push(title, ...lines.map((line) => `  ${line}`), "");

    if (config.global) section("global", renderGlobal(config.global));
    for (const list of config.global?.peers ?? [])
        section(
            `peers ${list.name}`,
            list.peers.map((peer) => `peer ${peer.name} ${peer.listen}`),
        );
    for (const forward of config.logforwards ?? [])
        section(`log-forward ${forward.name}`, [
            ...one("bind", forward.bind),
            ...one("dgram-bind", forward.dgram_bind),
            ...one("backlog", forward.backlog),
            ...one("maxconn", forward.maxconn),
            ...one("timeout client", forward.timeout),
            ...each(forward.log, (log) => words("log", log.address, log.param)),
        ]);
    for (const ring of config.rings ?? [])
        section(`ring ${ring.name}`, [
            ...(ring.description === undefined ? [] : [`description ${quote(ring.description)}`]),
            ...one("format", ring.format),
            ...one("maxlen", ring.maxlen),
            ...one("size", ring.size),
            ...byName("timeout", ring.timeout),
            ...each(ring.server, serverLine),
        ]);
    if (config.defaults) section("defaults", renderDefaults(config.defaults));
    for (const list of config.userlists ?? []) {
        const declared = new Set((list.groups ?? []).map((group) => group.name));
        const implied = new Set(
            list.users.flatMap((user) => user.groups ?? []).filter((group) => !declared.has(group)),
        );
        section(`userlist ${list.name}`, [
            ...each(list.groups, (group) =>
                words("group", group.name, group.users?.length ? ["users", group.users.join(",")] : []),
            ),
            ...[...implied].map((group) => `group ${group}`),
            ...list.users.map((user) =>
                words(
                    "user",
                    user.name,
                    user.password === undefined
                        ? ["insecure-password", quote(user.insecure_password ?? "")]
                        : ["password", user.password],
                    user.groups?.length ? ["groups", user.groups.join(",")] : [],
                ),
            ),
        ]);
    }
    for (const resolver of config.resolvers ?? [])
        section(`resolvers ${resolver.name}`, [
            ...each(resolver.nameservers, (server) => `nameserver ${server.name} ${server.listen}`),
            ...one("accepted_payload_size", resolver.accepted_payload_size),
            ...(resolver.parse_resolv_conf ? ["parse-resolv-conf"] : []),
            ...byName("hold", resolver.hold),
            ...one("resolve_retries", resolver.resolve_retries),
            ...byName("timeout", resolver.timeout),
        ]);
    for (const listen of config.listen ?? []) section(`listen ${listen.name}`, renderProxy(listen, options));
    for (const cache of config.cache ?? [])
        section(`cache ${cache.name}`, [
            ...one("total-max-size", cache.total_max_size),
            ...one("max-object-size", cache.max_object_size),
            ...one("max-age", cache.max_age),
        ]);
    for (const list of config.mailers ?? [])
        section(
            `mailers ${list.name}`,
            list.servers.map((server) => `mailer ${server.name} ${hostPort(server.host, server.port ?? 25)}`),
        );
    for (const frontend of config.frontend ?? []) section(`frontend ${frontend.name}`, renderProxy(frontend, options));
    for (const backend of config.backend ?? []) section(`backend ${backend.name}`, renderProxy(backend, options));
    return out.join("\n");
}
