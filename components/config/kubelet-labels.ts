/** Labels that a kubelet may give its own Node; with another one in a Kubernetes namespace it does not start (Kubernetes, kubelet options). */
const OPEN_NAMESPACES = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const OPEN_LABELS: ReadonlySet<string> = new Set([
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
]);

const within = (namespace: string, parent: string): boolean => namespace === parent || namespace.endsWith(`.${parent}`);

/** Whether a Node may be registered with a label of this name. */
export function isKubeletLabel(key: string): boolean {
    const namespace = key.includes("/") ? key.slice(0, key.indexOf("/")) : "";
    if (!within(namespace, "kubernetes.io") && !within(namespace, "k8s.io")) return true;
    return OPEN_LABELS.has(key) || OPEN_NAMESPACES.some((open) => within(namespace, open));
}
