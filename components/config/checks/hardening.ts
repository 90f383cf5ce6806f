/** hardening: what it excludes. */
import type { Report } from "../problems";
import { HARDENED_SYSCTL } from "../../model/hardening";
import type { StackSettings } from "../../settings";
import { entry } from "../../values";

export function checkHardening(settings: StackSettings, report: Report): void {
    if (settings.hardening === undefined) return;
    if (settings.readiness === "anonymous")
        report(
            ["hardening"],
            settings.hardening,
            'cannot be set together with readiness "anonymous", which sets anonymous-auth=true, and the benchmark wants no anonymous requests; set k3s-ha:readiness to scoped (only the three health paths are open), or to unauthorized',
        );
    for (const [key, value] of Object.entries(settings.host.sysctl)) {
        const needed = entry(HARDENED_SYSCTL, key.replaceAll("/", "."));
        if (needed !== undefined && String(value) !== needed)
            report(
                ["host", "sysctl", key],
                value,
                `must be ${needed} with hardening, or be left out: the kubelet ends when the kernel has another value (protect-kernel-defaults)`,
            );
    }
    const look = (value: unknown, path: readonly PropertyKey[]): void => {
        if (value === false)
            report(
                [...path, "protect-kernel-defaults"],
                false,
                "contradicts k3s-ha:hardening, which sets it; leave it out",
            );
    };
    for (const role of ["server", "agent"] as const)
        look(settings[role].config["protect-kernel-defaults"], [role, "config"]);
    settings.nodes.forEach((node, i) => look(node.config["protect-kernel-defaults"], ["nodes", i, "config"]));
}
