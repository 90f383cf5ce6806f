/**
 * `hardening: cis`: what k3s's hardening guide (docs.k3s.io/security/hardening-guide, of CIS 1.11) sets besides k3s's own defaults. What it
 * leaves to people is in docs/hardening.md. Pure.
 */
import type { ClusterSpec } from "./cluster";

/** Files that the kube-apiserver reads, on servers. */
export const AUDIT_FILE = "/etc/rancher/k3s/cis-audit.yaml";
export const ADMISSION_FILE = "/etc/rancher/k3s/cis-admission.yaml";

/** Arguments of components, by k3s's settings. They come before the user's own, of which the last one counts. */
const SERVER_ARGS: Readonly<Record<string, readonly string[]>> = {
    "kube-apiserver-arg": [
        "enable-admission-plugins=NodeRestriction,EventRateLimit",
        `admission-control-config-file=${ADMISSION_FILE}`,
        `audit-policy-file=${AUDIT_FILE}`,
        "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log",
        "audit-log-maxage=30",
        "audit-log-maxbackup=10",
        "audit-log-maxsize=100",
        "service-account-extend-token-expiration=false",
    ],
    "kube-controller-manager-arg": ["terminated-pod-gc-threshold=100"],
};
const CIPHERS = ["AES_256_GCM_SHA384", "AES_128_GCM_SHA256", "CHACHA20_POLY1305"].flatMap((name) =>
    ["ECDSA", "RSA"].map((key) => `TLS_ECDHE_${key}_WITH_${name}`),
);
const KUBELET_ARGS: readonly string[] = [
    "streaming-connection-idle-timeout=5m",
    `tls-cipher-suites=${CIPHERS.join(",")}`,
];

/** What the kubelet finds with protect-kernel-defaults; with other values it ends. */
export const HARDENED_SYSCTL: Readonly<Record<string, string>> = {
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
};

/** Arguments of a component on a node of a role; none without the setting. */
export function hardenedArgs(spec: ClusterSpec, role: "server" | "agent", key: string): readonly string[] {
    if (spec.hardening === undefined) return [];
    if (key === "kubelet-arg") return KUBELET_ARGS;
    return role === "server" ? (SERVER_ARGS[key] ?? []) : [];
}

/** Keys of {@link hardenedArgs}. */
export const HARDENED_KEYS: readonly string[] = [...Object.keys(SERVER_ARGS), "kubelet-arg"];

/** Who did what to which object, without the objects themselves. */
export const AUDIT_POLICY = { apiVersion: "audit.k8s.io/v1", kind: "Policy", rules: [{ level: "Metadata" }] };

/** Pods must be restricted, but for k3s's own; and one client's flood of events is held. */
export const ADMISSION = {
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "AdmissionConfiguration",
    plugins: [
        {
            name: "PodSecurity",
            configuration: {
                apiVersion: "pod-security.admission.config.k8s.io/v1",
                kind: "PodSecurityConfiguration",
                defaults: {
                    enforce: "restricted",
                    "enforce-version": "latest",
                    audit: "restricted",
                    "audit-version": "latest",
                    warn: "restricted",
                    "warn-version": "latest",
                },
                exemptions: { usernames: [], runtimeClasses: [], namespaces: ["kube-system"] },
            },
        },
        {
            name: "EventRateLimit",
            configuration: {
                apiVersion: "eventratelimit.admission.k8s.io/v1alpha1",
                kind: "Configuration",
                limits: [{ type: "Server", qps: 5000, burst: 20000 }],
            },
        },
    ],
};
