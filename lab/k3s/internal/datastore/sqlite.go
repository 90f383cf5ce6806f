package datastore

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// SQLite is the datastore of a server without etcd: kine over a SQLite file, on a Unix socket.
type SQLite struct {
	Store
	endpoint string
	stop     func()
}

// StartSQLite opens the file, or makes it, and serves it on the socket.
func StartSQLite(file, socket string) (_ *SQLite, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	// The values are kine's own defaults.
	wg := &sync.WaitGroup{}
	backend, _, err := sqlite.NewVariant(ctx, wg, "sqlite3", &drivers.Config{
		DataSourceName: file + "?" + sqlite.DefaultParams,
		CompactTimeout: 5 * time.Second, CompactMinRetain: 1000, CompactBatchSize: 1000, PollBatchSize: 500,
	})
	if err != nil {
		return nil, err
	}
	if err := backend.Start(ctx); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, err
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(2<<20), grpc.MaxSendMsgSize(1<<31-1))
	server.New(backend, "unix", 5*time.Second, version.Version).Register(g)
	go func() { _ = g.Serve(l) }()
	s := &SQLite{endpoint: "unix://" + socket, stop: func() {
		g.Stop()
		cancel()
		wg.Wait()
	}}
	s.Client, err = clientv3.New(clientv3.Config{Endpoints: []string{s.endpoint}, DialTimeout: dialTimeout, Logger: quietLogger()})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// Endpoint is the address that the local apiserver uses.
func (s *SQLite) Endpoint() string { return s.endpoint }

// Stop closes the file, waiting at most limit.
func (s *SQLite) Stop(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Client.Close()
		s.stop()
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
