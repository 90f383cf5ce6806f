/**
 * Broken and hostile stack files, made from the schema: every setting that components/settings has gets every hostile
 * value, so that a new setting is covered without anybody thinking of it.
 */
import { parse, stringify } from "yaml";
import { z } from "zod";
import { stackSchema } from "../../../components/settings";
import { CA_PEM, node, settings } from "./settings";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrLdC9JoPv1HnRVTtNQTqxv4O7yPdW8YZMDk0zJqF0Y";
const BASTION = { host: "10.97.0.1", hostKey: KEY };

/** A stack with something in every place that has to agree with another one, so that each place alone can be made wrong. */
export const BASE = settings({
    nodes: [
        node("master-1", "server", "10.90.0.11"),
        node("master-2", "server", "10.90.0.12", {
            ssh: { hostKey: KEY, bastion: BASTION },
            config: { "pause-image": "a" },
        }),
        node("agent-1", "agent", "10.90.0.21"),
    ],
    ssh: { bastion: BASTION },
    // k3s's own values, so that networks and ports meet what they would without.
    server: {
        config: {
            "cluster-domain": "a",
            "cluster-cidr": "10.42.0.0/16",
            "service-cidr": "10.43.0.0/16",
            "cluster-dns": "10.43.0.10",
            "service-node-port-range": "30000-32767",
            "flannel-backend": "vxlan",
            "lb-server-port": 6444,
            "kube-proxy-arg": ["v=2"],
        },
    },
    agent: { config: { "pause-image": "a" } },
    token: "the-server-token-of-the-stack",
    snapshots: { s3: { bucket: "a" } },
    s3AccessKey: "access",
    s3SecretKey: "secret",
    proxy: {
        haproxy: {
            listen: [
                {
                    name: "own",
                    bind: [{ listen: "127.0.0.1:8001" }],
                    stats: { enable: true, auth: [{ user: "a", passwd: "@@stats-password@@" }] },
                },
            ],
            frontend: [
                { name: "front", bind: [{ listen: "127.0.0.1:8002" }], use_backend: ["back"], default_backend: "back" },
            ],
            backend: [
                {
                    name: "back",
                    balance: "leastconn",
                    stats: { enable: true, auth: [{ user: "a", passwd: "@@stats-password@@" }] },
                },
            ],
            userlists: [{ name: "own", users: [{ name: "a", password: "@@stats-password-hash@@" }] }],
            acl_files: [{ dest: "/etc/haproxy/list", content: ["a"] }],
        },
    },
});

/** Settings that are of use beside another one only, and what they hold. */
const BESIDE: Readonly<Record<string, { readonly with: object; readonly value: unknown }>> = {
    hardening: { with: { readiness: "scoped" }, value: "cis" },
    rotate: {
        with: { server: { config: { ...(BASE["server"] as { config: object }).config, "secrets-encryption": true } } },
        value: {},
    },
    authentication: {
        with: { readiness: "scoped" },
        value: {
            jwt: [
                {
                    issuer: { url: "https://login.example.org", audiences: ["a"] },
                    claimMappings: { username: { claim: "a", prefix: "" }, groups: { claim: "a", prefix: "" } },
                },
            ],
        },
    },
    images: {
        with: {},
        value: {
            source: "file",
            file: "/etc/x.tar",
            sha256: { amd64: "ab".repeat(32) },
            files: [{ from: "/etc/y.tar", sha256: "ab".repeat(32) }],
        },
    },
    manifests: {
        with: {},
        value: [{ name: "a.yaml", content: "apiVersion: v1\nkind: A\nmetadata: { name: a }\n" }],
    },
};

export type Path = readonly (string | number)[];

/** Where a value may stand, and what it must be at least for the rest to be well formed. */
export interface Place {
    readonly path: Path;
    /** Settings with a well-formed value at that place. */
    readonly settings: Record<string, unknown>;
    readonly kind: "text" | "number" | "boolean" | "container" | "any";
}

/** What a run of the value as code would leave: a file of this name. */
export const CANARY = "k3s-ha-canary";
/** The canary's folder is put in here. */
export const FOLDER = "@FOLDER@";
const touch = `touch ${FOLDER}/${CANARY}`;

