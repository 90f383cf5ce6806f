package datastore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func member(name, ip string, learner bool) *etcdserverpb.Member {
	return &etcdserverpb.Member{Name: name, IsLearner: learner, PeerURLs: []string{"https://" + ip + ":2380"},
		ClientURLs: []string{"https://" + ip + ":2379"}}
}

func TestPlan(t *testing.T) {
	members := []*etcdserverpb.Member{member("m1-aaaaaaaa", "10.0.0.1", false), member("m2-bbbbbbbb", "10.0.0.2", false)}
	cluster, present, err := plan(members, "m3-cccccccc", "m3", "10.0.0.3")
	if err != nil || present || !slices.Equal(cluster, []string{"m1-aaaaaaaa=https://10.0.0.1:2380", "m2-bbbbbbbb=https://10.0.0.2:2380"}) {
		t.Errorf("new member: %v %v %v", cluster, present, err)
	}
	// Added by an earlier try that did not get as far as starting.
	cluster, present, err = plan(append(members, member("", "10.0.0.3", true)), "m3-cccccccc", "m3", "10.0.0.3")
	if err != nil || !present || cluster[2] != "m3-cccccccc=https://10.0.0.3:2380" {
		t.Errorf("unstarted member: %v %v %v", cluster, present, err)
	}
	// The host lost its disk and its name; its Node was not deleted.
	if _, _, err = plan(members, "m2-dddddddd", "m2", "10.0.0.2"); !errors.Is(err, errDuplicateName) {
		t.Errorf("duplicate: %v", err)
	}
}

func TestPickEndpoint(t *testing.T) {
	members := []*etcdserverpb.Member{member("m1-a", "10.0.0.1", true), member("m2-b", "10.0.0.2", false), member("m3-c", "10.0.0.3", false)}
	for host, want := range map[string]string{
		"10.0.0.3":  "https://10.0.0.3:2379", // named by server
		"127.0.0.1": "https://10.0.0.2:2379", // else the first voter
		"10.0.0.1":  "https://10.0.0.2:2379", // a learner is not asked
	} {
		if got := pickEndpoint(members, host, "10.0.0.4"); got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}

func TestRetriable(t *testing.T) {
	for err, want := range map[error]bool{
		rpctypes.ErrTooManyLearners: true,
		rpctypes.ErrUnhealthy:       true,
		errors.New("etcdserver: too many learner members in cluster"): true,
		noMemberList{errors.New("x")}:                                 true,
		errDuplicateName:                                              false,
		errors.New("tls: bad certificate"):                            false,
	} {
		if got := retriable(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestStalledLearner(t *testing.T) {
	m := member("m2-b", "10.0.0.2", true)
	m.ID = 7
	var p learnerProgress
	t0 := time.Now()
	if p.track(m, 10, t0) {
		t.Error("removed at first sight")
	}
	if p.track(m, 20, t0.Add(4*time.Minute)) || p.track(m, 20, t0.Add(8*time.Minute)) {
		t.Error("removed within 5 min of progress")
	}
	if !p.track(m, 20, t0.Add(9*time.Minute+time.Second)) {
		t.Error("not removed after 5 min without progress")
	}
	other := member("m3-c", "10.0.0.3", true)
	other.ID = 8
	if p.track(other, 0, t0.Add(10*time.Minute)) {
		t.Error("another learner inherits the stall")
	}
}

func TestSealing(t *testing.T) {
	sealed, err := seal("secret", []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unseal("secret", sealed); err != nil || string(got) != "data" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := unseal("other", sealed); !errors.Is(err, errOtherToken) {
		t.Errorf("other token: %v", err)
	}
	if bootstrapKey("a") == bootstrapKey("b") {
		t.Error("keys must differ by token")
	}
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	base := time.Now().Add(-time.Hour)
	for i, n := range []string{"etcd-snapshot-m1-1", "etcd-snapshot-m1-2", "etcd-snapshot-m1-3", "etcd-snapshot-m11-1", "on-demand-m1-1"} {
		path := filepath.Join(dir, n)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := base.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := PruneSnapshots(dir, "etcd-snapshot", "m1", 2)
	if err != nil || !slices.Equal(removed, []string{"etcd-snapshot-m1-1"}) {
		t.Errorf("%v %v", removed, err)
	}
	list, err := ListSnapshots(dir)
	if err != nil || len(list) != 4 {
		t.Errorf("%v %v", list, err)
	}
	if DeleteSnapshots(dir, []string{"../x"}) == nil || DeleteSnapshots(dir, nil) == nil {
		t.Error("bad names are accepted")
	}
}

func TestTombstone(t *testing.T) {
	o := Options{DBDir: t.TempDir(), TLSDir: t.TempDir(), NodeName: "m1", NodeIP: "10.0.0.1", Loopback: "127.0.0.1"}
	if err := os.MkdirAll(filepath.Join(o.dir(), "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !o.Initialized() || o.Tombstoned() {
		t.Error("a member with a log and no tombstone")
	}
	if err := os.WriteFile(o.tombstone(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !o.Tombstoned() {
		t.Error("tombstone not seen")
	}
	if err := o.SetAside(); err != nil {
		t.Fatal(err)
	}
	if o.Initialized() || o.Tombstoned() {
		t.Error("set aside, yet still there")
	}
	if err := o.MarkReset(); err != nil {
		t.Fatal(err)
	}
	if _, err := Reset(context.Background(), o, ""); err == nil {
		t.Error("a second reset is not refused")
	}
	if err := o.ClearReset(); err != nil {
		t.Fatal(err)
	}
	if err := o.ClearReset(); err != nil {
		t.Errorf("clearing twice: %v", err)
	}
}

func TestSQLiteBootstrap(t *testing.T) {
	dir := t.TempDir()
	s, err := StartSQLite(filepath.Join(dir, "db", "state.db"), filepath.Join(dir, "kine.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(time.Minute)
	load := func(password, want string) {
		t.Helper()
		data, err := s.LoadBootstrap(t.Context(), password)
		if string(data) != want || (want == "") != errors.Is(err, errOtherToken) {
			t.Errorf("with %s: %q %v, want %q", password, data, err, want)
		}
	}
	if data, err := s.LoadBootstrap(t.Context(), "a"); data != nil || err != nil {
		t.Errorf("empty: %q %v", data, err)
	}
	for _, data := range []string{"one", "two"} {
		if err := s.SaveBootstrap(t.Context(), "a", []byte(data), false); err != nil {
			t.Fatal(err)
		}
	}
	load("a", "one")
	load("b", "")
	if err := s.SaveBootstrap(t.Context(), "b", []byte("x"), true); !errors.Is(err, errOtherToken) {
		t.Errorf("saved under another token: %v", err)
	}
	if err := s.RotateBootstrap(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	load("a", "")
	load("b", "one")
	if err := s.SaveBootstrap(t.Context(), "b", []byte("two"), true); err != nil {
		t.Fatal(err)
	}
	load("b", "two")
}
