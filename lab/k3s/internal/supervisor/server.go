package supervisor

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/bucket"
	"k3s-ha/lab/k3s/internal/pki"
)

// Limits of concurrent requests to the node routes (pkg/server/handlers/router.go of k3s).
const (
	maxReads  = 20
	maxWrites = 10
)

// Hooks are what the supervisor asks the rest of the server for.
type Hooks struct {
	// Members lists the etcd cluster; an error is answered with 500.
	Members func(ctx context.Context) (any, error)
	// Bootstrap returns the CA files and keys as JSON for joining servers.
	Bootstrap func() ([]byte, error)
	// Config returns what agents and joining servers must know.
	Config func() any
	// APIServers returns host:port of the cluster's apiservers.
	APIServers func(ctx context.Context) ([]string, error)
	// CheckNode verifies a node's password and, for a kubelet certificate, that the Node exists. The code is that of
	// the answer when it fails.
	CheckNode func(ctx context.Context, name, password string, byCertificate bool) (code int, err error)
	// RotateToken makes a new token the cluster's.
	RotateToken func(ctx context.Context, newToken string) error
	// EncryptionStatus tells what `k3s secrets-encrypt status` prints.
	EncryptionStatus func(ctx context.Context) (any, error)
	// RotateKeys runs `k3s secrets-encrypt rotate-keys` to its end.
	RotateKeys func(ctx context.Context) error
	// Snapshot runs one operation of `k3s etcd-snapshot`.
	Snapshot func(ctx context.Context, req SnapshotRequest) (any, error)
}

// SnapshotRequest is the body of POST /db/snapshot.
type SnapshotRequest struct {
	Operation string   `json:"operation"` // save, list, delete, prune
	Names     []string `json:"names,omitempty"`
	Dir       string   `json:"dir,omitempty"`
	Retention int      `json:"retention,omitempty"`
	Compress  bool     `json:"compress,omitempty"`
	// S3 is the bucket that the caller has configured; the server's own settings do not matter.
	S3 *bucket.Settings `json:"s3,omitempty"`
}

// Server answers port 6443.
type Server struct {
	TLSDir    string
	StaticDir string
	ServerCA  *pki.CA
	ClientCAs *pki.CA
	ClientCA  *x509.CertPool
	Passwords Passwords
	// NoEtcd is set on a server with SQLite.
	NoEtcd bool
	Hooks  Hooks

	apiserver atomic.Pointer[http.Handler]
	core      atomic.Bool
}

// SetAPIServer mounts kube-apiserver's handler; until then its paths are 503.
func (s *Server) SetAPIServer(h http.Handler) { s.apiserver.Store(&h) }

// SetCoreReady marks the controllers as running, for good.
func (s *Server) SetCoreReady() { s.core.Store(true) }

// CoreReady tells whether SetCoreReady was called.
func (s *Server) CoreReady() bool { return s.core.Load() }

// Handler returns the route table.
func (s *Server) Handler() http.Handler {
	mux := map[string]http.Handler{}
	server, connect := s.require(GroupServer), s.require(GroupNodes)
	limited := maxInFlight(maxReads, maxWrites)
	node := func(h http.HandlerFunc) http.Handler { return s.require(GroupAgent, GroupNodes)(limited(h)) }

	mux["/ping"] = plain(func() ([]byte, error) { return []byte("pong"), nil })
	mux["/cacerts"] = plain(func() ([]byte, error) { return s.ServerCA.PEM, nil })
	if !s.NoEtcd {
		mux["/db/info"] = s.localOr(GroupServer)(http.HandlerFunc(s.dbInfo))
		mux["/db/snapshot"] = server(http.HandlerFunc(s.snapshot))
	}
	mux["/v1-k3s/server-bootstrap"] = server(http.HandlerFunc(s.bootstrap))
	mux["/v1-k3s/token"] = server(http.HandlerFunc(s.token))
	mux["/v1-k3s/encrypt/config"] = server(http.HandlerFunc(s.encryptConfig))
	mux["/v1-k3s/encrypt/status"] = server(http.HandlerFunc(s.encryptStatus))
	mux["/v1-k3s/cert/cacerts"] = server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		SendError(w, http.StatusNotImplemented, errors.New("not modelled by this stand-in"))
	}))
	mux["/v1-k3s/connect"] = connect(http.HandlerFunc(hold))
	mux["/v1-k3s/config"] = node(func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.Hooks.Config()) })
	mux["/v1-k3s/apiservers"] = node(s.apiservers)
	mux["/v1-k3s/readyz"] = node(func(w http.ResponseWriter, _ *http.Request) {
		if !s.CoreReady() {
			SendError(w, http.StatusServiceUnavailable, ErrCoreNotReady)
			return
		}
		sendText(w, []byte("ok"))
	})
	for _, f := range []string{"client-ca.crt", "server-ca.crt"} {
		mux["/v1-k3s/"+f] = node(func(w http.ResponseWriter, _ *http.Request) {
			data, err := os.ReadFile(filepath.Join(s.TLSDir, f))
			if err != nil {
				SendError(w, http.StatusInternalServerError, err)
				return
			}
			sendText(w, data)
		})
	}
	mux["/v1-k3s/serving-kubelet.crt"] = node(s.sign(s.ServerCA, true, func(name string, ips []net.IP) pki.Spec {
		return pki.Spec{CommonName: name, DNS: []string{name, "localhost"}, IPs: append(ips, net.IPv4(127, 0, 0, 1)),
			Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	}))
	mux["/v1-k3s/client-kubelet.crt"] = node(s.sign(s.ClientCAs, true, func(name string, _ []net.IP) pki.Spec {
		return ClientSpec("system:node:"+name, GroupNodes)
	}))
	mux["/v1-k3s/client-kube-proxy.crt"] = node(s.sign(s.ClientCAs, false, func(string, []net.IP) pki.Spec {
		return ClientSpec("system:kube-proxy")
	}))
	mux["/v1-k3s/client-k3s-controller.crt"] = node(s.sign(s.ClientCAs, false, func(string, []net.IP) pki.Spec {
		return ClientSpec("system:k3s-controller")
	}))
	static := http.StripPrefix("/static/", http.FileServer(http.Dir(s.StaticDir)))

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := mux[r.URL.Path]; ok {
			h.ServeHTTP(w, r)
		} else if s.NoEtcd && strings.HasPrefix(r.URL.Path, "/db/") {
			SendError(w, http.StatusBadRequest, errors.New("etcd datastore disabled"))
		} else if strings.HasPrefix(r.URL.Path, "/static/") {
			static.ServeHTTP(w, r)
		} else if api := s.apiserver.Load(); api != nil {
			(*api).ServeHTTP(w, r)
		} else {
			SendError(w, http.StatusServiceUnavailable, ErrAPINotReady)
		}
	})
}

