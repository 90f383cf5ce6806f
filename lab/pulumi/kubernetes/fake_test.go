package main_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

type request struct {
	method, path, kind string
	query              url.Values
	body               map[string]any
}

// fake answers what a ClusterRole needs of an API server, over TLS, with one owner of the field `rules`.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
	owner    string
	role     map[string]any
}

const rolePath = "/apis/rbac.authorization.k8s.io/v1/clusterroles/viewer"

func newFake(t *testing.T) *fake {
	f := &fake{role: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
		"metadata": map[string]any{"name": "viewer", "uid": "1", "managedFields": []any{map[string]any{"manager": "x"}}},
		"rules":    []any{map[string]any{"verbs": []any{"get"}}},
	}}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := request{method: r.Method, path: r.URL.Path, kind: r.Header.Get("Content-Type"), query: r.URL.Query()}
	if b, _ := io.ReadAll(r.Body); len(b) > 0 {
		if err := json.Unmarshal(b, &q.body); err != nil {
			panic(err)
		}
	}
	f.requests = append(f.requests, q)
	code, answer := f.answer(q, r.Header.Get("Authorization"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(answer)
}

func (f *fake) answer(q request, auth string) (int, any) {
	status := func(code int, reason, message string) (int, any) {
		return code, map[string]any{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
		}
	}
	switch {
	case auth != "Bearer right":
		return status(401, "Unauthorized", "Unauthorized")
	case q.path == "/version":
		return 200, map[string]any{"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
	case q.path != rolePath || f.role == nil:
		return status(404, "NotFound", `clusterroles.rbac.authorization.k8s.io "viewer" not found`)
	case q.method == "GET":
		return 200, f.role
	}
	manager, rules := q.query.Get("fieldManager"), q.body["rules"]
	if rules != nil && f.owner != "" && f.owner != manager && q.query.Get("force") != "true" {
		return status(409, "Conflict", fmt.Sprintf("Apply failed with 1 conflict: conflict with %q: .rules", f.owner))
	}
	live := map[string]any{"apiVersion": q.body["apiVersion"], "kind": q.body["kind"], "rules": rules, "metadata": map[string]any{
		"name": "viewer", "uid": "1", "annotations": q.body["metadata"].(map[string]any)["annotations"],
		"managedFields": []any{map[string]any{"manager": manager}},
	}}
	if q.query.Get("dryRun") == "" {
		f.role = live
		if rules != nil {
			f.owner = manager
		}
	}
	return 200, live
}

// asked are the requests since the last call, without those of Configure.
func (f *fake) asked() (out []request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.requests {
		if q.path == rolePath {
			out = append(out, q)
		}
	}
	f.requests = nil
	return out
}

func (f *fake) kubeconfig() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	return kubeconfig(f.URL, base64.StdEncoding.EncodeToString(ca), "right")
}

func kubeconfig(server, ca, token string) string {
	return strings.NewReplacer("SERVER", server, "CA", ca, "TOKEN", token).Replace(`{"apiVersion": "v1", "kind": "Config",
		"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
		"clusters": [{"name": "c", "cluster": {"server": "SERVER", "certificate-authority-data": "CA"}}],
		"users": [{"name": "u", "user": {"token": "TOKEN"}}]}`)
}
