package server

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEncryptionFiles makes the first key, passes it to a server that joins, and a rotated one to a server that restarts.
func TestEncryptionFiles(t *testing.T) {
	const on = "--secrets-encryption=true"
	a, b := testOptions(t, on), testOptions(t, on)
	for _, o := range []*options{a, b} {
		if _, err := o.writeCertificates(); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.ensureEncryption(); err != nil {
		t.Fatal(err)
	}
	hash, err := a.encryptionHash()
	if err != nil {
		t.Fatal(err)
	}
	if state, err := readTrimmed(a.encryptionState()); err != nil || state != "start-"+hash {
		t.Errorf("%q %v", state, err)
	}
	for _, f := range []string{a.encryptionConfig(), a.encryptionState()} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f, err)
		}
	}
	give := func() {
		t.Helper()
		data, err := a.readBootstrap()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.writeBootstrap(data); err != nil {
			t.Fatal(err)
		}
		if x, _ := a.encryptionHash(); x == "" {
			t.Error("no hash")
		} else if y, err := b.encryptionHash(); err != nil || x != y {
			t.Errorf("another configuration: %v", err)
		}
	}
	give()
	if err := a.ensureEncryption(); err != nil {
		t.Fatal(err)
	}
	if again, _ := a.encryptionHash(); again != hash {
		t.Error("a second start makes another key")
	}
	key, err := newEncryptionKey("aescbckey-2")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := a.encryptionKeys()
	if err != nil || len(keys) != 1 || keys[0].Name != "aescbckey" {
		t.Fatalf("%v %v", keys, err)
	}
	if err := a.writeEncryptionConfig(slices.Insert(keys, 0, key)); err != nil {
		t.Fatal(err)
	}
	give()
	if got, err := b.encryptionKeys(); err != nil || len(got) != 2 || got[0].Name != "aescbckey-2" {
		t.Errorf("%v %v", got, err)
	}
	if args := strings.Join(a.apiserverArgs("https://127.0.0.1:2379"), " "); !strings.Contains(args, "--encryption-provider-config="+a.encryptionConfig()) ||
		!strings.Contains(args, "--encryption-provider-config-automatic-reload=true") {
		t.Error(args)
	}
	without := testOptions(t)
	if err := without.ensureEncryption(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(without.encryptionConfig()); !os.IsNotExist(err) {
		t.Errorf("a key without the setting: %v", err)
	}
	if err := testOptions(t, on, "--secrets-encryption-provider=rot13").ensureEncryption(); err == nil || !strings.Contains(err.Error(), "unsupported") {
		t.Errorf("%v", err)
	}
}
