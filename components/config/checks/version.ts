/** What a release of k3s must have for what the stack asks of it. */
import type { Report } from "../problems";
import { READINESS } from "../../model/readiness";
import type { StackSettings } from "../../settings";
import { hasBackport, type Backports, type K3sVersion } from "../../values";

/** Oldest releases whose servers may join through a proxy that lists themselves too (k3s of April 2024). */
const JOIN_THROUGH_PROXY: Backports = { 28: 9, 29: 4, 30: 0 };

/** Releases that read /var/lib/rancher/k3s/agent/etc/kubelet.conf.d. */
const KUBELET_DROPIN: Backports = { 32: 0 };

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
    const { since } = READINESS[settings.readiness];
    if (since !== undefined && !hasBackport(version, since)) {
        report(
            ["readiness"],
            settings.readiness,
            `needs k3s v1.32.5, v1.33.1 or newer and the version is ${settings.version}: with older ones the apiserver exits; use anonymous`,
        );
    }
}
