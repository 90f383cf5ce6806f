// Package host holds what the process takes from its machine, with the hidden settings by which tests run several
// servers on one: K3S_STANDIN_ROOT is put before /etc/rancher and /var/lib/kubelet, K3S_STANDIN_LOOPBACK replaces
// 127.0.0.1 for etcd and the managers.
package host

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v2"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/token"
)

// notifySocket is taken out of the environment at once: kube-apiserver would send READY by itself, too early.
var notifySocket = func() string {
	s := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	return s
}()

// Notify sends a state to systemd, such as READY=1; without systemd it does nothing.
func Notify(state string) error {
	if notifySocket == "" {
		return nil
	}
	name := notifySocket
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}

// Path puts the tests' root before an absolute path.
func Path(p string) string { return filepath.Join("/", os.Getenv("K3S_STANDIN_ROOT"), p) }

// Loopback is the address of local services.
func Loopback() string {
	if v := os.Getenv("K3S_STANDIN_LOOPBACK"); v != "" {
		return v
	}
	return "127.0.0.1"
}

// Identity is a node's name and addresses.
type Identity struct {
	Name        string
	IPs         []string
	ExternalIPs []string
}

// NewIdentity takes node-name or the hostname (lower case) and node-ip, the address of flannel-iface or that of the
// default route. Errors: an address that is none, a missing interface, an interface with several IPv4 addresses.
func NewIdentity(s *config.Settings) (Identity, error) {
	id := Identity{Name: strings.ToLower(s.String("node-name")), IPs: s.Split("node-ip"), ExternalIPs: s.Split("node-external-ip")}
	if id.Name == "" {
		h, err := os.Hostname()
		if err != nil {
			return id, err
		}
		id.Name = strings.ToLower(strings.TrimSpace(h))
	}
	for _, ip := range append(append([]string{}, id.IPs...), id.ExternalIPs...) {
		if net.ParseIP(ip) == nil {
			return id, fmt.Errorf("invalid node-ip: invalid ip format '%s'", ip)
		}
	}
	if name := s.String("flannel-iface"); name != "" {
		ip, err := interfaceIP(name)
		if err != nil {
			return id, err
		}
		if len(id.IPs) == 0 {
			id.IPs = []string{ip}
		}
	}
	if len(id.IPs) == 0 {
		ip, err := utilnet.ChooseHostInterface()
		if err != nil {
			return id, err
		}
		id.IPs = []string{ip.String()}
	}
	if s.Bool("with-node-id") {
		n, err := nodeID()
		if err != nil {
			return id, err
		}
		id.Name += "-" + n
	}
	return id, nil
}

func interfaceIP(name string) (string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("unable to find interface %s: %w", name, err)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return "", err
	}
	var v4 []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			v4 = append(v4, n.IP.String())
		}
	}
	switch len(v4) {
	case 1:
		return v4[0], nil
	case 0:
		return "", fmt.Errorf("failed to get ip for interface %s", name)
	}
	return "", fmt.Errorf("multiple IPv4 addresses found on interface %s, cannot determine which to use for node-ip", name)
}

func nodeID() (string, error) {
	file := Path("/etc/rancher/node/id")
	if b, err := os.ReadFile(file); err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	id := token.Random()[:8]
	return id, pki.WriteFile(file, []byte(id+"\n"), 0o644)
}

// NodePassword returns the content of /etc/rancher/node/password, made (0600) when absent.
func NodePassword() (string, error) {
	file := Path("/etc/rancher/node/password")
	b, err := os.ReadFile(file)
	if err == nil {
		if p := strings.TrimSpace(string(b)); p != "" {
			return p, nil
		}
		return "", errors.New(file + " is empty")
	}
	if !os.IsNotExist(err) {
		return "", err
	}
	p := token.Random()
	return p, pki.WriteFile(file, []byte(p+"\n"), 0o600)
}

// Kubeconfig returns a kubeconfig of one context. Certificates are named by path, or embedded when embed is set.
func Kubeconfig(name, serverURL, caFile, certFile, keyFile string, embed bool) ([]byte, error) {
	cluster := map[string]any{"server": serverURL}
	user := map[string]any{}
	for _, f := range []struct {
		into map[string]any
		key  string
		path string
	}{{cluster, "certificate-authority", caFile}, {user, "client-certificate", certFile}, {user, "client-key", keyFile}} {
		if !embed {
			f.into[f.key] = f.path
			continue
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		f.into[f.key+"-data"] = base64.StdEncoding.EncodeToString(b)
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []any{map[string]any{"name": name, "cluster": cluster}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": name}}},
		"users":    []any{map[string]any{"name": name, "user": user}},
	})
}
