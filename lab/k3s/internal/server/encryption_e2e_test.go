package server_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k3s-ha/lab/k3s/internal/supervisor"
)

// TestEncryption rotates the keys of two servers.
func TestEncryption(t *testing.T) {
	t.Parallel()
	const value = "a-value-that-is-nowhere-else"
	m1 := newMachine(t, "server", 46, "token: "+secret, "cluster-init: true", "secrets-encryption: true")
	m2 := newMachine(t, "server", 47, "token: "+secret, "server: https://"+m1.ip+":6443", "secrets-encryption: true")
	m1.start()
	m1.waitReady()
	m2.start()
	m2.waitReady()
	state := func(m *machine) (st supervisor.EncryptionState) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.must("secrets-encrypt", "status", "-o", "json")), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	stage := func(m *machine) string {
		out, _ := m.k3s("secrets-encrypt", "status")
		return out
	}
	for _, m := range []*machine{m1, m2} {
		eventually(t, "the first stage", func() bool {
			return strings.Contains(stage(m), "Encryption Status: Enabled\nCurrent Rotation Stage: start\nServer Encryption Hashes: All hashes match")
		})
	}
	first := state(m1).ActiveKey
	m1.kubectl("create", "secret", "generic", "before", "--from-literal=a="+value)

	t.Log("the value lies nowhere in clear")
	root := m1.path("data/server/db/etcd")
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(value)) {
			t.Errorf("%s has it", path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	t.Log("a rotation")
	if out := m1.must("secrets-encrypt", "rotate-keys"); !strings.Contains(out, "keys rotated, reencryption finished") {
		t.Error(out)
	}
	st := state(m1)
	if st.Stage != "reencrypt_finished" || st.HashMatch || st.ActiveKey == first || len(st.InactiveKeys) != 0 || !strings.Contains(st.HashError, "hash does not match between") {
		t.Errorf("%+v", st)
	}
	if st := state(m2); st.Stage != "start" || st.ActiveKey != first {
		t.Errorf("%+v", st)
	}
	get := []string{"kubectl", "get", "secret", "before", "-o", "jsonpath={.data.a}"}
	if out, err := m2.k3s(get...); err == nil {
		t.Errorf("server 2 reads what is encrypted with a key that it does not have: %s", out)
	}
	if out, err := m1.k3s("secrets-encrypt", "rotate-keys"); err == nil || !strings.Contains(out, "secret-encrypt error ID") || !strings.Contains(m1.log(), "hash does not match between") {
		t.Errorf("a second rotation while servers differ: %v %s", err, out)
	}

	t.Log("server 2 has the new key after a restart")
	m2.stop()
	m2.start()
	m2.waitReady()
	for _, m := range []*machine{m1, m2} {
		eventually(t, "the last stage on "+m.name, func() bool {
			return strings.Contains(stage(m), "Current Rotation Stage: reencrypt_finished\nServer Encryption Hashes: All hashes match")
		})
		if out, err := m.k3s(get...); err != nil || out == "" {
			t.Errorf("%s: %v %s", m.name, err, out)
		}
	}
}
