/**
 * Forms that settings are made of. Every message says what is allowed; the path and the value are added where all messages are
 * put together (config/problems.ts).
 */
import { X509Certificate } from "node:crypto";
import { z } from "zod";
import { durationMs, isAddress, isCidr, isHost } from ".";

/** No control characters, neither of ASCII nor of Unicode, and none that YAML takes for the end of a line. */
const PRINTABLE = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff]*$/;

/** One line of text: no control characters, so that no value can become a second line of a file. */
export const line = z
    .string()
    .regex(PRINTABLE, "must be one line without control characters")
    .max(4096, "must have at most 4096 characters");
export const word = line.regex(/^\S+$/, "must not be empty or contain white space");

/** Text of several lines, as a file has it. */
export const text = z.string().refine((t) => !/[\u0000-\u0008\u000b-\u001f\u007f]/.test(t), {
    error: "must be text without control characters other than tab and newline",
});

/** Text that a function takes; `allowed` follows "must be". */
export const refined = (ok: (text: string) => boolean, allowed: string) =>
    z.string().refine(ok, { error: `must be ${allowed}` });
/** Text that matches a pattern, which editors check too. */
export const matching = (pattern: RegExp, allowed: string) => z.string().regex(pattern, `must be ${allowed}`);

export const address = refined(isAddress, "an IPv4 or IPv6 address");
const cidr = refined(isCidr, "a network such as 10.90.0.0/24 or fd00::/8");
/** haproxy takes at most 64 words in a line. */
export const networks = z.array(cidr).max(50, "must list at most 50 networks; join them to larger ones");
export const host = refined(isHost, "a DNS name or an address");
export const duration = refined(
    (t) => durationMs(t) !== undefined,
    "a duration such as 500ms, 2s, 1m, 4h (number and unit, above 0, at most 24d)",
);
export const port = z
    .int("must be a whole number")
    .min(1, "must be a port from 1 to 65535")
    .max(65535, "must be a port from 1 to 65535");
export const count = z
    .int("must be a whole number")
    .min(1, "must be 1 or more")
    .max(1_000_000, "must be at most 1000000");
export const bool = z.boolean("must be true or false");
/** A counter that the user raises. */
export const generation = z.int("must be a whole number").min(0, "must be 0 or more");

export const hostFile = refined(
    (t) => /^(\/[A-Za-z0-9._+@-]+)+$/.test(t) && !t.split("/").some((part) => part === ".." || part === "."),
    "the absolute path of a file, of letters, digits and . _ - + @",
);
export const fileName = matching(/^[A-Za-z0-9._/~+@-]+$/, "a file name of letters, digits and . _ - + @ / ~");
export const sha256 = matching(/^[0-9a-f]{64}$/, "a SHA-256 sum: 64 hexadecimal digits in lower case");
export const url = refined((t) => {
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

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** Nothing else is in it, above all no key: it stands in the stack file. */
export const certificates = z
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
