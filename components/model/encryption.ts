/** The encryption of Secrets in etcd: whether it is on, and what a rotation of its keys may not be mixed with. Pure. */
import { createHash } from "node:crypto";
import { servers, type ClusterSpec } from "./cluster";

/** What the description keeps of it. */
export interface EncryptionDescription {
    /** The counter rotate.secretsEncryption. */
    readonly rotated: number;
    /** Digest of what restarts servers; absent where part of that is a secret. */
    readonly restarts?: string;
}

/** True where k3s encrypts Secrets: by its own setting, which is the same on all servers. */
export function encryptsSecrets(spec: ClusterSpec): boolean {
    return spec.nodes.some((n) => n.role === "server" && n.config["secrets-encryption"] === true);
}

/** Absent where nothing is encrypted, so that the state of such a cluster stays as it is. */
export function encryptionDescription(spec: ClusterSpec): EncryptionDescription | undefined {
    if (!encryptsSecrets(spec)) return undefined;
    const { secretsEncryption: rotated, token, agentToken, certificates } = spec.rotate;
    if (spec.confidential) return { rotated };
    // Not the proxies' settings, which restart nothing.
    const restarting = [
        servers(spec).map((n) => [n.name, n.address, n.rebuilt, n.externalAddress, sorted(n.config)]),
        [spec.readiness, spec.vpn.unit, spec.server.environment, spec.kubelet, spec.registries, spec.authentication],
        [spec.hardening],
        [token, agentToken, certificates],
    ];
    return { rotated, restarts: createHash("sha256").update(JSON.stringify(restarting)).digest("hex").slice(0, 16) };
}

/** The order of keys in the stack file changes nothing. */
function sorted(config: Readonly<Record<string, unknown>>): [string, unknown][] {
    return Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1));
}
