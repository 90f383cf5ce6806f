package server_test

import (
	"os"
	"strings"
	"testing"
)

// TestManifests has a file of server/manifests applied at the start and changed while it runs; an emptied one prunes.
func TestManifests(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "server", 45, "token: "+secret)
	const file = "data/server/manifests/own.yaml"
	if err := os.MkdirAll(m.path("data/server/manifests"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.write(file, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "made"}}
---
apiVersion: v1
kind: ConfigMap
metadata: { name: own, namespace: made }
data: { v: "1" }
`)
	m.start()
	m.waitReady()
	value := func() string {
		return m.kubectl("-n", "made", "get", "configmap", "own", "--ignore-not-found", "-o", "jsonpath={.data.v} {.metadata.uid}")
	}
	eventually(t, "applied", func() bool { return strings.HasPrefix(value(), "1 ") })
	_, uid, _ := strings.Cut(value(), " ")
	m.write(file, strings.Replace(m.read(file), `"1"`, `"2"`, 1))
	eventually(t, "changed in place", func() bool { return value() == "2 "+uid })
	m.write(file, "")
	eventually(t, "pruned", func() bool {
		return m.kubectl("-n", "kube-system", "get", "addons.k3s.cattle.io", "own", "-o", `jsonpath={.spec.checksum}`) ==
			"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" && value() == "" &&
			m.kubectl("get", "namespace", "made", "--ignore-not-found", "-o", "name") == ""
	})
}
