package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"k3s-ha/lab/k3s/internal/agent"
	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/controlplane"
	"k3s-ha/lab/k3s/internal/datastore"
	"k3s-ha/lab/k3s/internal/deploy"
	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/supervisor"
	"k3s-ha/lab/k3s/internal/token"
)

const (
	// startLimit is how long a server waits for etcd or its apiserver before it exits to be restarted.
	startLimit = 15 * time.Minute
	// stopLimit bounds the end of etcd, apiStopLimit that of the apiserver: it only has to leave the endpoints.
	stopLimit    = 3 * time.Second
	apiStopLimit = time.Second
)

type server struct {
	*options
	tokens     tokens
	cas        *authorities
	supervisor *supervisor.Server
	store      store
	etcd       *datastore.Etcd // nil on SQLite
	buckets    buckets
	kube       *kubernetes.Clientset
	kubeConfig *rest.Config
	nodes      corelisters.NodeLister
	leading    atomic.Bool
	apiRuns    atomic.Bool
	fatal      chan error
}

// store is where the cluster's data lie: etcd or SQLite.
type store interface {
	Endpoint() string
	SaveBootstrap(ctx context.Context, password string, data []byte, override bool) error
	LoadBootstrap(ctx context.Context, password string) ([]byte, error)
	RotateBootstrap(ctx context.Context, oldPassword, newPassword string) error
	Stop(limit time.Duration)
}

// Run is `k3s server`. It returns nil after the context ended, which closes port 6443 at once.
func Run(ctx context.Context, settings *config.Settings) error {
	o, err := newOptions(settings)
	if err != nil {
		return err
	}
	s := &server{options: o, fatal: make(chan error, 8)}
	if o.Bool("cluster-reset") {
		return s.reset(ctx)
	}
	if err := o.datastore().ClearReset(); err != nil {
		return err
	}
	initialized, err := s.prepare(ctx)
	if s.store != nil {
		defer s.store.Stop(stopLimit)
	}
	if err != nil {
		return err
	}
	listeners, err := s.serve()
	if err != nil {
		return err
	}
	defer listeners.Close()

	// A component that fails because its apiserver stops first must not turn an orderly end into exit code 1.
	klog.OsExit = func(code int) {
		if ctx.Err() != nil {
			select {}
		}
		os.Exit(code)
	}
	apiCtx, stopAPI := context.WithCancel(context.Background())
	defer stopAPI()
	apiDone := make(chan struct{})
	go func() {
		if err := s.start(ctx, apiCtx, initialized, apiDone); err != nil && ctx.Err() == nil {
			s.fatal <- err
		}
	}()

	var gone <-chan struct{}
	if s.etcd != nil {
		gone = s.etcd.Gone
	}
	for {
		select {
		case err := <-s.fatal:
			return err
		case <-gone:
			if !s.etcd.Removed {
				return errors.New("etcd stopped")
			}
			gone = nil // k3s goes on without etcd until it is restarted
		case <-ctx.Done():
			logrus.Infof("Shutting down")
			_ = listeners.Close()
			_ = host.Notify("STOPPING=1")
			// Takes this server out of the endpoints of the service `kubernetes`.
			stopAPI()
			if s.apiRuns.Load() {
				select {
				case <-apiDone:
				case <-time.After(apiStopLimit):
				}
			}
			return nil
		}
	}
}

// prepare settles which cluster this is and writes all files. It tells whether etcd has data already.
func (s *server) prepare(ctx context.Context) (bool, error) {
	ds := s.datastore()
	joinURL := s.String("server")
	if ds.Tombstoned() {
		if joinURL == "" {
			return false, errors.New("this server was removed from its etcd cluster (db/etcd/tombstone); set --server to rejoin, or remove the data folder")
		}
		logrus.Infof("tombstone file has been detected, removing data dir to rejoin the cluster")
		if err := ds.SetAside(); err != nil {
			return false, err
		}
	}
	initialized := ds.Initialized()
	onSQLite := !initialized && joinURL == "" && !s.Bool("cluster-init")
	tok, err := s.Secret("token")
	if err != nil {
		return false, err
	}
	if tok == "" {
		if tok, err = readTrimmed(s.file("token")); err != nil && !os.IsNotExist(err) {
			return false, err
		}
	}
	agentToken, err := s.Secret("agent-token")
	if err != nil {
		return false, err
	}
	switch {
	case tok == "" && joinURL != "":
		return false, errors.New("--token is required to join a cluster")
	case tok == "":
		tok = token.Random()
	}
	parsed, err := token.Parse(tok)
	if err != nil {
		return false, err
	}
	s.tokens.server = parsed.Password
	if agentToken != "" {
		p, err := token.Parse(agentToken)
		if err != nil {
			return false, err
		}
		s.tokens.agent = p.Password
	}
	switch {
	case onSQLite:
		err = s.openSQLite(ctx, ds)
	case initialized:
		err = s.reconcileMember(ctx, ds, joinURL)
	case joinURL != "":
		err = s.fetchBootstrap(ctx, joinURL, tok)
	}
	if err != nil {
		return false, err
	}
	if s.cas, err = s.writeCertificates(); err != nil {
		return false, err
	}
	if err := parsed.CheckCA(s.cas.server.PEM); err != nil {
		return false, err
	}
	if err := s.ensureEncryption(); err != nil {
		return false, err
	}
	if err := s.writeTokens(s.tokens, s.cas.server.PEM); err != nil {
		return false, err
	}
	if err := s.writeKubeconfigs(); err != nil {
		return false, err
	}
	if _, err := host.NodePassword(); err != nil {
		return false, err
	}
	for _, d := range []string{"static", "manifests"} {
		if err := os.MkdirAll(s.file(d), 0o700); err != nil {
			return false, err
		}
	}
	if !onSQLite {
		if s.etcd, err = datastore.New(ds, false); err == nil {
			s.store = s.etcd
		}
	}
	return initialized, err
}

