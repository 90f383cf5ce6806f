// Package datastore runs etcd inside the k3s process as one member of the cluster.
package datastore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"gopkg.in/yaml.v2"
	"k8s.io/apimachinery/pkg/util/uuid"

	"k3s-ha/lab/k3s/internal/pki"
)

const (
	// testTimeout bounds one look at etcd's health, in k3s 5 s.
	testTimeout = 5 * time.Second
	dialTimeout = 2 * time.Second
	// Heartbeat and election timeout in ms, as k3s sets them: a lost leader is replaced after 5 to 10 s.
	heartbeat = 500
	election  = 5000
)

// Options say where etcd lives and listens.
type Options struct {
	DBDir         string // .../server/db
	TLSDir        string // .../server/tls
	NodeName      string
	NodeIP        string
	Loopback      string // 127.0.0.1, or another loopback address when several servers share a machine
	ExposeMetrics bool
	ExtraArgs     []string // etcd-arg
	Debug         bool
}

// Etcd is this server's member.
type Etcd struct {
	Options
	Store
	Name     string
	server   atomic.Pointer[embed.Etcd]
	stopping atomic.Bool
	// Gone is closed when etcd stopped without being asked: a removed member (Removed is then true) or a failure.
	Gone    chan struct{}
	Removed bool
}

func (o Options) dir() string       { return filepath.Join(o.DBDir, "etcd") }
func (o Options) tombstone() string { return filepath.Join(o.dir(), "tombstone") }

// newName is a member's name as k3s makes it, also after a reset or restore.
func (o Options) newName() string { return o.NodeName + "-" + string(uuid.NewUUID())[:8] }

func (o Options) nameFile() string { return filepath.Join(o.dir(), "name") }

// SQLiteFile is where a server without etcd keeps its data.
func (o Options) SQLiteFile() string { return filepath.Join(o.DBDir, "state.db") }

func (o Options) resetFlag() string { return filepath.Join(o.DBDir, "reset-flag") }

func (o Options) clientURL() string   { return "https://" + net.JoinHostPort(o.NodeIP, "2379") }
func (o Options) peerURL() string     { return "https://" + net.JoinHostPort(o.NodeIP, "2380") }
func (o Options) loopbackURL() string { return "https://" + net.JoinHostPort(o.Loopback, "2379") }

// MigrateSQLite takes over what a single server kept in SQLite, if there is such a file, as k3s does when a server is
// started with cluster-init; the file is then renamed.
func (e *Etcd) MigrateSQLite(ctx context.Context, socket string) error {
	if _, err := os.Stat(e.SQLiteFile()); os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	logrus.Infof("Migrating content from sqlite to etcd")
	from, err := StartSQLite(e.SQLiteFile(), socket)
	if err != nil {
		return err
	}
	defer from.Stop(time.Minute)
	r, err := from.Client.Get(ctx, "/registry/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs {
		logrus.Infof("Migrating etcd key %s", kv.Key)
		if _, err := e.Client.Put(ctx, string(kv.Key), string(kv.Value)); err != nil {
			return err
		}
	}
	return os.Rename(e.SQLiteFile(), e.SQLiteFile()+".migrated")
}

// Endpoint is the address that the local apiserver uses.
func (e *Etcd) Endpoint() string { return e.loopbackURL() }

// Initialized tells whether a member was ever started from this data folder.
func (o Options) Initialized() bool {
	s, err := os.Stat(filepath.Join(o.dir(), "member", "wal"))
	return err == nil && s.IsDir()
}

// Tombstoned tells whether this member was removed from its cluster.
func (o Options) Tombstoned() bool {
	_, err := os.Stat(o.tombstone())
	return err == nil
}

// SetAside renames the member's data, keeping it beside as etcd-old-<unix time>.
func (o Options) SetAside() error {
	return os.Rename(o.dir(), fmt.Sprintf("%s-old-%d", o.dir(), time.Now().Unix()))
}

