package server

import (
	"bytes"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/supervisor"
	"k3s-ha/lab/k3s/internal/token"
)

// bootstrapFiles are what joining servers get and what lies encrypted in etcd: name in JSON to file below tls/.
var bootstrapFiles = map[string]string{
	"ServerCA": "server-ca.crt", "ServerCAKey": "server-ca.key",
	"ClientCA": "client-ca.crt", "ClientCAKey": "client-ca.key",
	"ETCDPeerCA": "etcd/peer-ca.crt", "ETCDPeerCAKey": "etcd/peer-ca.key",
	"ETCDServerCA": "etcd/server-ca.crt", "ETCDServerCAKey": "etcd/server-ca.key",
	"RequestHeaderCA": "request-header-ca.crt", "RequestHeaderCAKey": "request-header-ca.key",
	"ServiceKey": "service.key",
}

// bootstrapPaths are the files with their paths; those of secrets-encryption are among them where it is on.
func (o *options) bootstrapPaths() map[string]string {
	out := map[string]string{}
	for name, f := range bootstrapFiles {
		out[name] = o.tls(f)
	}
	if o.Bool("secrets-encryption") {
		out["EncryptionConfig"], out["EncryptionHash"] = o.encryptionConfig(), o.encryptionState()
	}
	return out
}

type bootstrapFile struct {
	Timestamp time.Time
	Content   []byte
}

// readBootstrap returns the files as JSON.
func (o *options) readBootstrap() ([]byte, error) {
	out := map[string]bootstrapFile{}
	for name, f := range o.bootstrapPaths() {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		out[name] = bootstrapFile{info.ModTime(), data}
	}
	return json.Marshal(out)
}

// writeBootstrap stores what another server, or etcd, gave.
func (o *options) writeBootstrap(data []byte) error {
	var in map[string]bootstrapFile
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("bootstrap data: %w", err)
	}
	for name, f := range o.bootstrapPaths() {
		b, ok := in[name]
		if !ok {
			if _, always := bootstrapFiles[name]; !always {
				continue
			}
			return fmt.Errorf("bootstrap data lacks %s", name)
		}
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(f, ".crt") {
			mode = 0o644
		}
		if err := pki.WriteFile(f, b.Content, mode); err != nil {
			return err
		}
		if err := os.Chtimes(f, b.Timestamp, b.Timestamp); err != nil {
			return err
		}
	}
	return nil
}

// clockSkew is how much newer than the datastore a file must be to count as newer.
const clockSkew = 3 * time.Second

var errNewerOnDisk = errors.New("newer than datastore and could cause a cluster outage. Remove the file(s) from disk and restart to be recreated from datastore.")

// reconcile makes the files on disk those of the datastore. Files that differ and are newer are an error.
func (o *options) reconcile(data []byte) error {
	for _, d := range []string{"cred", "tls", "tls/etcd"} {
		if entries, err := os.ReadDir(o.file(d)); os.IsNotExist(err) || len(entries) == 0 {
			return o.writeBootstrap(data)
		} else if err != nil {
			return err
		}
	}
	var theirs map[string]bootstrapFile
	if err := json.Unmarshal(data, &theirs); err != nil {
		return fmt.Errorf("bootstrap data: %w", err)
	}
	update := false
	var newer []string
	for name, f := range o.bootstrapPaths() {
		if _, ok := theirs[name]; !ok {
			continue
		}
		own, err := os.ReadFile(f)
		switch {
		case os.IsNotExist(err):
			update = true
		case err != nil:
			return err
		case !bytes.Equal(own, theirs[name].Content):
			update = true
			info, err := os.Stat(f)
			if err != nil {
				return err
			}
			if info.ModTime().Unix()-theirs[name].Timestamp.Unix() >= int64(clockSkew/time.Second) {
				newer = append(newer, f)
			}
		}
	}
	if len(newer) > 0 {
		slices.Sort(newer)
		return fmt.Errorf("%s %w", strings.Join(newer, ", "), errNewerOnDisk)
	}
	if !update {
		return nil
	}
	logrus.Warnf("Updating bootstrap data on disk from datastore")
	return o.writeBootstrap(data)
}