// openSQLite starts kine and takes the CAs from it if it holds some.
func (s *server) openSQLite(ctx context.Context, ds datastore.Options) error {
	db, err := datastore.StartSQLite(ds.SQLiteFile(), s.file("kine.sock"))
	if err != nil {
		return err
	}
	s.store = db
	data, err := db.LoadBootstrap(ctx, s.tokens.server)
	if err != nil || data == nil {
		return err
	}
	return s.reconcile(data)
}

// reconcileMember compares an existing member's CAs with those of the server it would join or, if that cannot be had,
// with its own copy of the datastore.
func (s *server) reconcileMember(ctx context.Context, ds datastore.Options, joinURL string) error {
	tok, err := s.Secret("token")
	if err != nil {
		return err
	}
	if joinURL != "" && tok != "" {
		data, err := s.remoteBootstrap(ctx, joinURL, tok)
		if err == nil {
			if err = s.reconcile(data); err == nil || errors.Is(err, errNewerOnDisk) {
				return err
			}
		}
		logrus.Warnf("Unable to reconcile with remote datastore: %v", err)
	}
	data, err := ds.LocalBootstrap(s.tokens.server)
	if err == nil {
		err = s.reconcile(data)
	}
	if err != nil {
		return fmt.Errorf("failed to reconcile with local datastore: %w", err)
	}
	logrus.Infof("Successfully reconciled with local datastore")
	return nil
}

func (s *server) remoteBootstrap(ctx context.Context, joinURL, tok string) ([]byte, error) {
	client, err := supervisor.Connect(ctx, joinURL, tok, token.UserServer, s.tls("server-ca.crt"))
	if err != nil {
		return nil, err
	}
	return client.Get(ctx, "/v1-k3s/server-bootstrap")
}

// fetchBootstrap checks the critical values against a running server's and takes over its CAs.
func (s *server) fetchBootstrap(ctx context.Context, joinURL, tok string) error {
	if _, err := supervisor.Connect(ctx, joinURL, tok, token.UserServer, s.tls("server-ca.crt")); err != nil {
		return fmt.Errorf("failed to validate token: %w", err)
	}
	nodeToken := tok
	if s.tokens.agent != "" {
		nodeToken = s.tokens.agent
	}
	asNode, err := supervisor.Connect(ctx, joinURL, nodeToken, token.UserNode, s.tls("server-ca.crt"))
	if err != nil {
		return fmt.Errorf("failed to validate server configuration: %w", err)
	}
	if data, err := asNode.Get(ctx, "/v1-k3s/config"); err != nil {
		logrus.Warnf("Skipping cluster configuration validation: %v", err)
	} else {
		var theirs agent.ClusterConfig
		if err := json.Unmarshal(data, &theirs); err != nil {
			return err
		}
		if diff := compareCritical(s.critical(), theirs.Critical); len(diff) > 0 {
			for _, d := range diff {
				logrus.Warnf("critical configuration mismatched: %s", d)
			}
			return fmt.Errorf("failed to validate server configuration: critical configuration value mismatch between servers: %s", strings.Join(diff, "; "))
		}
	}
	data, err := s.remoteBootstrap(ctx, joinURL, tok)
	if err != nil {
		return fmt.Errorf("failed to get bootstrap data: %w", err)
	}
	return s.reconcile(data)
}

// listening is port 6443: one HTTP server on one or more listeners.
type listening struct{ http *http.Server }

// Close ends listeners and connections at once; k3s has no draining phase.
func (l listening) Close() error { return l.http.Close() }

