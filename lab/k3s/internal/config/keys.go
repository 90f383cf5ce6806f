// Package config resolves k3s settings the way k3s does: command line over configuration file over
// environment over default. The lists of keys are those of k3s 1.36 (pkg/cli/cmds).
package config

import "sort"

// Kind is the type of a key's value.
type Kind int

// Kinds of values. A String or Bool given twice keeps the last value, a List keeps all.
const (
	String Kind = iota
	Bool
	Int
	List
	Duration
)

// Key describes one setting; its name is the long flag name and the key in config.yaml.
type Key struct {
	Name    string
	Kind    Kind
	Default string
	Env     []string
	Alias   string
}

func keys(kind Kind, names ...string) []Key {
	out := make([]Key, 0, len(names))
	for _, n := range names {
		out = append(out, Key{Name: n, Kind: kind})
	}
	return out
}

var environment = map[string][]string{
	"debug":                   {"K3S_DEBUG"},
	"data-dir":                {"K3S_DATA_DIR"},
	"token":                   {"K3S_TOKEN"},
	"token-file":              {"K3S_TOKEN_FILE"},
	"agent-token":             {"K3S_AGENT_TOKEN"},
	"agent-token-file":        {"K3S_AGENT_TOKEN_FILE"},
	"server":                  {"K3S_URL"},
	"cluster-init":            {"K3S_CLUSTER_INIT"},
	"cluster-reset":           {"K3S_CLUSTER_RESET"},
	"write-kubeconfig":        {"K3S_KUBECONFIG_OUTPUT"},
	"write-kubeconfig-mode":   {"K3S_KUBECONFIG_MODE"},
	"write-kubeconfig-group":  {"K3S_KUBECONFIG_GROUP"},
	"write-kubeconfig-name":   {"K3S_KUBECONFIG_NAME"},
	"node-name":               {"K3S_NODE_NAME"},
	"resolv-conf":             {"K3S_RESOLV_CONF"},
	"selinux":                 {"K3S_SELINUX"},
	"lb-server-port":          {"K3S_LB_SERVER_PORT"},
	"vpn-auth":                {"K3S_VPN_AUTH"},
	"vpn-auth-file":           {"K3S_VPN_AUTH_FILE"},
	"system-default-registry": {"K3S_SYSTEM_DEFAULT_REGISTRY"},
	"datastore-endpoint":      {"K3S_DATASTORE_ENDPOINT"},
	"datastore-cafile":        {"K3S_DATASTORE_CAFILE"},
	"datastore-certfile":      {"K3S_DATASTORE_CERTFILE"},
	"datastore-keyfile":       {"K3S_DATASTORE_KEYFILE"},
	"etcd-s3-access-key":      {"AWS_ACCESS_KEY_ID"},
	"etcd-s3-secret-key":      {"AWS_SECRET_ACCESS_KEY"},
	"etcd-s3-session-token":   {"AWS_SESSION_TOKEN"},
	"config":                  {"K3S_CONFIG_FILE"},
}

var defaults = map[string]string{
	"config":                           "/etc/rancher/k3s/config.yaml",
	"data-dir":                         "/var/lib/rancher/k3s",
	"v":                                "0",
	"lb-server-port":                   "6444",
	"private-registry":                 "/etc/rancher/k3s/registries.yaml",
	"snapshotter":                      "overlayfs",
	"service-node-port-range":          "30000-32767",
	"cluster-domain":                   "cluster.local",
	"flannel-backend":                  "vxlan",
	"egress-selector-mode":             "agent",
	"servicelb-namespace":              "kube-system",
	"https-listen-port":                "6443",
	"advertise-port":                   "0",
	"tls-san-security":                 "true",
	"etcd-snapshot-name":               "etcd-snapshot",
	"etcd-snapshot-schedule-cron":      "0 */12 * * *",
	"etcd-snapshot-retention":          "5",
	"etcd-s3-retention":                "5",
	"etcd-s3-endpoint":                 "s3.amazonaws.com",
	"etcd-s3-region":                   "us-east-1",
	"etcd-snapshot-reconcile-interval": "10m",
	"etcd-s3-timeout":                  "5m",
	"secrets-encryption-provider":      "aescbc",
	"supervisor-port":                  "0",
	"apiserver-port":                   "0",
	"write-kubeconfig-name":            "default",
}

