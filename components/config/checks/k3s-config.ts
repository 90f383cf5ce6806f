/** k3s's own settings: which keys, for whom, of what kind. */
import type { Report } from "../problems";
import { EQUAL_ON_SERVERS, K3S_KEYS, MANAGED_KEYS } from "../k3s-keys";
import type { K3sConfig } from "../../model/cluster";
import type { StackSettings } from "../../settings";
import type { Role } from "../../model/cluster";
import { entry } from "../../values";

export function checkK3sConfig(settings: StackSettings, report: Report): void {
    const check = (config: K3sConfig | undefined, role: Role, path: readonly PropertyKey[], perNode: boolean): void => {
        for (const [key, value] of Object.entries(config ?? {})) {
            const at = [...path, key];
            const name = key.replace(/\+$/, "");
            const kind = entry(K3S_KEYS[role], name);
            if (kind === undefined) {
                const other = entry(K3S_KEYS[role === "server" ? "agent" : "server"], name) !== undefined;
                report(
                    at,
                    value,
                    other
                        ? `is a setting of k3s ${role === "server" ? "agents" : "servers"} only; k3s ${role}s ${role === "agent" ? "die of it" : "ignore it"}`
                        : `is not a k3s setting; a server would ignore it and an agent would not start`,
                );
            } else if (entry(MANAGED_KEYS, name) !== undefined) {
                report(at, value, `cannot be set by hand: ${entry(MANAGED_KEYS, name)}`);
            } else if (perNode && role === "server" && EQUAL_ON_SERVERS.has(name)) {
                report(at, value, "must be equal on all servers; put it under k3s-ha:server.config");
            } else if (key.endsWith("+")) {
                report(at, value, "use the key without +: lists of the node and of its role are joined");
            } else {
                const wrong = kindProblem(kind, value) ?? choiceProblem(name, value);
                if (wrong) report(at, value, wrong);
            }
        }
    };
    check(settings.server.config, "server", ["server", "config"], false);
    check(settings.agent.config, "agent", ["agent", "config"], false);
    settings.nodes.forEach((node, i) => check(node.config, node.role, ["nodes", i, "config"], true));
}

/** Settings whose other values k3s ends with (k3s 1.36.3, pkg/agent/flannel, pkg/cli/server). */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
    "flannel-backend": ["vxlan", "host-gw", "wireguard-native", "tailscale", "none"],
    "egress-selector-mode": ["agent", "cluster", "pod", "disabled"],
    "secrets-encryption-provider": ["aescbc", "secretbox"],
};

function choiceProblem(name: string, value: unknown): string | undefined {
    const choices = entry(CHOICES, name);
    return choices === undefined || choices.includes(String(value))
        ? undefined
        : `must be ${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}: k3s ends with another one`;
}

function kindProblem(kind: string, value: unknown): string | undefined {
    const scalar = (v: unknown): boolean => typeof v === "string" || typeof v === "number";
    switch (kind) {
        case "bool":
            return typeof value === "boolean" ? undefined : "must be true or false, without quotes";
        case "int":
            return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
                ? undefined
                : "must be a whole number";
        case "duration":
            return typeof value === "string" && /^(\d+(\.\d+)?(ms|s|m|h))+$/.test(value)
                ? undefined
                : "must be a duration such as 10m";
        case "list":
            return scalar(value) || (Array.isArray(value) && value.every(scalar))
                ? undefined
                : "must be a list of text";
        default:
            return typeof value === "string"
                ? undefined
                : "must be text, in quotes (YAML reads 0644 as a number and no as false)";
    }
}

export function checkDatastore(settings: StackSettings, report: Report): void {
    const servers = settings.nodes.filter((n) => n.role === "server").length;
    if (settings.server.datastore === "sqlite" && servers > 1)
        report(
            ["server", "datastore"],
            "sqlite",
            `is for a single server and the stack has ${servers}; leave it out (etcd): the next up moves the data of the first server to etcd, then the others join`,
        );
}