// ClientSpec is a client certificate for a user and groups.
func ClientSpec(user string, groups ...string) pki.Spec {
	return pki.Spec{CommonName: user, Organizations: groups, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

func plain(f func() ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		data, err := f()
		if err != nil {
			SendError(w, http.StatusInternalServerError, err)
			return
		}
		sendText(w, data)
	})
}

func sendText(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(data)
}

func sendJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func onlyMethod(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	SendError(w, http.StatusMethodNotAllowed, errors.New("method not allowed"))
	return false
}

func (s *Server) dbInfo(w http.ResponseWriter, r *http.Request) {
	if !onlyMethod(w, r, http.MethodGet) {
		return
	}
	members, err := s.Hooks.Members(r.Context())
	if err != nil {
		SendError(w, http.StatusInternalServerError, fmt.Errorf("failed to get etcd members: %w", err))
		return
	}
	sendJSON(w, map[string]any{"members": members})
}

func (s *Server) bootstrap(w http.ResponseWriter, _ *http.Request) {
	if s.NoEtcd {
		SendError(w, http.StatusBadRequest, errors.New("etcd disabled"))
		return
	}
	data, err := s.Hooks.Bootstrap()
	if err != nil {
		SendError(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}

func (s *Server) apiservers(w http.ResponseWriter, r *http.Request) {
	list, err := s.Hooks.APIServers(r.Context())
	if err != nil || list == nil {
		list = []string{}
	}
	sendJSON(w, list)
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if !onlyMethod(w, r, http.MethodPut) {
		return
	}
	var body struct {
		NewToken *string `json:"newToken"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&body); err != nil {
		SendError(w, http.StatusBadRequest, err)
		return
	}
	if body.NewToken == nil {
		panic(http.ErrAbortHandler) // k3s trips over this, too: the connection ends without an answer
	}
	if err := s.Hooks.RotateToken(r.Context(), *body.NewToken); err != nil {
		// The reason is in the server's log only.
		id := rand.IntN(100_000)
		logrus.Errorf("token error ID %05d: %v", id, err)
		SendError(w, http.StatusInternalServerError, fmt.Errorf("token error ID %05d", id))
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	if !onlyMethod(w, r, http.MethodPost) {
		return
	}
	var req SnapshotRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
		SendError(w, http.StatusBadRequest, err)
		return
	}
	res, err := s.Hooks.Snapshot(r.Context(), req)
	if err != nil {
		code := http.StatusInternalServerError
		if errors.As(err, new(BadRequest)) {
			code = http.StatusBadRequest
		}
		SendError(w, code, err)
		return
	}
	sendJSON(w, res)
}

// hold keeps a connection open for as long as both sides live. It stands for k3s's tunnel, of which agents use only
// whether it is up.
func hold(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	<-r.Context().Done()
}

// sign issues a certificate for the key of the posted request. Routes with identity check the node headers first.
func (s *Server) sign(ca *pki.CA, identity bool, spec func(name string, ips []net.IP) pki.Spec) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var name string
		var ips []net.IP
		if identity {
			name = strings.ToLower(r.Header.Get("k3s-Node-Name"))
			password := r.Header.Get("k3s-Node-Password")
			user := userOf(r.Context())
			switch own := user.NodeName(); {
			case name == "":
				SendError(w, http.StatusBadRequest, errors.New("node name not set"))
				return
			case password == "":
				SendError(w, http.StatusBadRequest, errors.New("node password not set"))
				return
			case own != "" && own != name:
				SendError(w, http.StatusBadRequest, errors.New("header node name does not match auth node name"))
				return
			}
			if code, err := s.Hooks.CheckNode(r.Context(), name, password, user.NodeName() != ""); err != nil {
				SendError(w, code, err)
				return
			}
			for _, v := range strings.Split(r.Header.Get("k3s-Node-IP"), ",") {
				if v == "" {
					continue
				}
				ip := net.ParseIP(v)
				if ip == nil {
					SendError(w, http.StatusInternalServerError, fmt.Errorf("invalid node IP address %s", v))
					return
				}
				ips = append(ips, ip)
			}
		}
		public, err := requestKey(r)
		if err != nil {
			SendError(w, http.StatusBadRequest, fmt.Errorf("certificate request: %w", err))
			return
		}
		data, err := ca.Issue(spec(name, ips), public)
		if err != nil {
			SendError(w, http.StatusInternalServerError, err)
			return
		}
		sendText(w, data)
	}
}

func requestKey(r *http.Request) (crypto.PublicKey, error) {
	if r.Method != http.MethodPost {
		return nil, errors.New("POST a certificate request in DER")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil, err
	}
	return csr.PublicKey, csr.CheckSignature()
}
