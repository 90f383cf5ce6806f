/**
 * The form of a stack file's settings (namespace `k3s-ha`), field by field. Relations between fields are in check.ts.
 * Every message says what is allowed; the path and the value are added where all messages are put together (problems.ts).
 */
import { X509Certificate } from "node:crypto";
import { z } from "zod";
import { haproxyConfigSchema } from "../haproxy";
import { ALLOWABLE, type K3sConfig } from "../model/cluster";
import { READINESS_MODES } from "../model/readiness";
import {
    K3S_VERSION_FORM,
    durationMs,
    isAddress,
    isCidr,
    isHost,
    isLabel,
    isNodeName,
    parseK3sVersion,
} from "../model/values";

/** No control characters, neither of ASCII nor of Unicode, and none that YAML takes for the end of a line. */
const PRINTABLE = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff]*$/;

/** One line of text: no control characters, so that no value can become a second line of a file. */
const line = z
    .string()
    .regex(PRINTABLE, "must be one line without control characters")
    .max(4096, "must have at most 4096 characters");
const word = line.regex(/^\S+$/, "must not be empty or contain white space");
const refined = (ok: (text: string) => boolean, allowed: string) =>
    z.string().refine(ok, { error: `must be ${allowed}` });

const address = refined(isAddress, "an IPv4 or IPv6 address");
const cidr = refined(isCidr, "a network such as 10.90.0.0/24 or fd00::/8");
/** haproxy takes at most 64 words in a line. */
const networks = z.array(cidr).max(50, "must list at most 50 networks; join them to larger ones");
const host = refined(isHost, "a DNS name or an address");
const duration = refined(
    (t) => durationMs(t) !== undefined,
    "a duration such as 500ms, 2s, 1m, 4h (number and unit, above 0, at most 24d)",
);
const port = z
    .int("must be a whole number")
    .min(1, "must be a port from 1 to 65535")
    .max(65535, "must be a port from 1 to 65535");