func (s *server) serve() (listening, error) {
	passwords, err := supervisor.LoadPasswords(s.file("cred/passwd"))
	if err != nil {
		return listening{}, err
	}
	s.supervisor = &supervisor.Server{
		TLSDir: s.file("tls"), StaticDir: s.file("static"), ServerCA: s.cas.server, ClientCAs: s.cas.client,
		ClientCA: pki.Pool(s.cas.client.PEM), Passwords: passwords,
		NoEtcd: s.etcd == nil,
		Hooks: supervisor.Hooks{
			Members:    func(ctx context.Context) (any, error) { return s.etcd.Members(ctx) },
			Bootstrap:  s.serveBootstrap,
			Config:     func() any { return s.clusterConfig() },
			APIServers: s.apiServers,
			CheckNode:  s.checkNode, RotateToken: s.rotateToken, Snapshot: s.snapshot,
			EncryptionStatus: s.encryptionStatus, RotateKeys: s.rotateKeys,
		},
	}
	cert, err := tls.LoadX509KeyPair(s.tls("temporary-certs/k3s-serving.crt"), s.tls("temporary-certs/k3s-serving.key"))
	if err != nil {
		return listening{}, err
	}
	h := &http.Server{
		Handler: s.supervisor.Handler(),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12,
			ClientCAs: pki.Pool(s.cas.client.PEM), NextProtos: []string{"h2", "http/1.1"},
		},
		ReadHeaderTimeout: 30 * time.Second,
		// Health checks that only connect would fill the log.
		ErrorLog: log.New(logrus.StandardLogger().WriterLevel(logrus.DebugLevel), "", 0),
	}
	port := strconv.Itoa(s.httpsPort)
	addresses := []string{net.JoinHostPort("", port)}
	if b := s.String("bind-address"); b != "" && !net.ParseIP(b).IsUnspecified() {
		addresses = []string{net.JoinHostPort(b, port), net.JoinHostPort(host.Loopback(), port)}
		if host.Loopback() == "127.0.0.1" {
			addresses = append(addresses, net.JoinHostPort("::1", port))
		}
	}
	seen := map[string]bool{}
	for i, a := range addresses {
		if seen[a] {
			continue
		}
		seen[a] = true
		l, err := net.Listen("tcp", a)
		if err != nil {
			if i > 0 && strings.HasPrefix(a, "[::1]") {
				continue // no IPv6 here
			}
			h.Close()
			return listening{}, err
		}
		go func() {
			if err := h.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				s.fatal <- err
			}
		}()
	}
	logrus.Infof("Supervisor listening on %s", strings.Join(addresses, ", "))
	return listening{h}, nil
}

func (s *server) clusterConfig() agent.ClusterConfig {
	return agent.ClusterConfig{
		Critical: s.critical(), HTTPSPort: s.httpsPort, ClusterDomain: s.String("cluster-domain"),
		DisableCloudController: s.Bool("disable-cloud-controller"),
	}
}

// start brings up etcd, the control plane and this server's node, in this order.
func (s *server) start(ctx, apiCtx context.Context, initialized bool, apiDone chan struct{}) error {
	kubeAPIReady := make(chan struct{})
	nodeReady := make(chan error, 1)
	node := &agent.Agent{
		Settings: s.Settings, Identity: s.id, ServerURL: s.localURL(), Token: s.tokens.node(), DataDir: s.agentDir,
		Server: true, APIServerReady: kubeAPIReady,
	}
	go func() { nodeReady <- node.Run(ctx) }()

	if s.etcd != nil {
		if err := s.startEtcd(ctx, initialized); err != nil {
			return err
		}
		go s.etcd.ManageLearners(ctx)
		if err := s.waitEtcd(ctx); err != nil {
			return err
		}
		if !initialized && s.String("server") == "" {
			if err := s.etcd.MigrateSQLite(ctx, s.file("kine.sock")); err != nil {
				return fmt.Errorf("failed to migrate content from sqlite to etcd: %w", err)
			}
		}
	}
	if err := s.saveBootstrap(ctx); err != nil {
		return err
	}

	args := s.apiserverArgs(s.store.Endpoint())
	logrus.Infof("Running kube-apiserver %s", strings.Join(args, " "))
	api, err := controlplane.NewAPIServer(apiCtx, args, s.httpsPort)
	if err != nil {
		return fmt.Errorf("apiserver exited: %w", err)
	}
	s.supervisor.SetAPIServer(api.Handler)
	s.apiRuns.Store(true)
	go func() {
		defer close(apiDone)
		if err := api.Run(apiCtx); err != nil && apiCtx.Err() == nil {
			s.fatal <- fmt.Errorf("apiserver exited: %w", err)
		}
	}()
	if err := s.waitAPIServer(ctx); err != nil {
		return err
	}
	logrus.Infof("Kube API server is now running")
	go func() {
		if err := deploy.Run(ctx, s.kubeConfig, s.file("manifests")); err != nil {
			s.fatal <- fmt.Errorf("failed to stage files: %w", err)
		}
	}()

	if !s.Bool("disable-controller-manager") {
		go s.component("controller-manager", func() error {
			return controlplane.RunControllerManager(context.Background(), s.controllerManagerArgs(s.etcd != nil))
		})
	}
	if !s.Bool("disable-scheduler") {
		go s.component("scheduler", func() error {
			return controlplane.RunScheduler(context.Background(), s.schedulerArgs(s.etcd != nil))
		})
	}
	factory := informers.NewSharedInformerFactory(s.kube, 0)
	informer := factory.Core().V1().Nodes()
	s.nodes = informer.Lister()
	if err := s.runNodeControllers(ctx, informer.Informer()); err != nil {
		return err
	}
	go s.annotateEncryption(ctx)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	s.supervisor.SetCoreReady()
	close(kubeAPIReady)
	if err := s.scheduleSnapshots(ctx); err != nil {
		return err
	}
	logrus.Infof("k3s is up and running")
	if err := host.Notify("READY=1"); err != nil {
		logrus.Errorf("sd_notify: %v", err)
	}
	select {
	case err := <-nodeReady:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}
	return nil
}

