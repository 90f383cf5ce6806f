package pki

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRotate: certificates of servers and agents go to a backup with their keys, authorities stay.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	stay := []string{"server/tls/server-ca.crt", "server/tls/server-ca.key", "server/tls/etcd/peer-ca.crt", "server/tls/service.key",
		"agent/client-ca.crt", "agent/server-ca.crt", "agent/etc/x.crt"}
	gone := []string{"server/tls/client-admin.crt", "server/tls/client-admin.key", "server/tls/etcd/client.crt", "server/tls/etcd/client.key",
		"server/tls/temporary-certs/k3s-serving.crt", "agent/client-kubelet.crt", "agent/client-kubelet.key"}
	for _, file := range append(append([]string{}, stay...), gone...) {
		if err := WriteFile(filepath.Join(dir, file), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Rotate(dir); err != nil {
		t.Fatal(err)
	}
	for _, file := range stay {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	for _, file := range gone {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			t.Errorf("%s is still there", file)
		}
	}
	for pattern, count := range map[string]int{"server/tls-*/client-admin.*": 2, "server/tls-*/etcd/client.*": 2, "agent/tls-*/client-kubelet.*": 2} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) != count {
			t.Errorf("%s: %v", pattern, found)
		}
	}
	if err := Rotate(dir); err == nil {
		t.Error("nothing to rotate is no success")
	}
}

// TestExpirationDays: certificates live as long as k3s's own variable says, and no longer than a start's renewal lets them.
func TestExpirationDays(t *testing.T) {
	base := filepath.Join(t.TempDir(), "a")
	ca, err := EnsureCA(base+"-ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		days string
		want float64
	}{{"30", 30}, {"200", 200}, {"x", 200}, {"", 200}} {
		t.Setenv(ExpirationDays, c.days)
		if err := ca.EnsureLeaf(base, Spec{CommonName: "test"}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(base + ".crt")
		if err != nil {
			t.Fatal(err)
		}
		certs, err := ParseCerts(data)
		if err != nil {
			t.Fatal(err)
		}
		if days := time.Until(certs[0].NotAfter).Hours() / 24; days < c.want-1 || days > c.want {
			t.Errorf("%q: %v days, want %v", c.days, days, c.want)
		}
	}
}