const count = z.int("must be a whole number").min(1, "must be 1 or more").max(1_000_000, "must be at most 1000000");
const bool = z.boolean("must be true or false");
const generation = z.int("must be a whole number").min(0, "must be 0 or more");
const hostFile = refined(
    (t) => /^(\/[A-Za-z0-9._+@-]+)+$/.test(t) && !t.split("/").some((part) => part === ".." || part === "."),
    "the absolute path of a file, of letters, digits and . _ - + @",
);
const fileName = refined((t) => /^[A-Za-z0-9._/~+@-]+$/.test(t), "a file name of letters, digits and . _ - + @ / ~");
const unit = refined(
    (t) => /^[A-Za-z0-9:_.@\\-]+\.(service|target|mount|socket)$/.test(t),
    "a systemd unit such as wg-quick@wg0.service",
);
const sha256 = refined((t) => /^[0-9a-f]{64}$/.test(t), "a SHA-256 sum: 64 hexadecimal digits in lower case");
const url = refined((t) => {
    try {
        return (
            /^https?:\/\/[^\s'"\\]+$/.test(t) &&
            !/[?#]/.test(t) &&
            new URL(t).username === "" &&
            isHost(new URL(t).hostname.replace(/^\[|\]$/g, ""))
        );
    } catch {
        return false;
    }
}, "an http:// or https:// URL without user, query or fragment");
const hostKey = refined(
    (t) =>
        /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}( [^\u0000-\u001f]*)?$/.test(
            t,
        ),
    'a public host key as ssh-keyscan prints it, without the host: "ssh-ed25519 AAAA…"',
);
const labelKey = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const labels = z.record(
    refined((t) => labelKey.test(t), "a Kubernetes label key such as topology.example.com/site"),
    refined((t) => labelValue.test(t), "a Kubernetes label value: at most 63 of letters, digits, - _ ."),
);
const taint = refined((t) => {
    const m = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(t);
    return m !== null && labelKey.test(m[1]!) && labelValue.test(m[2] ?? "");
}, "a taint such as key=value:NoSchedule (or PreferNoSchedule, NoExecute)");

/** A secret that becomes the only line of a file on the hosts. */
const secret = refined(
    (t) => t.length >= 12 && t.length <= 256 && /^[!-~]+$/.test(t),
    "12 to 256 printable ASCII characters without spaces",
);

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** Nothing else is in it, above all no key: it stands in the stack file. */
const certificates = z
    .string()
    .max(65536, "must have at most 65536 characters")
    .refine(
        (t) => {
            const found = t.match(PEM_CERTIFICATE) ?? [];
            try {
                found.forEach((pem) => new X509Certificate(pem));
            } catch {
                return false;
            }
            return found.length > 0 && t.replace(PEM_CERTIFICATE, "").trim() === "";
        },
        { error: "must be one or more certificates in PEM form (-----BEGIN CERTIFICATE-----…) and nothing else" },
    );

/** A cloud's key, which goes into a YAML string. */
const credential = refined(
    (t) => t.length <= 256 && /^[!#-[\]-~]+$/.test(t),
    "1 to 256 printable ASCII characters without spaces, quotes and backslashes",
);

/** k3s's own settings, checked key by key against the role in check.ts. */
const k3sConfig = z.record(
    z.string(),
    z.union([line, z.number(), z.boolean(), z.array(z.union([line, z.number()]))], {
        error: "must be text (one line), a number, true or false, or a list of texts and numbers",
    }),
) satisfies z.ZodType<K3sConfig>;

/** Keys of YAML files that others read are one word or line of ASCII, as all of theirs are. */
function asciiKeys(content: unknown, ctx: z.core.$RefinementCtx): void {
    const look = (value: unknown, path: readonly (string | number)[]): void => {
        if (value === null || typeof value !== "object") return;
        for (const [key, inner] of Object.entries(value)) {
            const at = [...path, Array.isArray(value) ? Number(key) : key];
            if (/^[ -~]+$/.test(key)) look(inner, at);
            else ctx.addIssue({ code: "custom", path: at, message: "must have a name of printable ASCII characters" });
        }
    };
    look(content, []);
}

/** Content of a YAML file that others read. */
const yamlContent = z.record(z.string(), z.unknown()).superRefine(asciiKeys);

/** Kubernetes' own structured authentication (AuthenticationConfiguration.jwt): what it needs to start is looked at, the rest is its. */
const claim = z
    .looseObject({ claim: line.optional(), prefix: line.optional(), expression: line.optional() })
    .refine(
        (c) => (c.expression !== undefined) !== (c.claim !== undefined && c.prefix !== undefined),
        "must have claim and prefix (it may be empty), or expression",
    );
const jwtIssuers = z
    .array(
        z.looseObject({
            issuer: z.looseObject({
                url: refined((t) => /^https:\/\/[^\s'"\\]+$/.test(t), "an https:// URL"),
                audiences: z.array(word).min(1, "must list at least one audience (the client's id)"),
                certificateAuthority: certificates.optional(),
            }),
            claimMappings: z.looseObject({ username: claim, groups: claim.optional() }),
        }),
    )
    .max(64, "must list at most 64 issuers")
    .superRefine(asciiKeys);

const bastion = z.strictObject({
    host,
    port: port.optional(),
    user: word.optional(),
    hostKey: hostKey.optional(),
});

const nodeSsh = z.strictObject({
    host: host.optional(),
    port: port.optional(),
    user: word.optional(),
    hostKey: hostKey.optional(),
    bastion: bastion.optional(),
});

const node = z.strictObject({
    name: refined(
        isNodeName,
        "a lower-case DNS name: letters, digits, - and . between them, at most 63 characters, as Kubernetes wants node names",
    ),
    role: z.enum(["server", "agent"], { error: "must be server or agent" }),
    address,
    ssh: nodeSsh.optional(),
    labels: labels.optional(),
    taints: z.array(taint).optional(),
    externalAddress: address.optional(),
    config: k3sConfig.optional(),
    rebuilt: generation.optional(),
    lost: bool.optional(),
    throughProxy: bool.optional(),
});

const sshDefaults = z.strictObject({
    port: port.optional(),
    user: word.optional(),
    bastion: bastion.optional(),
    knownHosts: fileName.optional(),
    privateKeyFile: fileName.optional(),
    insecureIgnoreHostKey: bool.optional(),
    dialErrorLimit: count.optional(),
});

const check = z.strictObject({
    interval: duration.optional(),
    fastInterval: duration.optional(),
    downInterval: duration.optional(),
    rise: count.optional(),
    fall: count.optional(),
    timeout: duration.optional(),
    verify: bool.optional(),
});

const proxy = z.strictObject({
    preset: z.enum(["recommended", "seed"], { error: "must be recommended or seed" }).optional(),
    port: port.optional(),
    ipv6: bool.optional(),
    stats: z
        .strictObject({
            port: port.optional(),
            address: z
                .union([address, z.literal("node")], {
                    error: 'must be an address, or "node" for each node\'s own VPN address',
                })
                .optional(),
            allowedNetworks: networks.optional(),
            metricsPassword: bool.optional(),
            admin: bool.optional(),
        })
        .optional(),
    check: check.optional(),
    balance: refined(
        (t) => /^(leastconn|roundrobin|source|first|random(\([1-9][0-9]?\))?)$/.test(t),
        "leastconn, roundrobin, random, random(1) to random(99), source or first",
    ).optional(),
    // The process takes twice as many, each with two descriptors, and the kernel's own limit is 1048576 (fs.nr_open).
    maxconn: count.max(250_000, "must be at most 250000").optional(),
    slowstart: duration.optional(),
    observe: bool.optional(),
    timeouts: z
        .strictObject({
            connect: duration.optional(),
            client: duration.optional(),
            server: duration.optional(),
            tunnel: duration.optional(),
            queue: duration.optional(),
            clientFin: duration.optional(),
            serverFin: duration.optional(),
            hardStopAfter: duration.optional(),
        })
        .optional(),
    haproxy: haproxyConfigSchema.optional(),
});

/** Every setting a stack file may hold under `k3s-ha:`; the descriptions for users are in Pulumi.yaml. */
export const stackSchema = z.strictObject({
    cluster: refined((t) => isLabel(t) && t.length <= 40, "a lower-case DNS label of at most 40 characters"),
    version: refined((t) => parseK3sVersion(t) !== undefined, K3S_VERSION_FORM),
    readiness: z.enum(READINESS_MODES, { error: "must be unauthorized, anonymous or scoped" }).default("anonymous"),
    nodes: z.array(node).min(1, "must list at least one node").max(2000, "must list at most 2000 nodes"),
    ssh: sshDefaults.default({}),
    vpn: z
        .strictObject({
            interface: refined((t) => /^[A-Za-z0-9_.@-]{1,15}$/.test(t), "a network interface such as wg0").optional(),
            unit: unit.optional(),
            networks: networks.optional(),
        })
        .default({}),
    proxy: proxy.default({}),
    server: z
        .strictObject({
            config: k3sConfig.optional(),
            datastore: z.enum(["etcd", "sqlite"], { error: "must be etcd or sqlite" }).optional(),
        })
        .default({}),
    agent: z.strictObject({ config: k3sConfig.optional(), throughProxy: bool.optional() }).default({}),
    authentication: z.strictObject({ jwt: jwtIssuers.optional() }).default({}),
    kubelet: yamlContent.default({}),
    registries: yamlContent.default({}),
    download: z
        .strictObject({
            baseUrl: url.optional(),
            sha256: z
                .strictObject({ amd64: sha256.optional(), arm64: sha256.optional(), arm: sha256.optional() })
                .optional(),
            file: hostFile.optional(),
        })
        .default({}),
    kubeconfig: z.strictObject({ context: word.optional(), server: url.optional() }).default({}),
    publicInfoViewer: z
        .strictObject({ via: z.enum(["provider", "ssh"], { error: "must be provider or ssh" }).optional() })
        .default({}),
    host: z
        .strictObject({
            packages: z
                .array(
                    // apt removes what ends in a minus.
                    refined((t) => /^[a-z0-9]([a-z0-9+._-]{0,126}[a-z0-9+])?$/.test(t), "a package name"),
                )
                .optional(),
            sysctl: z
                .record(
                    refined((t) => /^[a-z0-9][a-z0-9._/-]{0,127}$/.test(t), "a sysctl key such as net.ipv4.ip_forward"),
                    z.union(
                        [
                            z
                                .number()
                                .refine((n) => !/e/.test(String(n)), "must be a number or one line of printable ASCII"),
                            line.regex(/^[ -~]+$/),
                        ],
                        {
                            error: "must be a number or one line of printable ASCII",
                        },
                    ),
                )
                .optional(),
            files: z
                .array(
                    z.strictObject({
                        path: hostFile,
                        mode: refined(
                            (t) => /^0[0-7]{3}$/.test(t),
                            'four octal digits in quotes, such as "0644"',
                        ).optional(),
                        content: z.string().refine((t) => !/[\u0000-\u0008\u000b-\u001f\u007f]/.test(t), {
                            error: "must be text without control characters other than tab and newline",
                        }),
                    }),
                )
                .optional(),
        })
        .default({}),
    timeouts: z
        .strictObject({ server: duration.optional(), agent: duration.optional(), download: duration.optional() })
        .default({}),
    rollout: z
        .strictObject({ agents: count.optional(), drain: bool.optional(), drainTimeout: duration.optional() })
        .default({}),
    allow: z.array(z.enum(ALLOWABLE, { error: `must be ${ALLOWABLE.join(", ")}` })).default([]),
    snapshots: z
        .strictObject({
            schedule: refined(
                (t) => /^(@(hourly|daily|weekly|monthly|every [0-9]+[smh])|[0-9*/,-]+( [0-9A-Za-z*/,-]+){4})$/.test(t),
                'a cron schedule of five fields such as "0 */6 * * *"',
            ).optional(),
            retention: z
                .int("must be a whole number")
                .min(1, "must be 1 or more")
                .max(1000, "must be at most 1000")
                .optional(),
            compress: bool.optional(),
            beforeUpgrade: bool.optional(),
            now: refined(
                (t) => /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(t),
                "a name of lower-case letters, digits, . and -, at most 63",
            ).optional(),
            restore: refined(
                (t) => /^(\/[A-Za-z0-9._/+@-]+|[A-Za-z0-9][A-Za-z0-9._-]*)$/.test(t) && !t.split("/").includes(".."),
                "the absolute path of a snapshot on the first server, or its name in the S3 bucket",
            ).optional(),
            s3: z
                .strictObject({
                    bucket: word,
                    endpoint: refined(
                        (t) => /^[A-Za-z0-9.-]+(:[0-9]+)?$/.test(t),
                        "host or host:port, without a scheme",
                    ).optional(),
                    region: word.optional(),
                    folder: word.optional(),
                    endpointCa: certificates.optional(),
                    lookup: z.enum(["auto", "path", "dns"], { error: "must be auto, path or dns" }).optional(),
                    insecure: bool.optional(),
                    retention: count.optional(),
                })
                .optional(),
        })
        .default({}),
    rotate: z
        .strictObject({
            token: generation.optional(),
            agentToken: generation.optional(),
            statsPassword: generation.optional(),
            metricsPassword: generation.optional(),
            certificates: generation.optional(),
        })
        .default({}),
    caHash: sha256.optional(),
    s3AccessKey: credential.optional(),
    s3SecretKey: credential.optional(),
    token: secret.optional(),
    agentToken: secret.optional(),
    statsPassword: secret.optional(),
    sshPrivateKey: z.string().optional(),
    sshPrivateKeyPassword: z.string().optional(),
});

/** A stack file's settings as the user wrote them, every field known and well formed. */
export type StackSettings = z.infer<typeof stackSchema>;
export type NodeSettings = StackSettings["nodes"][number];