/** Texts that are code, patterns, options or second lines to somebody on the way to a host. */
export const TEXTS: readonly string[] = [
    `$(${touch})`,
    `$(touch\${IFS}${FOLDER}/${CANARY})`,
    `\`${touch}\``,
    `; ${touch} #`,
    `x;touch\${IFS}${FOLDER}/${CANARY}`,
    `|| ${touch}`,
    `a && ${touch} &`,
    `'; ${touch}; '`,
    `"; ${touch}; "`,
    `"$(${touch})"`,
    `x\n${touch}\n`,
    `x\r\n${touch}`,
    `a\nfile: /etc/passwd 0644\n    root::0:0::/:/bin/sh`,
    `a\nnode: other`,
    "a\0b",
    "a\tb",
    "\u001b[31mred",
    "a\u0085b",
    "a\u2028b",
    "\ufeffa",
    "a\u007fb",
    "",
    " ",
    " leading and trailing ",
    "$HOME",
    "${PATH}",
    "$1",
    "~root",
    "*",
    "/etc/*",
    "[a-z]*",
    "a.b",
    ".*",
    "&\\0\\1",
    "a|b",
    "a\\nb",
    "\\",
    "%s%n%d",
    "%i",
    "'",
    '"',
    "`",
    "#comment",
    "a #b",
    "a: b",
    "- a",
    "{a: 1}",
    "{{ .Name }}",
    "!!binary aGVsbG8=",
    "&anchor",
    "*alias",
    "@@stats-password@@",
    "../../etc/shadow",
    "/etc/../etc/shadow",
    "/etc/",
    "/",
    "//etc//passwd",
    "-",
    "--help",
    "-oProxyCommand=x",
    "-rf",
    "a-",
    "a+",
    "no",
    "yes",
    "null",
    "~",
    "true",
    "0644",
    "0o17",
    "1e3",
    ".5",
    "0x1F",
    "1:30",
    "1_000",
    "2026-01-01",
    ".inf",
    "constructor",
    "__proto__",
    "toString",
    "é中文",
    "кластер",
    "мaster",
    "\u202eabc",
    "😀",
    // Networks: k3s's own ones, link-local ones, the wrong family, no network at all.
    "10.42.0.1",
    "10.43.0.10",
    "10.42.0.0/16",
    "10.43.128.0/17",
    "10.42.0.0/16,fd00:42::/56",
    "fd00:42::1",
    "fd00::/8",
    "0.0.0.0/0",
    "::/0",
    "ten",
    "fe80::1",
    "169.254.169.254",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "10.0.0.010",
    "224.0.0.1",
    "255.255.255.255",
    // Those of BASE itself, where they are somebody else's: another node, the bastion, the VPN.
    "10.90.0.12",
    "10.90.0.0/24",
    "10.97.0.1",
    "master-2",
    // Lists of both families in either order, host bits, masks that are none.
    "2001:db8::/32,10.0.0.0/8",
    "10.43.0.10,fd00:43::a",
    "10.42.0.1/16",
    "10.42.0.0/33",
    // Too large or small ones, and one that meets all nodes.
    "10.0.0.0/8",
    "10.42.0.0/30",
    "fd00:50::/32",
    // Words of k3s's that have a meaning, flags of its components.
    "none",
    "wireguard-native",
    "vxlan,host-gw",
    "register-node=false",
    "hostname-override=x",
    "metrics-bind-address=0.0.0.0:1936",
    "healthz-bind-address=[::]:16443",
    "1-65535",
    "20-30",
    // Ports that somebody has, in haproxy's forms.
    "*:6443",
    ":443",
    "[::]:30080",
    "127.0.0.1:16443",
    "127.0.0.1:1-65535",
    "quic4@*:8472",
    "10.0.0.1:80,10.0.0.2:6443",
    "30000",
    "40000-30000",
    // Names: of EL's default, and what is none; the machine itself, and what reads as an address.
    "localhost",
    "localhost.localdomain",
    "1.2.3.4",
    "MASTER-1",
    "a_b",
    `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(61)}.e`,
    "node1.example.com",
    "a..b",
    ".a",
    "a.",
    "-a.b",
    `${"a".repeat(60)}.example.com`,
    // What other login shells than sh read as more than a word.
    `(${touch})`,
    `=(${touch})`,
    `<(${touch})`,
    `begin; ${touch}; end`,
    `a\n\tb ^and ${touch}`,
    "!!",
    "^a^b^",
    "=ls",
    "%1",
    "a[b](N)",
    // The same for csh, and what stands for its ends of lines in a command (components/remote/login-shell.ts).
    "$<",
    "$argv[1]",
    ">& /dev/null",
    "!$:p",
    "a^b@c~d%e,f+g\\h",
    "'\"'\"'!\\'",
    "https://$(id)/",
    "http://h/{a,b}[1-9]",
    "999999999d",
    "x".repeat(5000),
];

