/** What a release of k3s must have for what the stack asks of it. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import { hasBackport, type K3sVersion } from "../../values";

/** Oldest releases whose servers may join through a proxy that lists themselves too (k3s of April 2024). */
const JOIN_THROUGH_PROXY: Readonly<Record<number, number>> = { 28: 9, 29: 4, 30: 0 };
/**
 * Oldest releases that leave anonymous-auth out when given an authentication-config (k3s-io/k3s#12245). 1.31 has that too, but
 * Kubernetes there refuses `anonymous` in the file (AnonymousAuthConfigurableEndpoints is alpha until 1.32).
 */
const SCOPED: Readonly<Record<number, number>> = { 32: 5, 33: 1 };

/** Releases that read /var/lib/rancher/k3s/agent/etc/kubelet.conf.d. */
const KUBELET_DROPIN: Readonly<Record<number, number>> = { 32: 0 };

export function checkVersion(settings: StackSettings, version: K3sVersion, report: Report): void {
    if (!hasBackport(version, JOIN_THROUGH_PROXY)) {
        report(
            ["version"],
            settings.version,
            "is too old: before v1.28.9, v1.29.4 and v1.30.0 a server that joins through a proxy which lists it too may found a second cluster",
        );
    }
    if (Object.keys(settings.kubelet).length > 0 && !hasBackport(version, KUBELET_DROPIN)) {
        report(["kubelet"], settings.kubelet, `needs k3s v1.32 or newer, which reads kubelet.conf.d; use kubelet-arg`);
    }
    if (settings.readiness === "scoped" && !hasBackport(version, SCOPED)) {
        report(
            ["readiness"],
            settings.readiness,
            `needs k3s v1.32.5, v1.33.1 or newer and the version is ${settings.version}: with older ones the apiserver exits; use anonymous`,
        );
    }
}