// component runs a part whose end is the end of the process.
func (s *server) component(name string, run func() error) {
	err := run()
	if err == nil {
		err = errors.New("unexpected end")
	}
	s.fatal <- fmt.Errorf("%s exited: %w", name, err)
}

func (s *server) startEtcd(ctx context.Context, initialized bool) error {
	joinURL := s.String("server")
	switch {
	case initialized:
		return s.etcd.Resume()
	case joinURL == "":
		return s.etcd.Found()
	}
	u, err := url.Parse(joinURL)
	if err != nil {
		return err
	}
	return s.etcd.Join(ctx, u.Hostname(), func(ctx context.Context) ([]*etcdserverpb.Member, error) {
		client, err := supervisor.Connect(ctx, joinURL, s.tokens.server, token.UserServer, s.tls("server-ca.crt"))
		if err != nil {
			return nil, err
		}
		data, err := client.Get(ctx, "/db/info")
		if err != nil {
			return nil, err
		}
		var list struct {
			Members []*etcdserverpb.Member `json:"members"`
		}
		err = json.Unmarshal(data, &list)
		return list.Members, err
	})
}

// poll repeats a check every d until it succeeds, logging what has changed.
func poll(ctx context.Context, d time.Duration, waiting string, check func() error) error {
	deadline := time.Now().Add(startLimit)
	last := ""
	for {
		err := check()
		if err == nil {
			return nil
		}
		// An apiserver's answer is a list of its checks; the first line tells enough.
		if text, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), `\n`, "\n"), "\n"); text != last {
			last = text
			logrus.Infof("%s: %s", waiting, text)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: gave up after %s: %w", waiting, startLimit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
	}
}

func (s *server) waitEtcd(ctx context.Context) error {
	return poll(ctx, time.Second, "Waiting for etcd to become available", func() error { return s.etcd.Test(ctx) })
}

func (s *server) saveBootstrap(ctx context.Context) error {
	data, err := s.readBootstrap()
	if err != nil {
		return err
	}
	if err := s.store.SaveBootstrap(ctx, s.tokens.server, data, false); err != nil {
		return fmt.Errorf("failed to save bootstrap data: %w", err)
	}
	return nil
}

// serveBootstrap is what joining and restarting servers are given: from the datastore, which is newer than this server's
// files after a rotation elsewhere; from the files while the datastore does not answer.
func (s *server) serveBootstrap() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if data, err := s.store.LoadBootstrap(ctx, s.tokens.server); err == nil && data != nil {
		return data, nil
	}
	return s.readBootstrap()
}

// waitAPIServer waits for /readyz through port 6443 with the administrator's certificate.
func (s *server) waitAPIServer(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.file("cred/supervisor.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 20, 40
	s.kubeConfig = config
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	return poll(ctx, 500*time.Millisecond, "Waiting for API server to become available", func() error {
		_, err := s.kube.RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).DoRaw(ctx)
		return err
	})
}

// apiServers lists host:port of the endpoints of the service `kubernetes`.
func (s *server) apiServers(ctx context.Context) ([]string, error) {
	if !s.supervisor.CoreReady() {
		return nil, supervisor.ErrCoreNotReady
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	slices, err := s.kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=kubernetes",
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, sl := range slices.Items {
		for _, p := range sl.Ports {
			for _, e := range sl.Endpoints {
				if p.Port == nil || (e.Conditions.Ready != nil && !*e.Conditions.Ready) {
					continue
				}
				for _, a := range e.Addresses {
					out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	return out, nil
}
