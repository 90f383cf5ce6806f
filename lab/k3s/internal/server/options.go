// Package server is `k3s server`: certificates, supervisor, etcd, the control plane and its own node.
package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	netutils "k8s.io/utils/net"

	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/datastore"
	"k3s-ha/lab/k3s/internal/host"
)

// options are a server's settings with what follows from them.
type options struct {
	*config.Settings
	id          host.Identity
	dataDir     string // .../server
	agentDir    string // the --data-dir itself
	httpsPort   int
	apiPort     int
	advertise   string
	clusterCIDR []string
	serviceCIDR []string
	serviceIP   net.IP
	clusterDNS  []string
	disable     []string
}

func newOptions(s *config.Settings) (*options, error) {
	o := &options{Settings: s}
	for _, k := range []string{"datastore-endpoint", "etcd-s3-config-secret", "etcd-s3-proxy", "vpn-auth", "vpn-auth-file", "rootless", "docker",
		"embedded-registry", "disable-etcd", "disable-apiserver", "disable-agent"} {
		if s.IsSet(k) && s.String(k) != "false" {
			return nil, fmt.Errorf("--%s is not modelled by this stand-in", k)
		}
	}
	var err error
	if o.id, err = host.NewIdentity(s); err != nil {
		return nil, err
	}
	if o.agentDir, err = filepath.Abs(s.String("data-dir")); err != nil {
		return nil, err
	}
	o.dataDir = filepath.Join(o.agentDir, "server")
	o.httpsPort = s.Int("https-listen-port")
	if o.apiPort = s.Int("apiserver-port"); o.apiPort == 0 {
		o.apiPort = o.httpsPort + 1
	}
	switch o.advertise = s.String("advertise-address"); {
	case o.advertise != "":
	case len(o.id.ExternalIPs) > 0:
		o.advertise = o.id.ExternalIPs[0]
	default:
		o.advertise = o.id.IPs[0]
	}
	o.clusterCIDR = orDefault(s.Split("cluster-cidr"), "10.42.0.0/16")
	o.serviceCIDR = orDefault(s.Split("service-cidr"), "10.43.0.0/16")
	for _, c := range append(slices.Clone(o.clusterCIDR), o.serviceCIDR...) {
		if _, _, err := net.ParseCIDR(c); err != nil {
			return nil, err
		}
	}
	_, service, _ := net.ParseCIDR(o.serviceCIDR[0])
	if o.serviceIP, err = netutils.GetIndexedIP(service, 1); err != nil {
		return nil, err
	}
	dns, err := netutils.GetIndexedIP(service, 10)
	if err != nil {
		return nil, err
	}
	o.clusterDNS = orDefault(s.Split("cluster-dns"), dns.String())
	o.disable = s.Split("disable")
	return o, nil
}

func orDefault(v []string, d string) []string {
	if len(v) == 0 {
		return []string{d}
	}
	return v
}

func (o *options) file(name string) string { return filepath.Join(o.dataDir, name) }
func (o *options) tls(name string) string  { return filepath.Join(o.dataDir, "tls", name) }

func (o *options) localURL() string {
	return "https://" + net.JoinHostPort(host.Loopback(), strconv.Itoa(o.httpsPort))
}

func (o *options) apiURL() string {
	return "https://" + net.JoinHostPort(host.Loopback(), strconv.Itoa(o.apiPort))
}

func (o *options) datastore() datastore.Options {
	return datastore.Options{
		DBDir: o.file("db"), TLSDir: o.file("tls"), NodeName: o.id.Name, NodeIP: o.id.IPs[0], Loopback: host.Loopback(),
		ExposeMetrics: o.Bool("etcd-expose-metrics"), ExtraArgs: o.List("etcd-arg"), Debug: o.Bool("debug"),
	}
}

// critical are the values that must be equal on all servers.
func (o *options) critical() map[string]string {
	c := map[string]string{
		"cluster-cidr":      strings.Join(o.clusterCIDR, ","),
		"service-cidr":      strings.Join(o.serviceCIDR, ","),
		"cluster-dns":       strings.Join(o.clusterDNS, ","),
		"disable-servicelb": strconv.FormatBool(slices.Contains(o.disable, "servicelb")),
	}
	for _, k := range []string{"cluster-domain", "flannel-backend", "egress-selector-mode", "secrets-encryption-provider"} {
		c[k] = o.String(k)
	}
	for _, k := range []string{"flannel-ipv6-masq", "flannel-external-ip", "disable-cloud-controller",
		"disable-helm-controller", "disable-network-policy", "secrets-encryption", "embedded-registry", "supervisor-metrics"} {
		c[k] = strconv.FormatBool(o.Bool(k))
	}
	return c
}

// compareCritical returns the differing names with both values, in name order.
func compareCritical(own, theirs map[string]string) []string {
	var out []string
	for k, v := range own {
		if t, ok := theirs[k]; ok && t != v {
			out = append(out, fmt.Sprintf("%s: %q != %q", k, v, t))
		}
	}
	slices.Sort(out)
	return out
}

func readTrimmed(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
