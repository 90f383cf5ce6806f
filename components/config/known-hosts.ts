/** Host keys from a known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). */
import { createHmac } from "node:crypto";

/** Strongest first: one key is pinned per host. */
const ORDER = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/**
 * The public key of a host in the text of a known_hosts file, as `type base64`; undefined when it has none.
 * Hashed names are understood; lines with markers (@revoked, @cert-authority) and patterns are passed over.
 */
export function knownHostKey(text: string, host: string, port: number): string | undefined {
    const name = port === 22 ? host : `[${host}]:${port}`;
    const found = new Map<string, string>();
    for (const line of text.split(/\r?\n/)) {
        const [names, type, key] = line.trim().split(/\s+/);
        if (!names || !type || !key || names.startsWith("#") || names.startsWith("@")) continue;
        if (names.split(",").some((n) => (n.startsWith("|1|") ? hashedAs(n, name) : n === name)) && !found.has(type))
            found.set(type, key);
    }
    const type = ORDER.find((t) => found.has(t));
    return type && `${type} ${found.get(type)}`;
}

function hashedAs(entry: string, name: string): boolean {
    const [, , salt, digest] = entry.split("|");
    return (
        salt !== undefined && createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === digest
    );
}
