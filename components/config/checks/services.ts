/** host.services: units that are not the user's to start. */
import { entry } from "../../values";
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import { unitName } from "../fill";
import { repeated } from "./repeated";

/** Units of this program's, with what starts them. */
const OURS: Readonly<Record<string, string>> = {
    "k3s.service": "the steps server and agent start k3s when it is its turn",
    "k3s-agent.service": "the steps server and agent start k3s when it is its turn",
    "haproxy.service": "the step haproxy starts it with its configuration",
    "k3s-ha-prune-images.service": "use k3s-ha:host.pruneImages",
    "k3s-ha-prune-images.timer": "use k3s-ha:host.pruneImages",
};

/** Units that end the host when they are started. */
const ENDS =
    /^systemd-(poweroff|reboot|soft-reboot|halt|kexec|suspend|hibernate|hybrid-sleep|suspend-then-hibernate)\.service$/;

export function checkServices({ host }: StackSettings, report: Report): void {
    repeated(host.services, unitName, (name, i, before) =>
        report(["host", "services", i], name, `is also host.services[${before}]`),
    );
    host.services.forEach((name, i) => {
        const unit = unitName(name);
        const ours = entry(OURS, unit);
        if (ours !== undefined) report(["host", "services", i], name, `is a unit of this program: ${ours}`);
        if (ENDS.test(unit)) report(["host", "services", i], name, "would end the host");
    });
}
