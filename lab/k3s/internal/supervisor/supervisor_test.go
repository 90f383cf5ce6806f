package supervisor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/token"
)

type fixture struct {
	*Server
	http *httptest.Server
	dir  string
	node func(name, password string, byCert bool) (int, error)
}

func setup(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{dir: dir}
	server, err := pki.EnsureCA(filepath.Join(dir, "server-ca"), "server")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pki.EnsureCA(filepath.Join(dir, "client-ca"), "client")
	if err != nil {
		t.Fatal(err)
	}
	passwd := filepath.Join(dir, "passwd")
	if err := os.WriteFile(passwd, []byte("spass,server,server,k3s:server\nspass,node,node,k3s:agent\nnpass,node,node,k3s:agent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	passwords, err := LoadPasswords(passwd)
	if err != nil {
		t.Fatal(err)
	}
	f.Server = &Server{
		TLSDir: dir, StaticDir: dir, ServerCA: server, ClientCAs: client, ClientCA: pki.Pool(client.PEM), Passwords: passwords,
		Hooks: Hooks{
			Members:    func(context.Context) (any, error) { return []string{"m1"}, nil },
			Bootstrap:  func() ([]byte, error) { return []byte(`{"a":1}`), nil },
			Config:     func() any { return map[string]int{"httpsPort": 6443} },
			APIServers: func(context.Context) ([]string, error) { return []string{"10.0.0.1:6443"}, nil },
			CheckNode: func(_ context.Context, name, password string, byCert bool) (int, error) {
				return f.node(name, password, byCert)
			},
			RotateToken: func(context.Context, string) error { return nil },
			Snapshot:    func(context.Context, SnapshotRequest) (any, error) { return []int{}, nil },
		},
	}
	f.node = func(string, string, bool) (int, error) { return 0, nil }
	f.http = httptest.NewUnstartedServer(f.Handler())
	if err := server.EnsureLeaf(filepath.Join(dir, "serving"), pki.Spec{CommonName: "k3s", DNS: []string{"localhost"},
		IPs: nil, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "serving.crt"), filepath.Join(dir, "serving.key"))
	if err != nil {
		t.Fatal(err)
	}
	f.http.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	f.http.StartTLS()
	t.Cleanup(f.http.Close)
	return f
}

// request returns code and body; auth is "user:password", "" for none, or "cert:<node>" for a kubelet's certificate.
func (f *fixture) request(t *testing.T, method, path, auth string, header map[string]string, body []byte) (*http.Response, string) {
	t.Helper()
	cfg := &tls.Config{RootCAs: pki.Pool(f.ServerCA.PEM), ServerName: "localhost"}
	req, err := http.NewRequest(method, f.http.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if node, ok := strings.CutPrefix(auth, "cert:"); ok {
		base := filepath.Join(f.dir, "kubelet-"+node)
		if err := f.ClientCAs.EnsureLeaf(base, ClientSpec("system:node:"+node, GroupNodes)); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	} else if u, p, ok := strings.Cut(auth, ":"); ok {
		req.SetBasicAuth(u, p)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func TestRoutes(t *testing.T) {
	f := setup(t)
	remote := f.Handler() // the same table seen from another host
	for _, c := range []struct {
		method, path, auth string
		want               int
	}{
		{"GET", "/ping", "", 200},
		{"GET", "/cacerts", "", 200},
		{"GET", "/db/info", "", 200}, // from loopback
		{"POST", "/db/info", "", 405},
		{"GET", "/v1-k3s/server-bootstrap", "", 403},
		{"GET", "/v1-k3s/server-bootstrap", "server:spass", 200},
		{"GET", "/v1-k3s/server-bootstrap", "server:wrong", 401},
		{"GET", "/v1-k3s/server-bootstrap", "node:npass", 403},
		{"GET", "/v1-k3s/config", "", 403},
		{"GET", "/v1-k3s/config", "node:npass", 200},
		{"GET", "/v1-k3s/config", "node:spass", 401}, // one password per user
		{"GET", "/v1-k3s/config", "node:wrong", 401},
		{"GET", "/v1-k3s/config", "server:spass", 403},
		{"GET", "/v1-k3s/config", "cert:a1", 200},
		{"GET", "/v1-k3s/apiservers", "cert:a1", 200},
		{"GET", "/v1-k3s/readyz", "node:npass", 503},
		{"GET", "/v1-k3s/connect", "node:npass", 403},
		{"GET", "/v1-k3s/client-ca.crt", "node:npass", 200},
		{"PUT", "/v1-k3s/token", "server:spass", 400},
		{"PUT", "/v1-k3s/token", "node:npass", 403},
		{"GET", "/readyz", "", 503},
		{"GET", "/version", "server:spass", 503},
	} {
		resp, body := f.request(t, c.method, c.path, c.auth, nil, nil)
		if resp.StatusCode != c.want {
			t.Errorf("%s %s as %q: %d, want %d: %s", c.method, c.path, c.auth, resp.StatusCode, c.want, body)
		}
		if c.want >= 400 && !resp.Close {
			t.Errorf("%s %s: an error must close the connection", c.method, c.path)
		}
	}
	r := httptest.NewRequest("GET", "/db/info", nil)
	r.RemoteAddr = "10.0.0.9:1234"
	w := httptest.NewRecorder()
	remote.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("/db/info from another host without credentials: %d", w.Code)
	}
}

func TestStages(t *testing.T) {
	f := setup(t)
	_, body := f.request(t, "GET", "/readyz", "", nil, nil)
	want := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"apiserver not ready","reason":"ServiceUnavailable","code":503}`
	if strings.TrimSpace(body) != want {
		t.Errorf("got %s", body)
	}
	f.SetAPIServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	if resp, _ := f.request(t, "GET", "/readyz", "", nil, nil); resp.StatusCode != http.StatusTeapot {
		t.Errorf("the apiserver's handler is not asked: %d", resp.StatusCode)
	}
	if resp, _ := f.request(t, "GET", "/v1-k3s/readyz", "node:npass", nil, nil); resp.StatusCode != 503 {
		t.Errorf("core not ready: %d", resp.StatusCode)
	}
	f.SetCoreReady()
	if resp, body := f.request(t, "GET", "/v1-k3s/readyz", "node:npass", nil, nil); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("core ready: %d %s", resp.StatusCode, body)
	}
}

func TestNodeCertificates(t *testing.T) {
	f := setup(t)
	key, err := pki.EnsureKey(filepath.Join(f.dir, "k.key"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"k3s-Node-Name": "A1", "k3s-Node-Password": "p", "k3s-Node-IP": "10.0.0.21"}
	post := func(path, auth string, h map[string]string, body []byte) (int, string) {
		resp, text := f.request(t, "POST", path, auth, h, body)
		return resp.StatusCode, text
	}
	code, text := post("/v1-k3s/serving-kubelet.crt", "node:npass", headers, csr)
	if code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	certs, err := pki.ParseCerts([]byte(text))
	if err != nil || certs[0].VerifyHostname("10.0.0.21") != nil || certs[0].Subject.CommonName != "a1" {
		t.Errorf("serving certificate: %v", err)
	}
	if code, text = post("/v1-k3s/client-kubelet.crt", "node:npass", headers, csr); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if certs, err = pki.ParseCerts([]byte(text)); err != nil || certs[0].Subject.CommonName != "system:node:a1" {
		t.Errorf("client certificate: %v", err)
	}
	if code, _ = post("/v1-k3s/client-kubelet.crt", "node:npass", map[string]string{"k3s-Node-Name": "a1"}, csr); code != 400 {
		t.Errorf("no password header: %d", code)
	}
	if code, _ = post("/v1-k3s/client-kubelet.crt", "cert:a2", headers, csr); code != 400 {
		t.Errorf("another node's certificate: %d", code)
	}
	if code, _ = post("/v1-k3s/client-kube-proxy.crt", "node:npass", nil, csr); code != 200 {
		t.Errorf("kube-proxy: %d", code)
	}
	if code, _ = post("/v1-k3s/client-kube-proxy.crt", "node:npass", nil, []byte("x")); code != 400 {
		t.Errorf("no request: %d", code)
	}
	f.node = func(name, _ string, byCert bool) (int, error) {
		if name != "a1" || !byCert {
			t.Errorf("asked for %q byCert=%v", name, byCert)
		}
		return 401, errors.New("gone")
	}
	if code, _ = post("/v1-k3s/client-kubelet.crt", "cert:a1", headers, csr); code != 401 {
		t.Errorf("deleted node: %d", code)
	}
}

func TestTooMany(t *testing.T) {
	release := make(chan struct{})
	var inside sync.WaitGroup
	h := maxInFlight(2, 1)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside.Done()
		<-release
	}))
	inside.Add(2)
	for range 2 {
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	inside.Wait()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 429 {
		t.Errorf("third read: %d", w.Code)
	}
	close(release)
}

func TestClientChecksCA(t *testing.T) {
	f := setup(t)
	u := strings.Replace(f.http.URL, "127.0.0.1", "localhost", 1)
	good, err := token.Format(f.ServerCA.PEM, "node", "npass")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Connect(t.Context(), u, good, "node")
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Get(t.Context(), "/v1-k3s/config")
	var cfg map[string]int
	if err != nil || json.Unmarshal(data, &cfg) != nil || cfg["httpsPort"] != 6443 {
		t.Errorf("%s %v", data, err)
	}
	bad := "K10" + strings.Repeat("0", 64) + "::node:npass"
	if _, err := Connect(t.Context(), u, bad, "node"); err == nil || !strings.Contains(err.Error(), "token CA hash does not match") {
		t.Errorf("wrong hash: %v", err)
	}
	if c, err = Connect(t.Context(), u, "wrong", "node"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "/v1-k3s/config"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
}

func TestWithoutEtcd(t *testing.T) {
	f := setup(t)
	f.NoEtcd = true
	f.http.Config.Handler = f.Handler()
	for _, c := range []struct {
		path, auth string
		want       int
		message    string
	}{
		{"/db/info", "", 400, "etcd datastore disabled"}, {"/db/snapshot", "", 400, "etcd datastore disabled"},
		{"/v1-k3s/server-bootstrap", "server:spass", 400, "etcd disabled"}, {"/v1-k3s/server-bootstrap", "", 403, "forbidden"},
	} {
		resp, body := f.request(t, "GET", c.path, c.auth, nil, nil)
		if resp.StatusCode != c.want || !strings.Contains(body, c.message) {
			t.Errorf("%s: %d %s", c.path, resp.StatusCode, body)
		}
	}
}
