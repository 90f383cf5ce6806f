package server

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/datastore"
	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/token"
)

const resetLimit = 2 * time.Minute

// reset is `k3s server --cluster-reset [--cluster-reset-restore-path FILE-OR-NAME-IN-BUCKET]`: it leaves a cluster of this one member and
// ends; a start without the flags follows. On a new host the CAs come out of the snapshot, which takes the token of
// its time.
func (s *server) reset(ctx context.Context) error {
	if s.String("server") != "" {
		return errors.New("cannot perform cluster-reset while server URL is set - remove server from configuration before resetting")
	}
	// A token-file does not count here.
	if _, err := os.Stat(s.file("token")); os.IsNotExist(err) && s.String("cluster-reset-restore-path") != "" && s.String("token") == "" {
		return errors.New(s.file("token") + " does not exist, please pass --token to complete the restoration")
	}
	tok, err := s.Secret("token")
	if err != nil {
		return err
	}
	if tok == "" {
		if tok, err = readTrimmed(s.file("token")); err != nil {
			return errors.New("cluster-reset needs the cluster's token: --token is not set and there is no server/token file")
		}
	}
	parsed, err := token.Parse(tok)
	if err != nil {
		return err
	}
	agentToken, err := s.Secret("agent-token")
	if err != nil {
		return err
	}
	s.tokens = tokens{server: parsed.Password, agent: agentToken}
	if _, err := os.Stat(s.tls("server-ca.crt")); os.IsNotExist(err) && s.String("cluster-reset-restore-path") == "" {
		return errors.New("cluster-reset: this host has no cluster data")
	}
	// For a new host these are made for etcd to start with, and replaced below.
	if _, err := s.writeCertificates(); err != nil {
		return err
	}
	if _, err := host.NodePassword(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, resetLimit)
	defer cancel()
	logrus.Infof("Resetting etcd cluster membership")
	restore, err := s.fetchSnapshot(ctx, s.String("cluster-reset-restore-path"))
	if err != nil {
		return err
	}
	if s.etcd, err = datastore.Reset(ctx, s.datastore(), restore); err != nil {
		return err
	}
	defer s.etcd.Stop(stopLimit)
	data, err := s.etcd.LoadBootstrap(ctx, s.tokens.server)
	if err != nil {
		return err
	}
	if data == nil {
		return errors.New("no bootstrap data found in datastore - check server token value and verify datastore integrity")
	}
	if err := s.writeBootstrap(data); err != nil {
		return err
	}
	if s.cas, err = s.writeCertificates(); err != nil {
		return err
	}
	if err := parsed.CheckCA(s.cas.server.PEM); err != nil {
		return err
	}
	if err := s.writeTokens(s.tokens, s.cas.server.PEM); err != nil {
		return err
	}
	if err := s.datastore().MarkReset(); err != nil {
		return err
	}
	logrus.Infof("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes")
	return nil
}
