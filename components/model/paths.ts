/** Where the scripts live on a node. */
export const KIT_DIR = "/usr/local/lib/k3s-ha";
