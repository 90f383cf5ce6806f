package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k3s-ha/lab/k3s/internal/config"
)

func testOptions(t *testing.T, args ...string) *options {
	t.Helper()
	args = append([]string{"--data-dir=" + t.TempDir(), "--node-name=M1", "--node-ip=10.0.0.1"}, args...)
	s, err := config.Resolve("server", args, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOptions(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAnonymousAuth(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // the flag as passed, "" for none
	}{
		{nil, "--anonymous-auth=false"},
		{[]string{"--kube-apiserver-arg=anonymous-auth=true"}, "--anonymous-auth=true"},
		{[]string{"--kube-apiserver-arg=authentication-config=/x"}, ""},
	} {
		got := ""
		for _, a := range testOptions(t, c.args...).apiserverArgs("https://127.0.0.1:2379") {
			if strings.HasPrefix(a, "--anonymous-auth") {
				got += a
			}
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	o := testOptions(t)
	if o.id.Name != "m1" || o.advertise != "10.0.0.1" || o.serviceIP.String() != "10.43.0.1" || o.clusterDNS[0] != "10.43.0.10" {
		t.Errorf("%+v", o)
	}
	if o = testOptions(t, "--node-external-ip=192.0.2.1"); o.advertise != "192.0.2.1" {
		t.Errorf("the external address is advertised: %s", o.advertise)
	}
	if o = testOptions(t, "--node-external-ip=192.0.2.1", "--advertise-address=10.0.0.9"); o.advertise != "10.0.0.9" {
		t.Errorf("advertise-address wins: %s", o.advertise)
	}
	spec := testOptions(t, "--tls-san=api.example,192.0.2.7").servingSpec()
	if !slices.Contains(spec.DNS, "api.example") || !slices.ContainsFunc(spec.IPs, func(ip net.IP) bool { return ip.String() == "192.0.2.7" }) {
		t.Errorf("%+v", spec)
	}
}

func TestCritical(t *testing.T) {
	a, b := testOptions(t), testOptions(t, "--disable=servicelb,traefik", "--cluster-cidr=10.44.0.0/16")
	if d := compareCritical(a.critical(), a.critical()); d != nil {
		t.Errorf("equal servers differ: %v", d)
	}
	d := compareCritical(a.critical(), b.critical())
	if len(d) != 2 || !strings.HasPrefix(d[0], "cluster-cidr:") || !strings.HasPrefix(d[1], "disable-servicelb:") {
		t.Errorf("%v", d)
	}
}

func TestNotModelled(t *testing.T) {
	s, err := config.Resolve("server", []string{"--datastore-endpoint=mysql://x", "--node-ip=10.0.0.1"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newOptions(s); err == nil || !strings.Contains(err.Error(), "not modelled") {
		t.Errorf("%v", err)
	}
}

func TestBootstrapRoundTrip(t *testing.T) {
	a, b := testOptions(t), testOptions(t)
	if _, err := a.writeCertificates(); err != nil {
		t.Fatal(err)
	}
	data, err := a.readBootstrap()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.writeBootstrap(data); err != nil {
		t.Fatal(err)
	}
	again, err := b.readBootstrap()
	if err != nil || len(again) == 0 {
		t.Fatal(err)
	}
	for _, f := range bootstrapFiles {
		x, _ := readTrimmed(a.tls(f))
		y, _ := readTrimmed(b.tls(f))
		if x == "" || x != y {
			t.Errorf("%s differs", filepath.Base(f))
		}
	}
	if b.writeBootstrap([]byte(`{"ServerCA":{}}`)) == nil {
		t.Error("incomplete data is accepted")
	}
}

func TestNodePassword(t *testing.T) {
	h, err := hashPassword("p", nil)
	if err != nil || verifyPassword(h, "p") != nil {
		t.Errorf("%q %v", h, err)
	}
	for _, bad := range []string{"", "x", h + "0"} {
		if verifyPassword(bad, "p") == nil {
			t.Errorf("%q verifies", bad)
		}
	}
	if verifyPassword(h, "q") == nil {
		t.Error("another password verifies")
	}
}

func TestNodeAddresses(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a1", Annotations: map[string]string{
		"alpha.kubernetes.io/provided-node-ip": "10.0.0.21", annotationExternal: "192.0.2.21"}}}
	want := []corev1.NodeAddress{{Type: "InternalIP", Address: "10.0.0.21"}, {Type: "ExternalIP", Address: "192.0.2.21"}, {Type: "Hostname", Address: "a1"}}
	if got := nodeAddresses(n); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestReconcile(t *testing.T) {
	a, b := testOptions(t), testOptions(t)
	for _, o := range []*options{a, b} {
		if _, err := o.writeCertificates(); err != nil {
			t.Fatal(err)
		}
		if err := o.writePasswords(tokens{server: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := a.readBootstrap()
	if err != nil {
		t.Fatal(err)
	}
	equal := func() bool {
		x, _ := readTrimmed(a.tls("server-ca.crt"))
		y, _ := readTrimmed(b.tls("server-ca.crt"))
		return x == y
	}
	at := func(d time.Duration) {
		t.Helper()
		for _, f := range bootstrapFiles {
			when := time.Now().Add(d)
			if err := os.Chtimes(b.tls(f), when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	at(time.Minute)
	if err := b.reconcile(data); !errors.Is(err, errNewerOnDisk) || !strings.Contains(err.Error(), b.tls("server-ca.crt")) || equal() {
		t.Errorf("newer files: %v", err)
	}
	at(-time.Minute)
	if err := b.reconcile(data); err != nil || !equal() {
		t.Errorf("older files: %v", err)
	}
	at(time.Minute)
	if err := b.reconcile(data); err != nil {
		t.Errorf("equal content: %v", err)
	}
	if err := os.Remove(b.tls("service.key")); err != nil {
		t.Fatal(err)
	}
	if err := b.reconcile(data); err != nil {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := os.Stat(b.tls("service.key")); err != nil {
		t.Error(err)
	}
}

func TestTokenFiles(t *testing.T) {
	o := testOptions(t)
	cas, err := o.writeCertificates()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tokens tokens
		agent  string
		passwd string
	}{
		{tokens{server: "one"}, "::server:one", "one,server,server,k3s:server\none,node,node,k3s:agent"},
		{tokens{server: "one", agent: "two"}, "::node:two", "one,server,server,k3s:server\ntwo,node,node,k3s:agent"},
		{tokens{server: "three"}, "::server:three", "three,server,server,k3s:server\nthree,node,node,k3s:agent"},
	} {
		if err := o.writeTokens(c.tokens, cas.server.PEM); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"token": "::server:" + c.tokens.server, "node-token": "::server:" + c.tokens.server, "agent-token": c.agent} {
			if got, _ := readTrimmed(o.file(name)); !strings.HasPrefix(got, "K10") || !strings.HasSuffix(got, want) {
				t.Errorf("%+v: %s holds %q", c.tokens, name, got)
			}
		}
		if got, _ := readTrimmed(o.file("cred/passwd")); got != c.passwd {
			t.Errorf("%+v: passwd holds %q", c.tokens, got)
		}
	}
}
