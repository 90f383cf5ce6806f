/** Settings that must be secret in the stack file, and whose values never appear in a message. */
import { z } from "zod";
import { refined } from "../values/forms";

/** A secret that becomes the only line of a file on the hosts. */
const secret = refined(
    (t) => t.length >= 12 && t.length <= 256 && /^[!-~]+$/.test(t),
    "12 to 256 printable ASCII characters without spaces",
);

/** A cloud's key, which goes into a YAML string. */
const credential = refined(
    (t) => t.length <= 256 && /^[!#-[\]-~]+$/.test(t),
    "1 to 256 printable ASCII characters without spaces, quotes and backslashes",
);

export const secrets = {
    token: secret
        .optional()
        .meta({ description: "what servers join with; another value rotates it", otherwise: "generated" }),
    agentToken: secret
        .optional()
        .meta({ description: "what agents join with; another value rotates it", otherwise: "generated" }),
    statsPassword: secret
        .optional()
        .meta({ description: "password of user `admin` on the stats pages", otherwise: "generated" }),
    sshPrivateKey: z.string().optional().meta({ description: "SSH key for the hosts", otherwise: "the SSH agent" }),
    sshPrivateKeyPassword: z.string().optional().describe("passphrase of `sshPrivateKey`"),
    s3AccessKey: credential.optional().describe("access key of the snapshots' bucket"),
    s3SecretKey: credential.optional().describe("secret key of the snapshots' bucket"),
};
