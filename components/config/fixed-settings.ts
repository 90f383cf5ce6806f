/** Changes of settings that k3s fixes at the founding, or that split the pods' network: refused, or allowed at a cost. Pure. */
import { shown } from "./problems";
import type { Problem } from "../haproxy/problem";
import { CHANGE_RULES, type ChangeKind, type ChangeRule } from "../model/change-rules";
import type { Allowance } from "../model/cluster";

type Settings = Readonly<Record<string, string>> | undefined;

function changed(from: Settings, to: Settings, kind: ChangeKind): ChangeRule[] {
    // What an older version of this program left says nothing.
    if (from === undefined || to === undefined) return [];
    return CHANGE_RULES.filter(
        (r) =>
            r.kind === kind &&
            Object.hasOwn(from, r.setting) &&
            Object.hasOwn(to, r.setting) &&
            from[r.setting] !== to[r.setting],
    );
}

const pathOf = (setting: string): string =>
    setting === "IP family" ? "k3s-ha:nodes" : `k3s-ha:server.config.${setting}`;

/** Changes of these settings that are refused. */
export function settingRefusals(from: Settings, to: Settings, allow: readonly Allowance[]): Problem[] {
    const told = ({ setting }: ChangeRule, message: string): Problem => ({
        path: pathOf(setting),
        value: shown(to?.[setting]),
        message: `was ${shown(from?.[setting])}, ${message}`,
    });
    const founding = changed(from, to, "founding").map((rule) =>
        told(
            rule,
            `and k3s fixes it when a cluster is founded: ${rule.why}. Put the old value back; another one needs a new cluster, to which the workloads move`,
        ),
    );
    if (allow.includes("podNetwork")) return founding;
    return [
        ...founding,
        ...changed(from, to, "podNetwork").map((rule) =>
            told(
                rule,
                `and while nodes differ in it the pods' network is split: ${rule.why}. Put the old value back, or plan an outage: k3s-ha:allow: [podNetwork] restarts the servers one at a time, then every agent`,
            ),
        ),
    ];
}

/** What to say of a state that an older version of this program left: what it does not tell cannot be refused. */
export function unknownSettings(known: Settings): string[] {
    const unknown = CHANGE_RULES.filter(
        (r) => r.kind !== "rolling" && r.setting !== "server.datastore" && !Object.hasOwn(known ?? {}, r.setting),
    ).map((r) => r.setting);
    if (unknown.length === 0) return [];
    return [
        `the last up was one of an older version of this program, which did not note ${unknown.join(", ")}: a change of them is not seen in this run, and k3s ends or the pods' network is split where there is one. Change none of them in the same up; from the next one on they are compared. What is in force: /etc/rancher/k3s/config.yaml on a server`,
    ];
}

/** What a change that is allowed costs, for the preview. */
export function settingConsequences(from: Settings, to: Settings): string[] {
    const rules = changed(from, to, "podNetwork");
    if (rules.length === 0) return [];
    const what = rules.map(({ setting }) => `${setting} (${from?.[setting]} → ${to?.[setting]})`).join(", ");
    const dns = rules.some((r) => r.setting === "cluster-dns")
        ? " Where k3s brings CoreDNS: Service kube-dns cannot change its address, so k3s fails to apply it (event ApplyManifestFailed of Addon coredns), every 15 s. Delete it when the last server has restarted, not before, since one with the former setting would make it again: kubectl -n kube-system delete service kube-dns; within 15 s k3s makes it with the new address. The former one answers nobody from then on."
        : "";
    return [
        `k3s-ha:allow: [podNetwork]: ${what} changes. Servers restart one at a time, then every agent; until the last one has, pods on different nodes do not reach each other. Pods that were made before keep their DNS settings and MTU: restart them afterwards.${dns}`,
    ];
}