type authorities struct{ server, client, requestHeader, etcdServer, etcdPeer *pki.CA }

// writeCertificates makes what is missing or ends soon, of CAs and certificates.
func (o *options) writeCertificates() (*authorities, error) {
	a := &authorities{}
	for _, c := range []struct {
		into **pki.CA
		base string
		name string
	}{
		{&a.server, "server-ca", "k3s-server-ca"}, {&a.client, "client-ca", "k3s-client-ca"},
		{&a.requestHeader, "request-header-ca", "k3s-request-header-ca"},
		{&a.etcdServer, "etcd/server-ca", "etcd-server-ca"}, {&a.etcdPeer, "etcd/peer-ca", "etcd-peer-ca"},
	} {
		ca, err := pki.EnsureCA(o.tls(c.base), c.name)
		if err != nil {
			return nil, err
		}
		*c.into = ca
	}
	if _, err := pki.EnsureKey(o.tls("service.key")); err != nil {
		return nil, err
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	serving := o.servingSpec()
	etcd := pki.Spec{CommonName: "etcd-server", DNS: []string{"localhost", o.id.Name},
		IPs: parseIPs(append([]string{"127.0.0.1", "::1", host.Loopback()}, o.id.IPs...)), Usages: both}
	peer := etcd
	peer.CommonName = "etcd-peer"
	for _, l := range []struct {
		ca   *pki.CA
		base string
		spec pki.Spec
	}{
		{a.server, "serving-kube-apiserver", serving},
		{a.client, "client-admin", supervisor.ClientSpec("system:admin", "system:masters")},
		{a.client, "client-supervisor", supervisor.ClientSpec("system:k3s-supervisor", "system:masters")},
		{a.client, "client-controller", supervisor.ClientSpec("system:kube-controller-manager")},
		{a.client, "client-scheduler", supervisor.ClientSpec("system:kube-scheduler")},
		{a.client, "client-kube-apiserver", supervisor.ClientSpec("system:apiserver", "system:masters")},
		{a.client, "client-kube-proxy", supervisor.ClientSpec("system:kube-proxy")},
		{a.client, "client-k3s-controller", supervisor.ClientSpec("system:k3s-controller")},
		{a.client, "client-k3s-cloud-controller", supervisor.ClientSpec("k3s-cloud-controller-manager")},
		{a.requestHeader, "client-auth-proxy", supervisor.ClientSpec("system:auth-proxy")},
		{a.etcdServer, "etcd/server-client", etcd},
		{a.etcdPeer, "etcd/peer-server-client", peer},
		{a.etcdServer, "etcd/client", supervisor.ClientSpec("etcd-client")},
	} {
		if err := l.ca.EnsureLeaf(o.tls(l.base), l.spec); err != nil {
			return nil, fmt.Errorf("%s: %w", l.base, err)
		}
	}
	return a, o.writeDynamicCert(a.server, serving)
}

func (o *options) servingSpec() pki.Spec {
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + o.String("cluster-domain"), "localhost", o.id.Name}
	ips := append([]string{"127.0.0.1", "::1", host.Loopback(), o.serviceIP.String(), o.advertise}, o.id.IPs...)
	ips = append(ips, o.id.ExternalIPs...)
	if b := o.String("bind-address"); b != "" && !net.ParseIP(b).IsUnspecified() {
		ips = append(ips, b)
	}
	for _, s := range o.Split("tls-san") {
		if net.ParseIP(s) != nil {
			ips = append(ips, s)
		} else {
			names = append(names, s)
		}
	}
	return pki.Spec{CommonName: "k3s", Organizations: []string{"k3s"}, DNS: names, IPs: parseIPs(ips),
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func parseIPs(list []string) []net.IP {
	var out []net.IP
	for _, s := range list {
		if ip := net.ParseIP(s); ip != nil {
			out = append(out, ip)
		}
	}
	return out
}

// writeDynamicCert issues port 6443's certificate and writes tls/dynamic-cert.json, a Secret as in k3s.
func (o *options) writeDynamicCert(ca *pki.CA, spec pki.Spec) error {
	if err := ca.EnsureLeaf(o.tls("temporary-certs/k3s-serving"), spec); err != nil {
		return err
	}
	cert, err := os.ReadFile(o.tls("temporary-certs/k3s-serving.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(o.tls("temporary-certs/k3s-serving.key"))
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": map[string]string{"name": "k3s-serving", "namespace": "kube-system"},
		"data":     map[string][]byte{"tls.crt": cert, "tls.key": key},
	})
	if err != nil {
		return err
	}
	return pki.WriteFile(o.tls("dynamic-cert.json"), data, 0o600)
}

// tokens are the passwords of this cluster.
type tokens struct {
	server, agent string // passwords; agent is "" without agent-token
}

// node is the one password that agents may use.
func (t tokens) node() string {
	if t.agent != "" {
		return t.agent
	}
	return t.server
}

// writePasswords writes cred/passwd, which is read at the start only.
func (o *options) writePasswords(t tokens) error {
	var b strings.Builder
	err := csv.NewWriter(&b).WriteAll([][]string{
		{t.server, token.UserServer, token.UserServer, supervisor.GroupServer},
		{t.node(), token.UserNode, token.UserNode, supervisor.GroupAgent},
	})
	if err != nil {
		return err
	}
	return pki.WriteFile(o.file("cred/passwd"), []byte(b.String()), 0o600)
}

func (o *options) writeServerToken(t tokens, serverCA []byte) error {
	full, err := token.Format(serverCA, token.UserServer, t.server)
	if err != nil {
		return err
	}
	return pki.WriteFile(o.file("token"), []byte(full+"\n"), 0o600)
}

// writeTokens writes token, node-token, agent-token and cred/passwd.
func (o *options) writeTokens(t tokens, serverCA []byte) error {
	if err := o.writePasswords(t); err != nil {
		return err
	}
	if err := o.writeServerToken(t, serverCA); err != nil {
		return err
	}
	if err := relink(o.file("token"), o.file("node-token")); err != nil {
		return err
	}
	if t.agent == "" {
		return relink(o.file("token"), o.file("agent-token"))
	}
	full, err := token.Format(serverCA, token.UserNode, t.agent)
	if err != nil {
		return err
	}
	_ = os.Remove(o.file("agent-token")) // may be the link of a start without agent-token
	return pki.WriteFile(o.file("agent-token"), []byte(full+"\n"), 0o600)
}

func relink(target, link string) error {
	if t, err := os.Readlink(link); err == nil && t == target {
		return nil
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(target, link)
}

// writeKubeconfigs writes server/cred/*.kubeconfig and the administrator's k3s.yaml.
func (o *options) writeKubeconfigs() error {
	for name, cert := range map[string]string{"admin": "client-admin", "supervisor": "client-supervisor",
		"controller": "client-controller", "scheduler": "client-scheduler", "api-server": "client-kube-apiserver",
		"cloud-controller": "client-k3s-cloud-controller"} {
		data, err := host.Kubeconfig("local", o.apiURL(), o.tls("server-ca.crt"), o.tls(cert+".crt"), o.tls(cert+".key"), false)
		if err != nil {
			return err
		}
		if err := pki.WriteFile(o.file("cred/"+name+".kubeconfig"), data, 0o600); err != nil {
			return err
		}
	}
	data, err := host.Kubeconfig(o.String("write-kubeconfig-name"), o.localURL(), o.tls("server-ca.crt"),
		o.tls("client-admin.crt"), o.tls("client-admin.key"), true)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if m := o.String("write-kubeconfig-mode"); m != "" {
		n, err := strconv.ParseUint(m, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid write-kubeconfig-mode %q: %w", m, err)
		}
		mode = fs.FileMode(n)
	}
	standard := host.Path("/etc/rancher/k3s/k3s.yaml")
	path := standard
	if p := o.String("write-kubeconfig"); p != "" {
		path = p
	}
	if err := os.MkdirAll(filepath.Dir(standard), 0o755); err != nil {
		return err
	}
	if path == standard {
		_ = os.Remove(standard) // may be the link of a start with write-kubeconfig
	}
	if err := pki.WriteFile(path, data, mode); err != nil {
		return err
	}
	if g := o.String("write-kubeconfig-group"); g != "" {
		gid, err := groupID(g)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	if path != standard {
		return relink(path, standard)
	}
	return nil
}

func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
