package datastore

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
)

const zipSuffix = ".zip"

// Snapshot is one snapshot file.
type Snapshot struct {
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
}

// SaveSnapshot writes dir/PREFIX-NODE-UNIXTIME, as .zip when compress is set.
func (e *Etcd) SaveSnapshot(ctx context.Context, dir, prefix string, compress bool) (Snapshot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Snapshot{}, err
	}
	cfg, err := e.clientConfig(e.loopbackURL())
	if err != nil {
		return Snapshot{}, err
	}
	name := fmt.Sprintf("%s-%s-%d", prefix, e.NodeName, time.Now().Unix())
	path := filepath.Join(dir, name)
	if _, err := snapshot.NewV3(quietLogger()).Save(ctx, *cfg, path); err != nil {
		return Snapshot{}, err
	}
	if compress {
		if err := zipFile(path); err != nil {
			return Snapshot{}, err
		}
		name, path = name+zipSuffix, path+zipSuffix
	}
	return statSnapshot(dir, name)
}

func statSnapshot(dir, name string) (Snapshot, error) {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{Name: name, Path: "file://" + filepath.Join(dir, name), Size: info.Size(), Created: info.ModTime()}, nil
}

// ListSnapshots returns the folder's snapshots, oldest first; a missing folder has none.
func ListSnapshots(dir string) ([]Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	out := []Snapshot{}
	for _, en := range entries {
		if en.IsDir() || strings.HasSuffix(en.Name(), ".part") {
			continue
		}
		s, err := statSnapshot(dir, en.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Snapshot) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// DeleteSnapshots removes snapshots by name; one that is not there is an error.
func DeleteSnapshots(dir string, names []string) error {
	if len(names) == 0 {
		return errors.New("no snapshots given for removal")
	}
	for _, n := range names {
		if n != filepath.Base(n) {
			return fmt.Errorf("invalid snapshot name %q", n)
		}
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// PruneSnapshots keeps the newest `retention` snapshots whose names begin with PREFIX-NODE- and returns the removed.
func PruneSnapshots(dir, prefix, node string, retention int) ([]string, error) {
	if retention < 1 {
		return nil, nil
	}
	all, err := ListSnapshots(dir)
	if err != nil {
		return nil, err
	}
	mine := slices.DeleteFunc(all, func(s Snapshot) bool { return !strings.HasPrefix(s.Name, prefix+"-"+node+"-") })
	var removed []string
	for len(mine) > retention {
		if err := os.Remove(filepath.Join(dir, mine[0].Name)); err != nil {
			return removed, err
		}
		removed = append(removed, mine[0].Name)
		mine = mine[1:]
	}
	return removed, nil
}

func zipFile(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+zipSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	z := zip.NewWriter(out)
	w, err := z.Create(filepath.Base(path))
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.Remove(path)
}

func unzip(path, into string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	if len(z.File) != 1 {
		return fmt.Errorf("%s holds %d files, not one snapshot", path, len(z.File))
	}
	in, err := z.File[0].Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(into, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}

// ClearReset forgets a former reset; a normal start does it.
func (o Options) ClearReset() error {
	if err := os.Remove(o.resetFlag()); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// MarkReset keeps a host whose reset is done from being reset again without a normal start between.
func (o Options) MarkReset() error { return os.WriteFile(o.resetFlag(), nil, 0o600) }

// Reset makes this member the only one of its cluster, with a snapshot's content when restore names one, and leaves
// etcd running. A host with the mark of MarkReset is refused.
func Reset(ctx context.Context, o Options, restore string) (*Etcd, error) {
	if _, err := os.Stat(o.resetFlag()); err == nil {
		return nil, fmt.Errorf("Managed etcd cluster membership was previously reset, please remove the cluster-reset flag and start k3s normally. If you need to perform another cluster reset, you must first manually delete the file at %s", o.resetFlag())
	}
	if restore == "" && !o.Initialized() {
		return nil, errors.New("cluster-reset: no etcd data in " + o.dir())
	}
	if restore != "" {
		if err := restoreInto(o, restore); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.DBDir, 0o700); err != nil {
		return nil, err
	}
	e, err := New(o, restore == "")
	if err != nil {
		return nil, err
	}
	if err := e.start(e.Name+"="+e.peerURL(), "new", true); err != nil {
		return nil, err
	}
	for {
		if err = e.Test(ctx); err == nil {
			return e, nil
		}
		// The forced cluster's only member still carries its old address or name.
		if list, lerr := e.Client.MemberList(ctx); lerr == nil && len(list.Members) == 1 {
			_, _ = e.Client.MemberUpdate(ctx, list.Members[0].ID, []string{e.peerURL()})
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-time.After(time.Second):
		}
	}
}

func restoreInto(o Options, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("etcd: snapshot path does not exist: %s", path)
	}
	if info.IsDir() {
		return fmt.Errorf("etcd: snapshot path must be a file, not a directory: %s", path)
	}
	if strings.HasSuffix(path, zipSuffix) {
		plain := filepath.Join(o.DBDir, "restore.tmp")
		if err := os.MkdirAll(o.DBDir, 0o700); err != nil {
			return err
		}
		if err := unzip(path, plain); err != nil {
			return err
		}
		defer os.Remove(plain)
		path = plain
	}
	if _, err := os.Stat(o.dir()); err == nil {
		if err := o.SetAside(); err != nil {
			return err
		}
	}
	// etcdutl wants to make the folder itself; the name file is written into it afterwards. No cluster token, as in k3s: with
	// the one that etcd starts with by itself the restored cluster would have the old one's id, and members of that which
	// still run would talk to it (seen: "tocommit is out of range").
	name := o.newName()
	if err := snapshot.NewV3(quietLogger()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: name, OutputDataDir: o.dir(), PeerURLs: []string{o.peerURL()},
		InitialCluster: name + "=" + o.peerURL(), SkipHashCheck: false,
	}); err != nil {
		return err
	}
	return os.WriteFile(o.nameFile(), []byte(name), 0o600)
}