/** Values of other types, and numbers out of every range. */
export const OTHERS: readonly unknown[] = [
    null,
    true,
    false,
    0,
    -1,
    0.5,
    65536,
    420,
    80,
    6443,
    8472,
    30080,
    16443,
    1936,
    10250,
    2379,
    30000,
    32767,
    2 ** 31,
    2 ** 53,
    1e21,
    -1e308,
    [],
    {},
    [[]],
    [null],
    [{ a: 1 }],
    { a: { b: 1 } },
    { __proto__: null, constructor: "x" },
    JSON.parse('{"__proto__": "x"}') as unknown,
    ["a", "a"],
    Array.from({ length: 3000 }, (_, i) => `item-${i}`),
];

type Schema = z.core.$ZodType;
interface Definition {
    readonly type: string;
    readonly shape?: Record<string, Schema>;
    readonly element?: Schema;
    readonly innerType?: Schema;
    readonly keyType?: Schema;
    readonly valueType?: Schema;
    readonly in?: Schema;
    readonly out?: Schema;
    readonly options?: readonly Schema[];
    readonly entries?: Record<string, string>;
    readonly values?: readonly unknown[];
}
const definition = (schema: Schema): Definition => schema._zod.def as unknown as Definition;

/** Optional, defaults, pipes and preprocessing taken away. */
function core(schema: Schema): Schema {
    const inner = (schema as z.ZodType).meta?.()?.["orFalse"];
    if (inner) return core(inner as Schema);
    const def = definition(schema);
    if (def.innerType) return core(def.innerType);
    if (def.type === "pipe") return core(definition(def.in as Schema).type === "transform" ? def.out! : def.in!);
    return schema;
}

/** Well-formed values; for a leaf the first one that its schema takes. */
const SAMPLES: readonly unknown[] = [
    "a",
    1,
    true,
    "10.97.0.99",
    "10.97.0.0/24",
    "5s",
    "roundrobin",
    "v1.36.3+k3s1",
    "/etc/x",
    "a=b:NoSchedule",
    "wg0.service",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrLdC9JoPv1HnRVTtNQTqxv4O7yPdW8YZMDk0zJqF0Y",
    "ab".repeat(32),
    "https://example.org/x",
    "0644",
    "0 */6 * * *",
    "a-secret-of-16-chars",
    "/etc/haproxy/list",
    "/etc/x.tar",
    "1k",
    CA_PEM,
];

/** A well-formed value: of an object only what is required. @throws when SAMPLES has none for a leaf: add one there. */
function sample(schema: Schema, path: Path): unknown {
    const inner = core(schema);
    const def = definition(inner);
    if (def.type === "object") {
        return Object.fromEntries(
            Object.entries(def.shape!)
                .filter(([, s]) => !z.safeParse(s, undefined).success)
                .map(([key, s]) => [key, sample(s, [...path, key])]),
        );
    }
    if (def.type === "array") return [sample(def.element!, [...path, 0])];
    if (def.type === "record") return { [String(sample(def.keyType!, path))]: sample(def.valueType!, [...path, "a"]) };
    if (def.type === "enum") return Object.values(def.entries!)[0];
    if (def.type === "literal") return def.values![0];
    const found = SAMPLES.find((value) => z.safeParse(inner, value).success);
    if (found === undefined) throw new Error(`${path.join(".")}: SAMPLES in ${__filename} has no value for it`);
    return found;
}

function kindOf(def: Definition): Place["kind"] {
    if (["object", "array", "record"].includes(def.type)) return "container";
    if (["string", "enum", "literal", "union"].includes(def.type)) return "text";
    return def.type === "number" || def.type === "boolean" ? def.type : "any";
}

