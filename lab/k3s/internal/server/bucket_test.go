package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k3s-ha/lab/k3s/internal/bucket/buckettest"
)

// TestBucket sends a snapshot to a bucket, is refused by it and cut off from it, and restores by name on an empty host.
func TestBucket(t *testing.T) {
	t.Parallel()
	s3 := buckettest.Start(t, os.Getenv(envBucket), false)
	settings := []string{"etcd-s3: true", "etcd-s3-bucket: backups", "etcd-s3-folder: e2e", "etcd-s3-endpoint: " + s3.Endpoint,
		"etcd-s3-endpoint-ca: " + s3.EndpointCA, "etcd-s3-access-key: " + s3.AccessKey, "etcd-s3-secret-key: " + s3.SecretKey,
		"etcd-s3-retention: 2", "etcd-s3-timeout: 5s"}
	m := newMachine(t, "server", 48, append([]string{"token: " + secret, "cluster-init: true"}, settings...)...)
	m.start()
	m.waitReady()
	local := func() []string {
		files, _ := filepath.Glob(m.path("data/server/db/snapshots/*"))
		return files
	}
	objects := func() []string {
		files, _ := filepath.Glob(filepath.Join(s3.Dir, "e2e/*"))
		return files
	}
	m.kubectl("create", "configmap", "before")
	if out := m.must("etcd-snapshot", "save", "--name", "first"); strings.Count(out, "Snapshot first-s48-") != 2 {
		t.Errorf("saved in two places: %s", out)
	}
	if len(local()) != 1 || len(objects()) != 1 || filepath.Base(local()[0]) != filepath.Base(objects()[0]) {
		t.Fatalf("%v %v", local(), objects())
	}
	name := filepath.Base(local()[0])
	if out := m.must("etcd-snapshot", "ls"); !strings.Contains(out, "s3://backups/e2e/"+name) || !strings.Contains(out, "file://") {
		t.Errorf("ls: %s", out)
	}

	t.Log("the bucket is refused: nothing is taken; without it there is one")
	if out, err := m.k3s("etcd-snapshot", "save", "--s3-secret-key=wrong"); err == nil || !strings.Contains(out, "see server log for details: ") ||
		!strings.Contains(out, "failed to initialize S3 client: failed to test for existence of bucket backups") {
		t.Errorf("wrong key: %v %s", err, out)
	}
	if len(local()) != 1 {
		t.Errorf("%v", local())
	}
	m.must("etcd-snapshot", "save", "--name", "only-here", "--etcd-s3=false")
	if len(local()) != 2 || len(objects()) != 1 {
		t.Errorf("%v %v", local(), objects())
	}

	t.Log("retention in the bucket, which save applies and on this disk does not")
	for i := range 3 {
		// The names differ by whole seconds.
		m.must("etcd-snapshot", "save", "--name", fmt.Sprintf("many-%d", i))
	}
	m.must("etcd-snapshot", "prune", "--name", "many")
	if left, _ := filepath.Glob(filepath.Join(s3.Dir, "e2e/many-*")); len(left) != 2 {
		t.Errorf("left of three: %v", left)
	}

	t.Log("restored by its name on an empty host")
	if code := m.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := os.RemoveAll(m.path("data")); err != nil {
		t.Fatal(err)
	}
	reset := func(path string) []string {
		return []string{"server", "--cluster-reset", "--cluster-reset-restore-path=" + path}
	}
	if out, err := m.k3s(reset("/tmp/some/path")...); err == nil || !strings.Contains(out, "failed to download snapshot from S3") {
		t.Errorf("a path with a bucket: %v %s", err, tail(out, 2))
	}
	if out := m.must(reset(name)...); !strings.Contains(out, "restart without --cluster-reset flag now") {
		t.Errorf("reset: %s", tail(out, 3))
	}
	m.start()
	m.waitReady()
	if out := m.kubectl("get", "configmap", "-o", "name"); !strings.Contains(out, "configmap/before") {
		t.Errorf("content: %s", out)
	}

	t.Log("the bucket goes away after it was opened: k3s succeeds, with one place only")
	m.must("etcd-snapshot", "ls")
	s3.Stop()
	if out := m.must("etcd-snapshot", "save", "--name", "late"); strings.Count(out, "Snapshot late-s48-") != 1 {
		t.Errorf("saved in one place: %s", out)
	}
	if !strings.Contains(m.log(), "Error received during snapshot upload to S3") {
		t.Error("the log does not tell of the failed upload")
	}
}