// New prepares the member: its name (NODE-xxxxxxxx, kept in db/etcd/name) and a client to it.
func New(o Options, newName bool) (*Etcd, error) {
	e := &Etcd{Options: o, Gone: make(chan struct{})}
	name, err := os.ReadFile(o.nameFile())
	if os.IsNotExist(err) || newName {
		e.Name = o.newName()
		if err := pki.WriteFile(o.nameFile(), []byte(e.Name), 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	} else {
		e.Name = strings.TrimSpace(string(name))
	}
	if err := os.Chmod(o.dir(), 0o700); err != nil {
		return nil, err
	}
	e.Client, err = o.NewClient(o.loopbackURL())
	return e, err
}

// NewClient returns a client with this server's certificate; it connects when used.
func (o Options) NewClient(endpoints ...string) (*clientv3.Client, error) {
	cfg, err := o.clientConfig(endpoints...)
	if err != nil {
		return nil, err
	}
	return clientv3.New(*cfg)
}

func (o Options) clientConfig(endpoints ...string) (*clientv3.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(o.TLSDir, "etcd/client.crt"), filepath.Join(o.TLSDir, "etcd/client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(o.TLSDir, "etcd/server-ca.crt"))
	if err != nil {
		return nil, err
	}
	return &clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  &tls.Config{RootCAs: pki.Pool(ca), Certificates: []tls.Certificate{cert}},
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
		Logger:               quietLogger(),
	}, nil
}

// start runs etcd from a configuration file like the one k3s writes (db/etcd/config).
func (e *Etcd) start(initialCluster, state string, forceNew bool) error {
	metrics := "http://" + net.JoinHostPort(e.Loopback, "2381")
	if e.ExposeMetrics {
		metrics += ",http://" + net.JoinHostPort(e.NodeIP, "2381")
	}
	level := "warn"
	if e.Debug {
		level = "info"
	}
	file := func(n string) string { return filepath.Join(e.TLSDir, "etcd", n) }
	cfg := map[string]any{
		"name":               e.Name,
		"data-dir":           e.dir(),
		"listen-client-urls": e.listen("2379"),
		// As in k3s: 2379 is for gRPC alone, and etcd's HTTP API is for this host only.
		"listen-client-http-urls":     "https://" + net.JoinHostPort(e.Loopback, "2382"),
		"advertise-client-urls":       e.clientURL(),
		"listen-peer-urls":            e.listen("2380"),
		"initial-advertise-peer-urls": e.peerURL(),
		"listen-metrics-urls":         metrics,
		"heartbeat-interval":          heartbeat,
		"election-timeout":            election,
		"snapshot-count":              10000,
		// embed's file format has no defaults for these two and would log every request.
		"warning-apply-duration":         int64(100 * time.Millisecond),
		"warning-unary-request-duration": int64(300 * time.Millisecond),
		"force-new-cluster":              forceNew,
		"logger":                         "zap",
		"log-outputs":                    []string{"stderr"},
		"log-level":                      level,
		"client-transport-security": map[string]any{
			"cert-file": file("server-client.crt"), "key-file": file("server-client.key"),
			"client-cert-auth": true, "trusted-ca-file": file("server-ca.crt"),
		},
		"peer-transport-security": map[string]any{
			"cert-file": file("peer-server-client.crt"), "key-file": file("peer-server-client.key"),
			"client-cert-auth": true, "trusted-ca-file": file("peer-ca.crt"),
			// Servers of one machine reach each other from each other's address.
			"skip-client-san-verification": e.Loopback != "127.0.0.1",
		},
	}
	if initialCluster != "" {
		cfg["initial-cluster"] = initialCluster
		cfg["initial-cluster-state"] = state
	}
	for _, a := range e.ExtraArgs {
		name, v, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if n, err := strconv.Atoi(v); err == nil {
			cfg[name] = n
		} else if b, err := strconv.ParseBool(v); err == nil {
			cfg[name] = b
		} else {
			cfg[name] = v
		}
	}
	data, err := yaml.Marshal(cfg)
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir(), "config")
	if err := pki.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	c, err := embed.ConfigFromFile(path)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	e.server.Store(server)
	go e.watch()
	return nil
}

