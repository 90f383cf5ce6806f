package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/robfig/cron/v3"
	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k3s-ha/lab/k3s/internal/bucket"
	"k3s-ha/lab/k3s/internal/datastore"
	"k3s-ha/lab/k3s/internal/supervisor"
)

// buckets keeps opened ones by their settings, as k3s does: one that was there once is not asked again whether it is.
type buckets struct {
	mu   sync.Mutex
	open map[bucket.Settings]*bucket.Bucket
}

func (b *buckets) get(ctx context.Context, s bucket.Settings) (*bucket.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if kept := b.open[s]; kept != nil {
		return kept, nil
	}
	opened, err := bucket.Open(ctx, s)
	if err != nil {
		logrus.Warnf("Unable to initialize S3 client: %v", err)
		return nil, fmt.Errorf("failed to initialize S3 client: %w", err)
	}
	if b.open == nil {
		b.open = map[bucket.Settings]*bucket.Bucket{}
	}
	b.open[s] = opened
	return opened, nil
}

func (s *server) snapshotDir() string {
	if d := s.String("etcd-snapshot-dir"); d != "" {
		return d
	}
	return filepath.Join(s.file("db"), "snapshots")
}

// ownBucket is the one in this server's configuration; nil when there is none.
func (s *server) ownBucket() *bucket.Settings {
	return bucket.FromConfig(s.Settings, s.Int("etcd-snapshot-retention"), s.IsSet("etcd-snapshot-retention"))
}

// snapshot runs an operation of `k3s etcd-snapshot`. On-demand snapshots are named on-demand-NODE-TIME. On this server's disk
// only `prune` prunes them, in the bucket also `save`, where the bucket has a retention. While the bucket cannot be opened
// nothing is done at all.
func (s *server) snapshot(ctx context.Context, r supervisor.SnapshotRequest) (any, error) {
	dir := r.Dir
	if dir == "" {
		dir = s.snapshotDir()
	}
	prefix := "on-demand"
	if len(r.Names) > 0 {
		prefix = r.Names[0]
	}
	var b *bucket.Bucket
	if r.S3 != nil {
		var err error
		if b, err = s.buckets.get(ctx, *r.S3); err != nil {
			return nil, supervisor.BadRequest{Err: err}
		}
	}
	switch r.Operation {
	case "save":
		if prefix != filepath.Base(prefix) {
			return nil, fmt.Errorf("invalid snapshot name %q", prefix)
		}
		return s.takeSnapshot(ctx, dir, prefix, r.Compress, b)
	case "list":
		return listSnapshots(ctx, dir, b)
	case "delete":
		return []datastore.Snapshot{}, deleteSnapshots(ctx, dir, r.Names, b)
	case "prune":
		removed, err := datastore.PruneSnapshots(dir, prefix, s.id.Name, r.Retention)
		if err != nil {
			return nil, err
		}
		if b != nil {
			gone, err := b.Prune(ctx, prefix)
			if err != nil {
				logrus.Errorf("Error applying S3 snapshot retention policy: %v", err)
			}
			removed = append(removed, gone...)
		}
		out := []datastore.Snapshot{}
		for _, n := range removed {
			out = append(out, datastore.Snapshot{Name: n})
		}
		return out, nil
	}
	return nil, errors.New("unknown snapshot operation " + r.Operation)
}

// takeSnapshot returns the local snapshot and, where the upload succeeded, the one in the bucket. A failed upload is said in
// the log only.
func (s *server) takeSnapshot(ctx context.Context, dir, prefix string, compress bool, b *bucket.Bucket) ([]datastore.Snapshot, error) {
	saved, err := s.etcd.SaveSnapshot(ctx, dir, prefix, compress)
	if err != nil || b == nil {
		return []datastore.Snapshot{saved}, err
	}
	out := []datastore.Snapshot{saved}
	if there, err := b.Upload(ctx, filepath.Join(dir, saved.Name), s.owner(ctx)); err != nil {
		logrus.Errorf("Error received during snapshot upload to S3: %v", err)
	} else {
		logrus.Infof("S3 upload complete for %s", there.Name)
		out = append(out, inBucket(there))
	}
	if _, err := b.Prune(ctx, prefix); err != nil {
		logrus.Warnf("Failed to apply S3 snapshot retention policy: %v", err)
	}
	return out, nil
}

