/** Places on a node that more than one part names. */

/** Where the scripts live on a node. */
export const KIT_DIR = "/usr/local/lib/k3s-ha";
/** The kube-apiserver reads it in readiness mode `scoped`. */
export const AUTHN_FILE = "/etc/rancher/k3s/authn.yaml";
/** k3s applies what lies there (steps manifests and prune-manifests). */
export const MANIFESTS = "/var/lib/rancher/k3s/server/manifests";
