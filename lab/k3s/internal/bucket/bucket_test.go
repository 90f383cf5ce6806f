package bucket_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k3s-ha/lab/k3s/internal/bucket"
	"k3s-ha/lab/k3s/internal/bucket/buckettest"
	"k3s-ha/lab/k3s/internal/config"
)

var binary string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "bucket")
	if err == nil {
		binary, err = buckettest.Build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func open(t *testing.T, s bucket.Settings) *bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func upload(t *testing.T, b *bucket.Bucket, name, content string) bucket.Object {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := b.Upload(context.Background(), file, bucket.Owner{ClusterID: "c", NodeName: "m1", TokenHash: "h"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func names(t *testing.T, b *bucket.Bucket) []string {
	t.Helper()
	all, err := b.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range all {
		out = append(out, o.Name)
	}
	return out
}

func TestUploadListDownloadDelete(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		t.Run(fmt.Sprintf("insecure=%v", insecure), func(t *testing.T) {
			server := buckettest.Start(t, binary, insecure)
			settings := server.Settings
			settings.Folder = "prod"
			b := open(t, settings)
			if o := upload(t, b, "by-hand-m1-1", "content"); o.Location != "s3://backups/prod/by-hand-m1-1" || o.Size != 7 {
				t.Errorf("%+v", o)
			}
			if data, err := os.ReadFile(filepath.Join(server.Dir, "prod/by-hand-m1-1")); err != nil || string(data) != "content" {
				t.Errorf("object: %q %v", data, err)
			}
			if got := names(t, b); !slices.Equal(got, []string{"by-hand-m1-1"}) {
				t.Errorf("listed: %v", got)
			}
			dir := filepath.Join(t.TempDir(), "snapshots")
			path, err := b.Download(context.Background(), "by-hand-m1-1", dir)
			if err != nil || path != filepath.Join(dir, "by-hand-m1-1") {
				t.Fatal(path, err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != "content" {
				t.Errorf("downloaded: %q %v", data, err)
			}
			if _, err := b.Download(context.Background(), "other", dir); !bucket.IsNotExist(err) {
				t.Errorf("download of what is not there: %v", err)
			}
			if err := b.Delete(context.Background(), "by-hand-m1-1"); err != nil {
				t.Error(err)
			}
			if err := b.Delete(context.Background(), "by-hand-m1-1"); !bucket.IsNotExist(err) {
				t.Errorf("second delete: %v", err)
			}
			if got := names(t, b); len(got) != 0 {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	server := buckettest.Start(t, binary, false)
	settings := server.Settings
	settings.Folder, settings.Retention = "prod", 2
	b := open(t, settings)
	other := server.Settings
	other.Folder = "staging"
	upload(t, open(t, other), "etcd-snapshot-m1-0", "x")
	for i, n := range []string{"etcd-snapshot-m1-1", "on-demand-m1-1", "etcd-snapshot-m2-2", "etcd-snapshot-m3-3"} {
		upload(t, b, n, "x")
		// The bucket's clock decides, and it counts whole seconds.
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(filepath.Join(server.Dir, "prod", n), at, at); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := b.Prune(context.Background(), "etcd-snapshot")
	if err != nil || !slices.Equal(removed, []string{"etcd-snapshot-m1-1"}) {
		t.Errorf("removed: %v %v", removed, err)
	}
	if got := names(t, b); !slices.Equal(got, []string{"on-demand-m1-1", "etcd-snapshot-m2-2", "etcd-snapshot-m3-3"}) {
		t.Errorf("left: %v", got)
	}
	if got := names(t, open(t, other)); len(got) != 1 {
		t.Errorf("another folder: %v", got)
	}
	settings.Retention = 0
	if removed, err := open(t, settings).Prune(context.Background(), ""); err != nil || removed != nil {
		t.Errorf("without retention: %v %v", removed, err)
	}
}

func TestRefusals(t *testing.T) {
	server := buckettest.Start(t, binary, false)
	foreign := buckettest.Start(t, binary, false)
	cases := map[string]struct {
		change func(*bucket.Settings)
		want   string
	}{
		"wrong secret key": {func(s *bucket.Settings) { s.SecretKey = "wrong-secret" }, "failed to test for existence of bucket backups: "},
		// versitygw answers 404 to a key that it does not know, S3 itself 403.
		"wrong access key":  {func(s *bucket.Settings) { s.AccessKey = "nobody" }, "bucket backups does not exist"},
		"no keys":           {func(s *bucket.Settings) { s.AccessKey, s.SecretKey = "", "" }, "failed to test for existence of bucket backups: "},
		"no such bucket":    {func(s *bucket.Settings) { s.Bucket = "other" }, "bucket other does not exist"},
		"no bucket":         {func(s *bucket.Settings) { s.Bucket = "" }, "s3 bucket name was not set"},
		"another's CA":      {func(s *bucket.Settings) { s.EndpointCA = foreign.EndpointCA }, "certificate signed by unknown authority"},
		"the machine's CAs": {func(s *bucket.Settings) { s.EndpointCA = "" }, "certificate signed by unknown authority"},
		"no CA":             {func(s *bucket.Settings) { s.EndpointCA = "bm9uZQ==" }, "no certificates loaded from etcd-s3-endpoint-ca"},
		"no CA file":        {func(s *bucket.Settings) { s.EndpointCA = "/nonexistent.pem" }, "no such file"},
		"plain HTTP":        {func(s *bucket.Settings) { s.Insecure = true }, "failed to test for existence"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := server.Settings
			c.change(&settings)
			b, err := bucket.Open(context.Background(), settings)
			if b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v", err)
			}
			if settings.SecretKey != "" && strings.Contains(err.Error(), settings.SecretKey) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestGone(t *testing.T) {
	server := buckettest.Start(t, binary, false)
	b := open(t, server.Settings)
	server.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := b.List(ctx); err == nil {
		t.Error("listed nothing at all")
	}
}

func TestFromConfig(t *testing.T) {
	resolve := func(args ...string) *config.Settings {
		s, err := config.Resolve("server", args, func(k string) string {
			return map[string]string{"K3S_CONFIG_FILE": os.DevNull, "AWS_ACCESS_KEY_ID": "from-env"}[k]
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := bucket.FromConfig(resolve("--etcd-s3-bucket=b"), 5, false); got != nil {
		t.Errorf("without etcd-s3: %+v", got)
	}
	got := bucket.FromConfig(resolve("--etcd-s3", "--etcd-s3-bucket=b"), 7, false)
	if got.Endpoint != "s3.amazonaws.com" || got.Region != "us-east-1" || got.AccessKey != "from-env" || got.Retention != 5 || got.Timeout != 5*time.Minute {
		t.Errorf("defaults: %+v", got)
	}
	if got := bucket.FromConfig(resolve("--etcd-s3"), 7, true); got.Retention != 7 {
		t.Errorf("retention of the local ones: %+v", got)
	}
	if got := bucket.FromConfig(resolve("--etcd-s3", "--etcd-s3-retention=3"), 7, true); got.Retention != 3 {
		t.Errorf("retention of its own: %+v", got)
	}
}