// aliases are the one-letter flags of k3s.
var aliases = map[string]string{
	"config": "c", "log": "l", "data-dir": "d", "token": "t", "server": "s", "write-kubeconfig": "o",
}

var common = concat(
	keys(String, "config", "vmodule", "log", "bind-address", "data-dir", "token", "token-file", "server", "node-name",
		"image-credential-provider-bin-dir", "image-credential-provider-config", "container-runtime-endpoint",
		"default-runtime", "image-service-endpoint", "pause-image", "snapshotter", "private-registry", "resolv-conf",
		"flannel-iface", "flannel-conf", "flannel-cni-conf", "vpn-auth", "vpn-auth-file"),
	keys(Bool, "debug", "alsologtostderr", "with-node-id", "docker", "disable-default-registry-endpoint",
		"nonroot-devices", "protect-kernel-defaults", "enable-pprof", "rootless", "prefer-bundled-bin", "selinux"),
	keys(Int, "v", "lb-server-port"),
	keys(List, "node-label", "node-taint", "airgap-extra-registry", "node-ip", "node-external-ip", "node-internal-dns",
		"node-external-dns", "kubelet-arg", "kube-proxy-arg"),
)

var agentOnly = keys(Bool, "disable-apiserver-lb")

var serverOnly = concat(
	keys(String, "advertise-address", "service-node-port-range", "cluster-domain", "flannel-backend",
		"egress-selector-mode", "servicelb-namespace", "write-kubeconfig", "write-kubeconfig-mode",
		"write-kubeconfig-group", "write-kubeconfig-name", "helm-job-image", "agent-token", "agent-token-file",
		"cluster-reset-restore-path", "datastore-endpoint", "datastore-cafile", "datastore-certfile",
		"datastore-keyfile", "etcd-snapshot-name", "etcd-snapshot-schedule-cron", "etcd-snapshot-dir",
		"etcd-s3-endpoint", "etcd-s3-endpoint-ca", "etcd-s3-access-key", "etcd-s3-secret-key",
		"etcd-s3-session-token", "etcd-s3-bucket", "etcd-s3-bucket-lookup-type", "etcd-s3-region", "etcd-s3-folder",
		"etcd-s3-proxy", "etcd-s3-config-secret", "default-local-storage-path", "system-default-registry",
		"secrets-encryption-provider", "apiserver-bind-address"),
	keys(Bool, "tls-san-security", "flannel-ipv6-masq", "flannel-external-ip", "cluster-init", "cluster-reset",
		"etcd-expose-metrics", "etcd-disable-snapshots", "etcd-snapshot-compress", "etcd-s3",
		"etcd-s3-skip-ssl-verify", "etcd-s3-insecure", "disable-scheduler", "disable-cloud-controller",
		"disable-kube-proxy", "disable-network-policy", "disable-helm-controller", "embedded-registry",
		"supervisor-metrics", "secrets-encryption", "disable-apiserver", "disable-controller-manager",
		"disable-etcd", "disable-agent", "kine-tls"),
	keys(Int, "https-listen-port", "advertise-port", "etcd-snapshot-retention", "etcd-s3-retention",
		"supervisor-port", "apiserver-port"),
	keys(Duration, "etcd-snapshot-reconcile-interval", "etcd-s3-timeout"),
	keys(List, "tls-san", "cluster-cidr", "service-cidr", "cluster-dns", "disable", "kube-apiserver-arg", "etcd-arg",
		"kube-controller-manager-arg", "kube-scheduler-arg", "kube-cloud-controller-manager-arg",
		"helm-controller-arg", "kube-controller-arg", "kube-cloud-controller-arg"),
)

func concat(lists ...[]Key) []Key {
	var out []Key
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// KeysOf returns the keys known to a role ("server" or "agent") with defaults, environment and aliases filled in.
func KeysOf(role string) []Key {
	all := concat(common, serverOnly)
	if role == "agent" {
		all = concat(common, agentOnly)
	}
	for i := range all {
		all[i].Env = environment[all[i].Name]
		all[i].Default = defaults[all[i].Name]
		all[i].Alias = aliases[all[i].Name]
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}
