package token

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"k3s-ha/lab/k3s/internal/pki"
)

func ca(t *testing.T) []byte {
	t.Helper()
	base := filepath.Join(t.TempDir(), "ca")
	if _, err := pki.EnsureCA(base, "test"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(base + ".crt")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestForms(t *testing.T) {
	own, other := ca(t), ca(t)
	full, err := Format(own, UserServer, "pass:word")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(full)
	if err != nil || parsed.User != "server" || parsed.Password != "pass:word" {
		t.Fatalf("%+v %v", parsed, err)
	}
	sum := sha256.Sum256(own)
	if parsed.CAHash != hex.EncodeToString(sum[:]) {
		t.Error("the hash of a single certificate is that of the file")
	}
	if err := parsed.CheckCA(own); err != nil {
		t.Error(err)
	}
	if parsed.CheckCA(other) == nil {
		t.Error("another CA passes")
	}
	short, err := Parse("abc")
	if err != nil || short.CheckCA(other) != nil {
		t.Errorf("a short token accepts any CA: %v", err)
	}
	for _, bad := range []string{"", "K10nonsense", "abcdef.0123456789abcdef"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestChainHash(t *testing.T) {
	leaf, root := ca(t), ca(t)
	h, err := HashCA(append(append([]byte{}, leaf...), root...))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(root)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(certs[0].Raw)
	if h != hex.EncodeToString(sum[:]) {
		t.Error("the hash of a chain is that of its root's DER")
	}
}