/** Every place of the schema, below the settings in `base`; lists and maps with one more element. */
export function places(base: Readonly<Record<string, unknown>>): Place[] {
    const found: Place[] = [];
    // `set` puts a value to the place, with all that is around it.
    const walk = (
        schema: Schema,
        path: Path,
        present: unknown,
        set: (value: unknown) => Record<string, unknown>,
    ): void => {
        const inner = core(schema);
        const def = definition(inner);
        const whole = present ?? sample(schema, path);
        found.push({ path, settings: set(whole), kind: kindOf(def) });
        if (def.type === "object") {
            const at = whole as Record<string, unknown>;
            for (const [key, s] of Object.entries(def.shape!))
                walk(s, [...path, key], at[key], (v) => set({ ...at, [key]: v }));
        } else if (def.type === "array") {
            const list = whole as unknown[];
            // In the middle of a list that is there: the second node is a server that does not found.
            const i = Math.min(1, list.length - 1);
            walk(def.element!, [...path, i], list[i], (v) => set(list.map((old, j) => (j === i ? v : old))));
        } else if (def.type === "record") {
            const map = whole as Record<string, unknown>;
            const keys = Object.keys(map);
            for (const key of keys.length > 0 ? keys : [String(sample(def.keyType!, path))])
                walk(def.valueType!, [...path, key], map[key], (v) => set({ ...map, [key]: v }));
        }
    };
    const { shape } = definition(stackSchema);
    for (const [key, schema] of Object.entries(shape!))
        walk(schema, [key], base[key] ?? BESIDE[key]?.value, (value) => ({
            ...base,
            ...BESIDE[key]?.with,
            [key]: value,
        }));
    return found;
}

/** `settings` with another value at a place. */
export function withValue(settings: unknown, path: Path, value: unknown): unknown {
    const [key, ...rest] = path;
    if (key === undefined) return value;
    if (Array.isArray(settings))
        return settings.map((old, i) => (i === key ? withValue(old, rest, value) : (old as unknown)));
    const at = { ...(settings as Record<string, unknown>) };
    // Not by assignment, which would take __proto__ for something else.
    Object.defineProperty(at, key, {
        value: withValue(at[key], rest, value),
        enumerable: true,
        configurable: true,
        writable: true,
    });
    return at;
}

export function valueAt(settings: unknown, path: Path): unknown {
    return path.reduce<unknown>((at, key) => (at as Record<string | number, unknown> | undefined)?.[key], settings);
}

/** Names of records' keys are input too. `keyed` are the paths of maps whose keys the user chooses. */
export function recordPaths(all: readonly Place[]): Place[] {
    const byPath = new Map(all.map((p) => [JSON.stringify(p.path), p]));
    return all.filter(
        (p) => p.kind === "container" && !Array.isArray(valueAt(p.settings, p.path)) && isRecord(p.path, byPath),
    );
}

function isRecord(path: Path, known: ReadonlyMap<string, Place>): boolean {
    let at: Schema = stackSchema;
    for (const key of path) {
        const def = definition(core(at));
        at = (def.shape?.[String(key)] ?? def.element ?? def.valueType) as Schema;
    }
    return known.has(JSON.stringify(path)) && definition(core(at)).type === "record";
}

/**
 * Config values as the engine gives them to the program, from the text of a stack file: lists and maps as JSON, all else as text.
 * `version` is the YAML that the engine reads: the official one's library knows 1.1 (0644 is 420, no is false; dates stay text).
 */
export function engineConfig(text: string, version: "1.1" | "1.2"): Record<string, string> {
    const file = parse(text, {
        version,
        uniqueKeys: false,
        customTags: (tags) => tags.filter((t) => typeof t !== "object" || t.tag !== "tag:yaml.org,2002:timestamp"),
    }) as { config?: Record<string, unknown> } | null;
    return Object.fromEntries(
        Object.entries(file?.config ?? {}).map(([key, value]) => [
            key,
            value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value),
        ]),
    );
}

/** What is the same in every case is read once. */
const known = new WeakMap<object, string>();

/** The same from settings, each through its text in a stack file. */
export function configOf(settings: Readonly<Record<string, unknown>>): Record<string, string> {
    return Object.fromEntries(
        Object.entries(settings).map(([k, value]) => {
            const key = `k3s-ha:${k}`;
            const object = typeof value === "object" && value !== null;
            const text =
                (object ? known.get(value) : undefined) ??
                engineConfig(stringify({ config: { key: value } }, { aliasDuplicateObjects: false }), "1.2")["key"]!;
            if (object) known.set(value, text);
            return [key, text];
        }),
    );
}
