/** Kinds of values in a haproxy configuration: one line, one word, a time, a size, an object without unknown keys. */
import { z } from "zod";

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
export function strict<S extends z.core.$ZodLooseShape>(shape: S) {
    return z.strictObject(shape, {
        error: (issue) =>
            issue.code === "unrecognized_keys" ? (issue.keys as string[]).map(hint).join("; ") : undefined,
    });
}

export const numberAsText = (value: unknown) =>
    typeof value === "number" && Number.isFinite(value) ? String(value) : value;

/** Any one-line text. haproxy.cfg is line based, so a newline in a value would add a directive. */
export const text = z.preprocess(
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
export const directive = lineAfter("");

/** One word: no white space, no quotes, no comment sign. */
export const word = text.pipe(z.string().regex(/^[^\s"'#\\]+$/, "must be one word without spaces, quotes, # or \\"));

/** Name of a section, server, user ...: what haproxy accepts in names. */
export const name = text.pipe(z.string().regex(/^[A-Za-z0-9_.:-]+$/, "may contain only letters, digits and _ . : -"));

/** haproxy's time format; without a unit milliseconds. */
export const duration = z.preprocess(
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
export const size = z.preprocess(
    numberAsText,
    z.string().regex(/^[0-9]+[kKmMgG]?$/, "must be a number with an optional k, m or g"),
);

export const count = z.preprocess(
    (value) => (typeof value === "string" && /^[0-9]+$/.test(value) ? Number(value) : value),
    z.int("must be a whole number").nonnegative("must not be negative"),
);
export const port = count.pipe(z.int().min(1, "must be 1..65535").max(65535, "must be 1..65535"));
export const texts = z.array(text);
export const directives = z.array(directive);
export const options = z.array(lineAfter("option "));

/** A list that may be written as a single value. */
export const oneOrMore = z.preprocess(
    (value) => (value === undefined || Array.isArray(value) ? value : [value]),
    directives,
);

/** `false` leaves the directive out; a plain union would report any mistake inside as "invalid input". */
export function orFalse<T extends z.ZodType>(schema: T) {
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
