/**
 * The official passphrase secrets provider: AES-256-GCM under a PBKDF2 key (SHA-256, 1,000,000 rounds, 8 bytes salt).
 * State is `v1:<salt>:<"pulumi" encrypted>`, a value is `v1:<nonce>:<ciphertext and tag>`, all base64. So that config
 * and state can be read by the official command line and the other way round.
 */
import { createCipheriv, createDecipheriv, pbkdf2, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { CommandError } from "./errors";

const TAG_BYTES = 16;
const derive = promisify(pbkdf2);

export class Crypter {
    private constructor(
        private readonly key: Buffer,
        /** Goes to `encryptionsalt` in the stack file and `state.salt` in the deployment. */
        readonly salt: string,
    ) {}

    /** Checks the passphrase against the state. */
    static async open(passphrase: string, state: string): Promise<Crypter> {
        const [version, salt, ...check] = state.split(":");
        if (version !== "v1" || !salt || check.length !== 3)
            throw new CommandError("malformed state value in encryptionsalt");
        const c = new Crypter(await derive(passphrase, Buffer.from(salt, "base64"), 1_000_000, 32, "sha256"), state);
        let text: string | undefined;
        try {
            text = c.decrypt(check.join(":"));
        } catch {
            // told below
        }
        if (text !== "pulumi") throw new CommandError("incorrect passphrase");
        return c;
    }

    static async create(passphrase: string): Promise<Crypter> {
        const salt = randomBytes(8);
        const key = await derive(passphrase, salt, 1_000_000, 32, "sha256");
        return new Crypter(key, `v1:${salt.toString("base64")}:${new Crypter(key, "").encrypt("pulumi")}`);
    }

    encrypt(text: string): string {
        const nonce = randomBytes(12);
        const cipher = createCipheriv("aes-256-gcm", this.key, nonce);
        const data = Buffer.concat([cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
        return `v1:${nonce.toString("base64")}:${data.toString("base64")}`;
    }

    decrypt(text: string): string {
        const [version, nonce, data] = text.split(":");
        if (version !== "v1" || !nonce || !data) throw new CommandError("bad value: not an encrypted secret");
        const raw = Buffer.from(data, "base64");
        const d = createDecipheriv("aes-256-gcm", this.key, Buffer.from(nonce, "base64"));
        d.setAuthTag(raw.subarray(raw.length - TAG_BYTES));
        return d.update(raw.subarray(0, raw.length - TAG_BYTES), undefined, "utf8") + d.final("utf8");
    }
}

/** From PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE; there is no prompt. */
export function readPassphrase(): string {
    const direct = process.env.PULUMI_CONFIG_PASSPHRASE;
    if (direct !== undefined) return direct;
    const file = process.env.PULUMI_CONFIG_PASSPHRASE_FILE;
    if (file) {
        try {
            return readFileSync(file, "utf8").trim();
        } catch (e) {
            throw new CommandError(`unable to read PULUMI_CONFIG_PASSPHRASE_FILE: ${(e as Error).message}`);
        }
    }
    throw new CommandError(
        "passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables",
    );
}
