package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/robfig/cron/v3"
	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/datastore"
	"k3s-ha/lab/k3s/internal/supervisor"
	"k3s-ha/lab/k3s/internal/token"
)

// rotateToken makes a new password the cluster's: in this server's files and in the datastore. As in k3s this server's
// port 6443 takes the old one until it is restarted, and the other servers know nothing of it.
func (s *server) rotateToken(ctx context.Context, newToken string) error {
	if newToken == "" {
		newToken = token.Random()
	}
	parsed, err := token.Parse(newToken)
	if err != nil {
		return err
	}
	old := s.tokens.server
	s.tokens.server = parsed.Password
	if err := s.writePasswords(s.tokens); err != nil {
		return err
	}
	if err := s.writeServerToken(s.tokens, s.cas.server.PEM); err != nil {
		return err
	}
	if err := s.store.RotateBootstrap(ctx, old, parsed.Password); err != nil {
		return err
	}
	data, err := s.readBootstrap()
	if err != nil {
		return err
	}
	return s.store.SaveBootstrap(ctx, parsed.Password, data, true)
}

func (s *server) snapshotDir() string {
	if d := s.String("etcd-snapshot-dir"); d != "" {
		return d
	}
	return filepath.Join(s.file("db"), "snapshots")
}

// snapshot runs an operation of `k3s etcd-snapshot`. On-demand snapshots are named on-demand-NODE-TIME and are pruned
// only by `prune`, scheduled ones by their name.
func (s *server) snapshot(ctx context.Context, r supervisor.SnapshotRequest) (any, error) {
	dir := r.Dir
	if dir == "" {
		dir = s.snapshotDir()
	}
	prefix := "on-demand"
	if len(r.Names) > 0 {
		prefix = r.Names[0]
	}
	switch r.Operation {
	case "save":
		if prefix != filepath.Base(prefix) {
			return nil, fmt.Errorf("invalid snapshot name %q", prefix)
		}
		saved, err := s.etcd.SaveSnapshot(ctx, dir, prefix, r.Compress)
		return []datastore.Snapshot{saved}, err
	case "list":
		return datastore.ListSnapshots(dir)
	case "delete":
		return []datastore.Snapshot{}, datastore.DeleteSnapshots(dir, r.Names)
	case "prune":
		removed, err := datastore.PruneSnapshots(dir, prefix, s.id.Name, r.Retention)
		out := []datastore.Snapshot{}
		for _, n := range removed {
			out = append(out, datastore.Snapshot{Name: n})
		}
		return out, err
	}
	return nil, errors.New("unknown snapshot operation " + r.Operation)
}

// scheduleSnapshots starts etcd-snapshot-schedule-cron.
func (s *server) scheduleSnapshots(ctx context.Context) error {
	if s.etcd == nil || s.Bool("etcd-disable-snapshots") {
		return nil
	}
	c := cron.New()
	_, err := c.AddFunc(s.String("etcd-snapshot-schedule-cron"), func() {
		prefix := s.String("etcd-snapshot-name")
		if _, err := s.etcd.SaveSnapshot(ctx, s.snapshotDir(), prefix, s.Bool("etcd-snapshot-compress")); err != nil {
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
