/** Secrets of the stack file: their form, and which settings may be encrypted. */
import { SECRET_SETTINGS, type Report } from "../problems";
import type { StackSettings } from "../../settings";

/** Settings that become the files of the steps server and agent. */
const K3S_SETTINGS = ["registries", "kubelet", "server", "agent", "authentication"] as const;

/** Settings whose values reach the hosts within secret inputs when they are encrypted: as files of k3s, or of prepare. */
export const MAY_BE_ENCRYPTED: ReadonlySet<string> = new Set([...K3S_SETTINGS, "host", "manifests"]);

/** Whether the data of those steps hold something that is encrypted in the stack file; of host.files they hold the digests. */
export function isConfidential({ host }: StackSettings, encrypted: ReadonlySet<string> | undefined): boolean {
    if (K3S_SETTINGS.some((key) => encrypted?.has(key))) return true;
    return encrypted?.has("host") === true && (host.files?.length ?? 0) > 0;
}

export function checkSecrets(settings: StackSettings, report: Report): void {
    for (const key of ["token", "agentToken"] as const) {
        const value = settings[key];
        if (value === undefined) continue;
        if (value.startsWith("K10") || value.includes("::") || /^[a-z0-9]{6}\.[a-z0-9]{16}$/.test(value)) {
            report(
                [key],
                undefined,
                "must be a plain password: not the full form K10…::server:…, nor shaped like a kubeadm token, which k3s reads differently",
            );
        }
    }
    // A cluster that is taken over may have one token for both.
    if (settings.token !== undefined && settings.token === settings.agentToken && !settings.allow.includes("adopt")) {
        report(
            ["agentToken"],
            undefined,
            "must differ from token: anyone who holds the server token can read every secret of the cluster",
        );
    }
    if (settings.sshPrivateKey !== undefined && settings.ssh.privateKeyFile !== undefined) {
        report(
            ["ssh", "privateKeyFile"],
            settings.ssh.privateKeyFile,
            "cannot be set together with the secret sshPrivateKey; give one of them, or none to use the SSH agent",
        );
    }
}

/** A secret in a setting that is shown in previews would be one no longer. */
export function checkEncrypted(encrypted: ReadonlySet<string> | undefined, report: Report): void {
    for (const key of encrypted ?? [])
        if (!SECRET_SETTINGS.has(key) && !MAY_BE_ENCRYPTED.has(key))
            report(
                [key],
                undefined,
                `holds an encrypted value, and would be shown in previews and states in clear; only ${[...SECRET_SETTINGS, ...MAY_BE_ENCRYPTED].join(", ")} may`,
            );
}