func (e *Etcd) listen(port string) string {
	urls := []string{"https://" + net.JoinHostPort(e.NodeIP, port)}
	if e.Loopback != e.NodeIP {
		urls = append(urls, "https://"+net.JoinHostPort(e.Loopback, port))
	}
	return strings.Join(urls, ",")
}

// watch waits for etcd to end by itself; a removed member leaves a tombstone so that it cannot come back as it was.
func (e *Etcd) watch() {
	s := e.server.Load()
	select {
	case <-s.Server.StopNotify():
	case err := <-s.Err():
		logrus.Errorf("etcd error: %v", err)
	}
	if e.stopping.Load() {
		return
	}
	if e.wasRemoved() {
		e.Removed = true
		if err := pki.WriteFile(e.tombstone(), nil, 0o600); err != nil {
			logrus.Errorf("Failed to write tombstone file to %s: %v", e.tombstone(), err)
		}
		logrus.Infof("this node has been removed from the cluster please restart k3s to rejoin the cluster")
	}
	close(e.Gone)
}

// wasRemoved tells why etcd stopped. A member removed while it was down has not got that in its own log; the others know.
func (e *Etcd) wasRemoved() bool {
	s := e.server.Load().Server
	self := s.MemberID()
	if s.IsIDRemoved(uint64(self)) {
		return true
	}
	var others []string
	for _, m := range s.Cluster().Members() {
		if m.ID != self {
			others = append(others, m.ClientURLs...)
		}
	}
	if len(others) == 0 {
		return false
	}
	client, err := e.NewClient(others...)
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return false
	}
	for _, m := range list.Members {
		if m.ID == uint64(self) {
			return false
		}
	}
	return true
}

// Resume starts an existing member again.
func (e *Etcd) Resume() error { return e.start("", "", false) }

// Found starts the first member of a new cluster.
func (e *Etcd) Found() error { return e.start(e.Name+"="+e.peerURL(), "new", false) }

// Stop hands leadership on and ends etcd, waiting at most limit.
func (e *Etcd) Stop(limit time.Duration) {
	s := e.server.Load()
	if s == nil || e.stopping.Swap(true) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Not embed's Close: it first waits for clients, and ours are in this very process.
		s.Server.Stop()
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// Test returns nil once this member is a voter of the cluster and the cluster answers.
func (e *Etcd) Test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	status, err := e.Client.Status(ctx, e.loopbackURL())
	if err != nil {
		return err
	}
	if status.IsLearner {
		return errors.New("this server has not yet been promoted from learner to voting member")
	}
	members, err := e.Client.MemberList(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, m := range members.Members {
		for _, u := range m.PeerURLs {
			if u == e.peerURL() && m.Name == e.Name {
				return nil
			}
			found = append(found, m.Name+"="+u)
		}
	}
	return fmt.Errorf("this server is not a member of the etcd cluster. Found %v, expect: %s=%s", found, e.Name, e.peerURL())
}

// Members lists the cluster for /db/info.
func (e *Etcd) Members(ctx context.Context) ([]*etcdserverpb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := e.Client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	return r.Members, nil
}

// RemoveMember removes the member of that name and address; one that is not there is no error.
func (e *Etcd) RemoveMember(ctx context.Context, name, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := e.Client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range r.Members {
		for _, p := range m.PeerURLs {
			if u, err := url.Parse(p); err == nil && m.Name == name && u.Hostname() == address {
				logrus.Infof("Removing name=%s id=%s address=%s from etcd", m.Name, types.ID(m.ID), address)
				_, err := e.Client.MemberRemove(ctx, m.ID)
				return err
			}
		}
	}
	return nil
}
