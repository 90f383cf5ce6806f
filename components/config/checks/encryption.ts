/** New keys of Secrets: what the cluster and its release must have for that. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import { hasBackport, type Backports, type K3sVersion } from "../../values";

/** Oldest releases whose `k3s secrets-encrypt rotate-keys` is more than an experiment (k3s, docs/cli/secrets-encrypt). */
const ROTATE_KEYS: Backports = { 30: 5, 31: 1 };

export function checkEncryption(settings: StackSettings, version: K3sVersion, report: Report): void {
    const path = ["rotate", "secretsEncryption"];
    const counter = settings.rotate.secretsEncryption;
    if (counter === 0) return;
    if (settings.server.config["secrets-encryption"] !== true)
        report(
            path,
            counter,
            "needs k3s-ha:server.config.secrets-encryption: true, which is possible only when a cluster is founded",
        );
    if (!hasBackport(version, ROTATE_KEYS))
        report(path, counter, `needs k3s v1.30.5, v1.31.1 or newer and the version is ${settings.version}`);
}