func inBucket(o bucket.Object) datastore.Snapshot {
	return datastore.Snapshot{Name: o.Name, Path: o.Location, Size: o.Size, Created: o.Modified}
}

// owner is written to the objects; without an API the cluster's id is not known and left out.
func (s *server) owner(ctx context.Context) bucket.Owner {
	sum := sha256.Sum256([]byte(s.tokens.server))
	o := bucket.Owner{NodeName: s.id.Name, TokenHash: hex.EncodeToString(sum[:])[:12]}
	if ns, err := s.kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err != nil {
		logrus.Warnf("failed to set S3 snapshot cluster ID: %v", err)
	} else {
		o.ClusterID = string(ns.UID)
	}
	return o
}

func listSnapshots(ctx context.Context, dir string, b *bucket.Bucket) ([]datastore.Snapshot, error) {
	out, err := datastore.ListSnapshots(dir)
	if err != nil || b == nil {
		return out, err
	}
	there, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range there {
		out = append(out, inBucket(o))
	}
	return out, nil
}

func deleteSnapshots(ctx context.Context, dir string, names []string, b *bucket.Bucket) error {
	if b == nil {
		return datastore.DeleteSnapshots(dir, names)
	}
	for _, n := range names {
		if err := datastore.DeleteSnapshots(dir, []string{n}); err != nil {
			logrus.Infof("Snapshot %s not deleted locally: %v", n, err)
		}
		if err := b.Delete(ctx, n); err != nil {
			logrus.Infof("Snapshot %s not deleted from S3: %v", n, err)
		}
	}
	return nil
}

// scheduleSnapshots starts etcd-snapshot-schedule-cron. A bucket that cannot be opened costs the upload, not the snapshot.
func (s *server) scheduleSnapshots(ctx context.Context) error {
	if s.etcd == nil || s.Bool("etcd-disable-snapshots") {
		return nil
	}
	c := cron.New()
	_, err := c.AddFunc(s.String("etcd-snapshot-schedule-cron"), func() {
		var b *bucket.Bucket
		if own := s.ownBucket(); own != nil {
			b, _ = s.buckets.get(ctx, *own) // its failure is in the log
		}
		prefix := s.String("etcd-snapshot-name")
		if _, err := s.takeSnapshot(ctx, s.snapshotDir(), prefix, s.Bool("etcd-snapshot-compress"), b); err != nil {
			logrus.Errorf("Failed to take etcd snapshot: %v", err)
			return
		}
		if _, err := datastore.PruneSnapshots(s.snapshotDir(), prefix, s.id.Name, s.Int("etcd-snapshot-retention")); err != nil {
			logrus.Errorf("Failed to apply snapshot retention: %v", err)
		}
	})
	if err != nil {
		return fmt.Errorf("etcd-snapshot-schedule-cron: %w", err)
	}
	c.Start()
	go func() {
		<-ctx.Done()
		c.Stop()
	}()
	return nil
}

// fetchSnapshot brings the snapshot of that name from the configured bucket to the snapshot folder and returns its path;
// without a bucket it is a path already. With one a path is looked for there, too, as k3s does.
func (s *server) fetchSnapshot(ctx context.Context, name string) (string, error) {
	own := s.ownBucket()
	if own == nil || name == "" {
		return name, nil
	}
	logrus.Infof("Retrieving etcd snapshot %s from S3", name)
	b, err := s.buckets.get(ctx, *own)
	if err != nil {
		return "", err
	}
	path, err := b.Download(ctx, name, s.snapshotDir())
	if err != nil {
		return "", fmt.Errorf("failed to download snapshot from S3: %w", err)
	}
	logrus.Infof("S3 download complete for %s", path)
	return path, nil
}
