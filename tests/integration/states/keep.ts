/**
 * Makes a state for tests/integration/states.test.ts of what `pulumi stack export --show-secrets` prints (stdin to stdout): without
 * times, with scripts cut out of step prepare's stdin, and with a certificate of its own in the kubeconfig that is valid for a hundred
 * years. Secrets stay in clear, so the export must be of a lab that is gone.
 */
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

const state = JSON.parse(readFileSync(0, "utf8")) as {
    readonly deployment: { readonly resources: object[] };
};
// No preview looks at them.
const unused = new Set(["created", "modified", "sourcePosition", "stackTrace"]);
const drop = (key: string, value: unknown): unknown => (unused.has(key) ? undefined : value);
let text = JSON.stringify(state, drop, 4);

// Until commit 5a9f976 they came packed, as the first line of the data.
text = text.replace(/H4sI[A-Za-z0-9+/]{1000,}=*/g, "(40 KB of scripts, which are cut out)");

const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "36500"];
const pem = execFileSync("openssl", [...request, "-subj", "/CN=nobody", "-keyout", "-"], { encoding: "utf8" });
const key = /-----BEGIN PRIVATE KEY-----[^]*-----END PRIVATE KEY-----\n/.exec(pem)?.[0] ?? "";
const certificate = /-----BEGIN CERTIFICATE-----[^]*-----END CERTIFICATE-----\n/.exec(pem)?.[0] ?? "";
const encoded = (value: string): string => Buffer.from(value).toString("base64");
text = text
    .replace(/(client-certificate-data[\\":]+ )[A-Za-z0-9+/=]+/g, `$1${encoded(certificate)}`)
    .replace(/(client-key-data[\\":]+ )[A-Za-z0-9+/=]+/g, `$1${encoded(key)}`)
    .replace(
        /("kubeconfigNotAfter": )"[^"]*"/,
        `$1"${new Date(new X509Certificate(certificate).validTo).toISOString()}"`,
    );
process.stdout.write(`${text}\n`);
