package server_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const secret = "e2e-secret-of-the-cluster"

const authn = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions: [{path: /livez}, {path: /readyz}, {path: /healthz}]
`

// TestCluster walks three servers and two agents through their life. The servers use one readiness mode each.
func TestCluster(t *testing.T) {
	t.Parallel()
	m1 := newMachine(t, "server", 1, "token: "+secret, "cluster-init: true", "unknown-key: 1", `kube-apiserver-arg: ["anonymous-auth=true"]`)
	m1.start()
	stages(t, m1)
	files(t, m1)
	routes(t, m1)
	etcdAPI(t, m1, "127.0.0.2")
	workload(t, m1)

	t.Log("servers 2 and 3 join, wrong ones are refused")
	full := strings.TrimSpace(m1.read("data/server/token"))
	m2 := newMachine(t, "server", 2, "token: "+full, "server: https://"+m1.ip+":6443")
	m2.write("authn.yaml", authn)
	m2.write("config.yaml", m2.read("config.yaml")+`kube-apiserver-arg: ["authentication-config=`+m2.path("authn.yaml")+"\"]\n")
	m3 := newMachine(t, "server", 3, "token: "+full, "server: https://"+m1.ip+":6443")
	m2.start()
	m3.start()
	refusals(t, m1)
	m2.waitReady()
	m3.waitReady()
	eventually(t, "three voters", func() bool {
		return len(members(m1)) == 3 && !strings.Contains(m1.kubectl("get", "--raw", "/db/info"), "isLearner")
	})
	for _, m := range []*machine{m1, m2} {
		// One that stalls for a moment is not ready meanwhile.
		eventually(t, m.name+" is ready after the joins", func() bool { code, _ := m.status("/readyz", "", ""); return code == 200 })
	}
	for _, c := range []struct {
		m    *machine
		path string
		want int
	}{
		{m1, "/readyz", 200}, {m1, "/version", 200}, {m1, "/api", 403}, // anonymous-auth=true
		{m2, "/readyz", 200}, {m2, "/livez", 200}, {m2, "/version", 401}, {m2, "/api", 401}, // scoped
		{m3, "/readyz", 401}, {m3, "/version", 401}, // default
	} {
		if code, body := c.m.status(c.path, "", ""); code != c.want {
			t.Errorf("%s %s: %d, want %d: %s", c.m.name, c.path, code, c.want, body)
		}
	}
	if got := m2.kubectl("get", "node", "s2", "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"); !strings.HasPrefix(got, "v") {
		t.Errorf("kubelet version %q", got)
	}

	agents(t, m1, m2, m3, full)

	t.Log("a stopped server closes its port at once, before anything else")
	m3.signal(syscall.SIGTERM)
	eventually(t, "the signal has come", func() bool { return strings.Contains(m3.log(), "Shutting down") })
	at := time.Now()
	eventually(t, "it says that it stops", m3.stopping.Load)
	if d := time.Since(at); d > time.Second {
		t.Errorf("it stopped %s after the signal", d)
	}
	if code, _ := m3.status("/ping", "", ""); code != 0 {
		t.Errorf("port 6443 answered while it stops: %d", code)
	}
	if code := m3.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	t.Log("deleting a Node removes its member; it finds a tombstone's reason when it comes back")
	m1.kubectl("delete", "node", "s3", "--timeout=60s")
	if got := members(m1); len(got) != 2 {
		t.Errorf("members after the deletion: %v", got)
	}
	eventually(t, "the password secret is gone", func() bool {
		_, err := m1.k3s("kubectl", "-n", "kube-system", "get", "secret", "s3.node-password.k3s")
		return err != nil
	})
	m3.start()
	eventually(t, "tombstone", func() bool { return m3.exists("data/server/db/etcd/tombstone") })
	m3.stop()
	m3.write("config.yaml", strings.ReplaceAll(m3.read("config.yaml"), "server: https", "#"))
	m3.start()
	if code := m3.exit(); code != 1 || !strings.Contains(m3.log(), "set --server to rejoin") {
		t.Errorf("a removed server without `server`: exit %d", code)
	}

	t.Log("without quorum: /readyz 500, the rest as before")
	m2.signal(syscall.SIGSTOP)
	eventually(t, "readyz 500", func() bool { code, _ := m1.status("/readyz", "", ""); return code == 500 })
	if code, _ := m1.status("/ping", "", ""); code != 200 {
		t.Errorf("/ping %d", code)
	}
	if code, _ := m1.status("/db/info", "server", secret); code != 500 {
		t.Errorf("/db/info %d", code)
	}
	m2.signal(syscall.SIGCONT)
}

// stages checks what port 6443 answers from the start until READY.
func stages(t *testing.T, m *machine) {
	t.Helper()
	var seen []int
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		wasReady := m.ready.Load()
		code, body := m.status("/readyz", "", "")
		if len(seen) == 0 || seen[len(seen)-1] != code {
			seen = append(seen, code)
			if code == 503 {
				if !strings.Contains(body, `"message":"apiserver not ready","reason":"ServiceUnavailable","code":503`) {
					t.Errorf("503 body: %s", body)
				}
				if ping, _ := m.status("/ping", "", ""); ping != 200 {
					t.Errorf("/ping while starting: %d", ping)
				}
			}
		}
		if wasReady && code != 200 {
			t.Errorf("READY with /readyz %d", code)
		}
		if code == 200 {
			break
		}
		if !m.running() || time.Now().After(end) {
			t.Fatalf("%s never got ready: %v", m.name, seen)
		}
	}
	// Refused, then 503 until the apiserver's handler is there, then its own 403 and 500 while hooks run.
	order := map[int]int{0: 0, 503: 1, 403: 2, 500: 2, 200: 3}
	if !slices.IsSortedFunc(seen, func(a, b int) int { return order[a] - order[b] }) || !slices.Contains(seen, 503) {
		t.Errorf("stages of /readyz: %v", seen)
	}
	t.Logf("stages of /readyz: %v", seen)
	m.waitReady()
	if !strings.Contains(m.log(), "Unknown flag --unknown-key found in config.yaml, skipping") {
		t.Error("no warning about the unknown key")
	}
}

func files(t *testing.T, m *machine) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{
		"data/server/token": 0o600, "data/server/cred/passwd": 0o600, "data/server/tls/server-ca.key": 0o600,
		"data/server/tls/dynamic-cert.json": 0o600, "data/server/db/etcd/name": 0o600, "root/etc/rancher/k3s/k3s.yaml": 0o600,
		"root/etc/rancher/node/password": 0o600, "data/agent/kubelet.kubeconfig": 0o600, "data/agent/server-ca.crt": 0o600,
	} {
		info, err := os.Stat(m.path(name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s: mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
	if to, err := os.Readlink(m.path("data/server/node-token")); err != nil || filepath.Base(to) != "token" {
		t.Errorf("node-token: %q %v", to, err)
	}
	if tok := m.read("data/server/token"); !strings.HasPrefix(tok, "K10") || !strings.HasSuffix(strings.TrimSpace(tok), "::server:"+secret) {
		t.Errorf("token: %q", tok)
	}
}

func routes(t *testing.T, m *machine) {
	t.Helper()
	for _, c := range []struct {
		path, user, password string
		want                 int
	}{
		{"/v1-k3s/config", "", "", 403}, {"/v1-k3s/config", "node", secret, 200}, {"/v1-k3s/config", "server", secret, 403},
		{"/v1-k3s/config", "node", "wrong", 401}, {"/v1-k3s/server-bootstrap", "server", secret, 200},
		{"/v1-k3s/readyz", "node", secret, 200}, {"/db/info", "", "", 403}, {"/db/info", "server", secret, 200},
		{"/cacerts", "", "", 200}, {"/v1-k3s/unknown", "node", secret, 403}, // the apiserver's answer: it knows no passwords
	} {
		if code, body := m.status(c.path, c.user, c.password); code != c.want {
			t.Errorf("%s as %q: %d, want %d: %s", c.path, c.user, code, c.want, body)
		}
	}
}

// etcdAPI checks that etcd's HTTP API is where k3s has it: on port 2382 of the loopback address alone, and not beside gRPC.
func etcdAPI(t *testing.T, m *machine, loopback string) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(m.path("data/server/tls/etcd/client.crt"), m.path("data/server/tls/etcd/client.key"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}},
	}
	for address, want := range map[string]bool{loopback + ":2382": true, m.ip + ":2382": false, loopback + ":2379": false} {
		r, err := client.Post("https://"+address+"/v3/maintenance/status", "application/json", strings.NewReader("{}"))
		answers := err == nil && r.StatusCode == http.StatusOK
		if err == nil {
			r.Body.Close()
		}
		if answers != want {
			t.Errorf("etcd's HTTP API on %s: %v, want %v", address, answers, want)
		}
	}
}

func workload(t *testing.T, m *machine) {
	t.Helper()
	eventually(t, "the Node is Ready", func() bool {
		out, err := m.k3s("kubectl", "get", "nodes", "--no-headers")
		return err == nil && strings.Contains(out, " Ready ") && strings.Contains(out, "control-plane,etcd")
	})
	eventually(t, "the Node has its address and pod CIDR and no taint", func() bool {
		return m.kubectl("get", "node", m.name, "--ignore-not-found", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address} {.spec.taints} {.spec.podCIDR}`) == m.ip+"  10.42.0.0/24"
	})
	m.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
	m.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	if got := m.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"); got != "system:admin" {
		t.Errorf("client certificate's identity: %q", got)
	}
	if got := m.kubectl("--kubeconfig", m.path("data/agent/kubelet.kubeconfig"), "get", "node", m.name, "-o", "name"); got != "node/"+m.name {
		t.Errorf("as kubelet: %q", got)
	}
}

// members returns the names in /db/info, which wants a leader of etcd.
func members(m *machine, password ...string) []string {
	m.t.Helper()
	var body string
	eventually(m.t, "/db/info", func() bool {
		var code int
		code, body = m.status("/db/info", "server", append(password, secret)[0])
		return code == http.StatusOK
	})
	var out []string
	for _, part := range strings.Split(body, `"name":"`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		out = append(out, name)
	}
	return out
}

// refusals are starts that must end with 1 and a reason.
func refusals(t *testing.T, m1 *machine) {
	t.Helper()
	server := "server: https://" + m1.ip + ":6443"
	for i, c := range []struct {
		role, reason string
		config       []string
	}{
		{"server", "critical configuration value mismatch between servers", []string{"token: " + secret, server, "cluster-cidr: 10.45.0.0/16"}},
		{"server", "401 Unauthorized", []string{"token: wrong", server}},
		{"server", "token CA hash does not match", []string{"token: K10" + strings.Repeat("0", 64) + "::server:" + secret, server}},
		{"server", "connection refused", []string{"token: " + secret, "server: https://10.99.0.49:6443"}},
		{"agent", "flag provided but not defined: -cluster-init", []string{"token: " + secret, server, "cluster-init: true"}},
		{"agent", "--token is required", []string{server}},
		{"agent", "unknown flag: --no-such-flag", []string{"token: " + secret, server, "kubelet-arg: [no-such-flag=1]"}},
		{"agent", "unknown 'kubernetes.io' or 'k8s.io' labels", []string{"token: " + secret, server, "node-label: [node-role.kubernetes.io/worker=true]"}},
	} {
		m := newMachine(t, c.role, 11+i, c.config...)
		m.start()
		if code := m.exit(); code != 1 || !strings.Contains(m.log(), c.reason) {
			t.Errorf("%s with %v: exit %d, no %q in its log", c.role, c.config, code, c.reason)
		}
	}
	bad := newMachine(t, "server", 19, "token: "+secret, server)
	if out, err := bad.k3s("server", "--no-such-flag"); err == nil || !strings.Contains(out, "flag provided but not defined: -no-such-flag") {
		t.Errorf("unknown flag: %v %s", err, out)
	}
}

func agents(t *testing.T, m1, m2, m3 *machine, full string) {
	t.Helper()
	t.Log("agents through a local proxy: one with k3s's balancer, one without, one with a wrong token")
	p := newProxy(t, "127.0.0.1:16443", m2.ip+":6443")
	common := []string{"token: " + full, "server: https://127.0.0.1:16443"}
	a1 := newMachine(t, "agent", 21, common...)
	a2 := newMachine(t, "agent", 22, append([]string{"disable-apiserver-lb: true", `node-label: ["tier=edge"]`,
		`node-taint: ["dedicated=edge:NoSchedule"]`, `kubelet-arg: ["max-pods=42"]`}, common...)...)
	wrong := newMachine(t, "agent", 23, "token: wrong", common[1])
	for _, a := range []*machine{a1, a2, wrong} {
		a.start()
	}
	a1.waitReady()
	a2.waitReady()
	for _, a := range []*machine{a1, a2} {
		eventually(t, a.name+" is Ready, by its kubelet", func() bool {
			return m1.kubectl("get", "node", a.name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.metadata.labels.node\.kubernetes\.io/instance-type}`) == "True k3s"
		})
	}
	if got := m1.kubectl("get", "node", a2.name, "-o", "jsonpath={.metadata.labels.tier} {.spec.taints[0].key} {.status.capacity.pods}"); got != "edge dedicated 42" {
		t.Errorf("%s: %q", a2.name, got)
	}
	eventually(t, "the balancer's default is a real server", func() bool {
		return strings.Contains(a1.log(), "Updated load balancer k3s-agent-load-balancer default server: 10.99.0.1:6443")
	})
	eventually(t, "nothing of a1's goes through the proxy any more", func() bool {
		list := peers(t, a1.cmd.Process.Pid)
		return len(list) > 0 && !slices.Contains(list, "127.0.0.1:16443")
	})
	eventually(t, "with disable-apiserver-lb everything goes through the proxy but one tunnel to each server", func() bool {
		list := peers(t, a2.cmd.Process.Pid)
		direct := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "127.0.0.1:16443" })
		tunnels := slices.Compact(slices.Sorted(slices.Values(direct)))
		return len(direct) < len(list) && len(direct) == len(tunnels) && len(tunnels) > 1
	})
	if p.accepted.Load() == 0 {
		t.Error("the proxy saw nothing")
	}
	if !strings.Contains(a1.read("data/agent/kubelet.kubeconfig"), "https://127.0.0.1:7021") ||
		!strings.Contains(a2.read("data/agent/kubelet.kubeconfig"), "https://127.0.0.1:16443") {
		t.Error("kubelet.kubeconfig names the wrong server")
	}
	if !wrong.running() || wrong.ready.Load() || !strings.Contains(wrong.log(), "token") && !strings.Contains(wrong.log(), "401") {
		t.Errorf("a wrong token is waited out: running %v", wrong.running())
	}
	t.Log("the same node name with another password is refused; a deleted Node's certificate too")
	twin := newMachine(t, "agent", 24, "token: "+full, "server: https://"+m1.ip+":6443")
	twin.write("config.yaml", strings.Replace(twin.read("config.yaml"), "node-name: a24", "node-name: a21", 1))
	twin.start()
	eventually(t, "node password rejected", func() bool { return strings.Contains(twin.log(), "Node password rejected") })
	twin.stop()
	if code := a1.stop(); code != 0 {
		t.Errorf("agent's exit code: %d", code)
	}
	m1.kubectl("delete", "node", a1.name)
	for _, m := range []*machine{m1, m2, m3} {
		eventually(t, m.name+"'s cache has seen the deletion", func() bool {
			out, err := m.k3s("kubectl", "get", "--raw", "/api/v1/nodes/"+a1.name+"?resourceVersion=0")
			return err != nil && strings.Contains(out, "not found")
		})
	}
	a1.start()
	a1.waitReady()
	if !strings.Contains(a1.log(), "Node authorization rejected, retrying without client certificate authentication") {
		t.Error("the certificate of a deleted Node was accepted")
	}
}

// TestRecovery takes a snapshot, rotates the token and restores the snapshot, at last on an empty host.
func TestRecovery(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "server", 31, "token: "+secret, "cluster-init: true", `kube-apiserver-arg: ["anonymous-auth=true"]`)
	m.start()
	m.waitReady()
	ca := m.read("data/server/tls/server-ca.crt")
	m.kubectl("create", "configmap", "before")
	if out := m.must("etcd-snapshot", "save", "--name", "manual"); !regexp.MustCompile(`^time="[^"]+" level=info msg="Snapshot manual-s31-\d+ saved\."$`).MatchString(out) {
		t.Errorf("save: %s", out)
	}
	m.must("etcd-snapshot", "save", "--name", "other")
	if out := m.must("etcd-snapshot", "ls"); !strings.Contains(out, "manual-s31-") || !strings.Contains(out, "other-s31-") {
		t.Errorf("ls: %s", out)
	}
	files, err := filepath.Glob(m.path("data/server/db/snapshots/*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	m.must("etcd-snapshot", "delete", filepath.Base(files[1]))
	m.kubectl("create", "configmap", "after")

	m.must("token", "rotate", "--new-token", "another-secret")
	if code := m.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.fails("start with the old token", "failed to reconcile with local datastore: bootstrap data already found and encrypted with different token")

	t.Log("restore on an empty host, with the token of the snapshot's time")
	snap := filepath.Join(t.TempDir(), "snapshot")
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(snap, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.path("data")); err != nil {
		t.Fatal(err)
	}
	reset := []string{"server", "--cluster-reset", "--cluster-reset-restore-path=" + snap}
	if out, err := m.k3s(append(reset, "--server=https://10.99.0.1:6443")...); err == nil || !strings.Contains(out, "cannot perform cluster-reset while server URL is set") {
		t.Errorf("reset with server: %v %s", err, tail(out, 2))
	}
	m.write("token", secret)
	m.set("token", "")
	m.set("token-file", m.path("token"))
	if out, err := m.k3s(reset...); err == nil || !strings.Contains(out, "server/token does not exist, please pass --token to complete the restoration") {
		t.Errorf("reset with a token-file only: %v %s", err, tail(out, 2))
	}
	m.set("token", secret)
	m.set("token-file", "")
	if out := m.must(reset...); !strings.Contains(out, "restart without --cluster-reset flag now") {
		t.Errorf("reset: %s", tail(out, 3))
	}
	if out, err := m.k3s(reset...); err == nil || !strings.Contains(out, "previously reset") {
		t.Errorf("second reset: %v %s", err, tail(out, 2))
	}
	m.start()
	m.waitReady()
	if got := m.read("data/server/tls/server-ca.crt"); got != ca {
		t.Error("the CA is another one")
	}
	if out := m.kubectl("get", "configmap", "-o", "name"); !strings.Contains(out, "configmap/before") || strings.Contains(out, "configmap/after") {
		t.Errorf("content: %s", out)
	}
	eventually(t, "role labels", func() bool {
		return strings.Contains(m.kubectl("get", "node", m.name, "--no-headers", "--ignore-not-found"), "control-plane,etcd")
	})
	if out := m.must("--version"); !strings.HasPrefix(out, "k3s version v") || !strings.Contains(out, "stand-in") {
		t.Errorf("version: %s", out)
	}
	if out := m.must("secrets-encrypt", "status"); !strings.Contains(out, "Encryption Status: Disabled, no configuration file found") {
		t.Errorf("secrets-encrypt: %s", out)
	}
}

// TestSQLite walks a server without cluster-init from SQLite to etcd, a second one in, and both through a reset.
func TestSQLite(t *testing.T) {
	t.Parallel()
	anonymous := `kube-apiserver-arg: ["anonymous-auth=true"]`
	m := newMachine(t, "server", 32, "token: "+secret, anonymous)
	m.start()
	m.waitReady()
	if !m.exists("data/server/db/state.db") || m.exists("data/server/db/etcd") {
		t.Error("no state.db, or etcd's files")
	}
	for _, port := range []string{"2379", "2380", "2381"} {
		for _, ip := range []string{m.ip, "127.0.0.33"} {
			if c, err := net.Dial("tcp", ip+":"+port); err == nil {
				c.Close()
				t.Errorf("port %s answers on %s", port, ip)
			}
		}
	}
	for _, c := range []struct {
		path, user, want string
		code             int
	}{
		{"/db/info", "", "etcd datastore disabled", 400}, {"/v1-k3s/server-bootstrap", "server", `"message":"etcd disabled"`, 400},
		{"/v1-k3s/server-bootstrap", "", "forbidden", 403}, {"/v1-k3s/config", "node", "", 200},
	} {
		if code, body := m.status(c.path, c.user, secret); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s as %q: %d %s", c.path, c.user, code, body)
		}
	}
	eventually(t, "role label", func() bool {
		return strings.Contains(m.kubectl("get", "node", m.name, "--no-headers", "--ignore-not-found"), " control-plane ")
	})
	if got := m.kubectl("get", "node", m.name, "-o", "jsonpath={.metadata.annotations}{.metadata.finalizers}{.metadata.labels}"); strings.Contains(got, "etcd") {
		t.Errorf("etcd on the Node: %s", got)
	}
	if out, err := m.k3s("etcd-snapshot", "save"); err == nil || !strings.Contains(out, "etcd datastore disabled") {
		t.Errorf("snapshot: %v %s", err, out)
	}
	ca := m.read("data/server/tls/server-ca.crt")
	m.kubectl("create", "configmap", "before")
	joiner := newMachine(t, "server", 33, "token: "+secret, "server: https://"+m.ip+":6443", anonymous)
	joiner.fails("joining a server on SQLite", "etcd disabled")
	if code := m.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	t.Log("it stays on SQLite, and wants its token")
	m.set("token", "wrong")
	m.fails("another token", "bootstrap data already found and encrypted with different token")
	m.set("token", secret)
	m.start()
	m.waitReady()
	m.kubectl("get", "configmap", "before")
	if out, err := m.k3s("token", "rotate", "--new-token", "another-secret"); err != nil {
		t.Errorf("rotate: %v %s", err, out)
	}
	m.stop()
	m.fails("the old token", "bootstrap data already found and encrypted with different token")
	m.set("token", "another-secret")

	t.Log("cluster-init moves it into etcd")
	m.set("cluster-init", "true")
	m.start()
	m.waitReady()
	if m.exists("data/server/db/state.db") || !m.exists("data/server/db/state.db.migrated") || !m.exists("data/server/db/etcd/member") {
		t.Error("files after the migration")
	}
	m.kubectl("get", "configmap", "before")
	if m.read("data/server/tls/server-ca.crt") != ca {
		t.Error("the CA is another one")
	}
	eventually(t, "etcd label", func() bool {
		return strings.Contains(m.kubectl("get", "node", m.name, "--no-headers", "--ignore-not-found"), "control-plane,etcd")
	})

	t.Log("a second server joins; one with a cluster of its own on SQLite must give that up")
	joiner.set("token", "another-secret")
	joiner.start()
	joiner.waitReady()
	if got := members(m, "another-secret"); len(got) != 2 {
		t.Errorf("members %v", got)
	}
	own := newMachine(t, "server", 34, "token: own-secret", anonymous)
	own.start()
	own.waitReady()
	own.stop()
	own.set("server", "https://"+m.ip+":6443")
	own.set("token", "another-secret")
	own.fails("a short token, and the CA of its own", "certificate signed by unknown authority")
	own.set("token", strings.TrimSpace(m.read("data/server/token")))
	own.fails("the full token", "newer than datastore and could cause a cluster outage")

	t.Log("reset and restore on the first, the second joins again with an empty database")
	if out, err := m.k3s("etcd-snapshot", "save", "--name", "both"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	m.kubectl("create", "configmap", "after")
	files, _ := filepath.Glob(m.path("data/server/db/snapshots/both-*"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	joiner.stop()
	m.stop()
	if out, err := m.k3s("server", "--cluster-reset", "--cluster-reset-restore-path="+files[0]); err != nil {
		t.Fatalf("%v %s", err, tail(out, 3))
	}
	m.start()
	m.waitReady()
	if err := os.RemoveAll(joiner.path("data/server/db")); err != nil {
		t.Fatal(err)
	}
	joiner.start()
	joiner.waitReady()
	if got := members(m, "another-secret"); len(got) != 2 {
		t.Errorf("members after the reset: %v", got)
	}
	if out := joiner.kubectl("get", "configmap", "-o", "name"); !strings.Contains(out, "configmap/before") || strings.Contains(out, "configmap/after") {
		t.Errorf("content: %s", out)
	}
}

// TestTokens rotates the server token and the agents' one in a cluster of three servers.
func TestTokens(t *testing.T) {
	t.Parallel()
	const renewed = "another-secret"
	agentFile := filepath.Join(t.TempDir(), "agent-token")
	agentToken := func(v string) {
		t.Helper()
		if err := os.WriteFile(agentFile, []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agentToken("agents-first")
	m1 := newMachine(t, "server", 36, "token: "+secret, "agent-token-file: "+agentFile, "cluster-init: true", `kube-apiserver-arg: ["anonymous-auth=true"]`)
	first := "https://" + m1.ip + ":6443"
	m2 := newMachine(t, "server", 37, "token: "+secret, "agent-token-file: "+agentFile, "server: "+first)
	m3 := newMachine(t, "server", 38, "token: "+secret, "agent-token-file: "+agentFile, "server: "+first)
	m1.start()
	m1.waitReady()
	m2.start()
	m2.waitReady()
	m3.start()
	m3.waitReady()
	check := func(when string, m *machine, path, user, password string, want int) {
		t.Helper()
		if code, body := m.status(path, user, password); code != want {
			t.Errorf("%s: %s %s as %s with %s: %d, want %d: %s", when, m.name, path, user, password, code, want, body)
		}
	}
	const bootstrap, config = "/v1-k3s/server-bootstrap", "/v1-k3s/config"
	check("with an agent token", m1, config, "node", "agents-first", 200)
	check("with an agent token", m1, config, "node", secret, 401)
	a := newMachine(t, "agent", 41, "token: agents-first", "server: "+first, "disable-apiserver-lb: true")
	a.start()
	a.waitReady()

	t.Log("the route")
	for _, c := range []struct {
		method, user, password, body string
		want                         int
	}{
		{"PUT", "", "", `{"newToken":"x"}`, 403}, {"PUT", "server", "wrong", `{"newToken":"x"}`, 401}, {"PUT", "node", "agents-first", `{"newToken":"x"}`, 403},
		{"GET", "server", secret, "", 405}, {"PUT", "server", secret, "no json", 400}, {"PUT", "server", secret, "{}", 0},
		{"PUT", "server", secret, `{"newToken":"K10abc"}`, 500},
	} {
		if code, body := m1.request(c.method, "/v1-k3s/token", c.user, c.password, c.body); code != c.want {
			t.Errorf("%+v: %d %s", c, code, body)
		} else if code == 500 && !regexp.MustCompile(`token error ID \d{5}`).MatchString(body) {
			t.Errorf("%+v: %s", c, body)
		}
	}

	t.Log("rotation while one server is down")
	m3.stop()
	full := strings.TrimSpace(m1.read("data/server/token"))
	out, err := m1.k3s("token", "rotate", "--token", full, "--new-token", renewed)
	if err != nil || !strings.Contains(out, "Recommended to keep a record of the old token") || !strings.HasSuffix(out, "Token rotated, restart k3s nodes with new token") {
		t.Fatalf("rotate: %v %s", err, out)
	}
	for name, want := range map[string]string{"token": "::server:" + renewed, "node-token": "::server:" + renewed, "agent-token": "::node:agents-first"} {
		if got := strings.TrimSpace(m1.read("data/server/" + name)); !strings.HasSuffix(got, want) {
			t.Errorf("%s after the rotation: %s", name, got)
		}
	}
	if got := m1.read("data/server/cred/passwd"); !strings.HasPrefix(got, renewed+",server,") {
		t.Errorf("passwd: %s", got)
	}
	if got := m2.read("data/server/token"); !strings.Contains(got, secret) {
		t.Errorf("another server's token: %s", got)
	}
	for _, m := range []*machine{m1, m2} {
		check("before its restart", m, bootstrap, "server", secret, 200)
		check("before its restart", m, bootstrap, "server", renewed, 401)
	}

	t.Log("the server that was down knows the old token only, until it has caught up")
	m3.set("token", renewed)
	m3.fails("new token, old database", "failed to reconcile with local datastore: bootstrap data already found and encrypted with different token")
	m3.set("token", secret)
	m3.fails("old token", "failed to save bootstrap data: bootstrap data already found and encrypted with different token")
	m3.set("token", renewed)
	m3.start()
	m3.waitReady()

	t.Log("restarts: with the old token refused, with the new one fine")
	m1.stop()
	m1.fails("old token", "failed to reconcile with local datastore: bootstrap data already found and encrypted with different token")
	m1.set("token", renewed)
	m1.start()
	m1.waitReady()
	check("after its restart", m1, bootstrap, "server", renewed, 200)
	check("after its restart", m1, bootstrap, "server", secret, 401)
	m2.stop()
	m2.set("token", renewed)
	m2.start()
	m2.waitReady()
	if strings.Contains(m2.log(), "Unable to reconcile with remote datastore") {
		t.Error("the new token does not work at the restarted server")
	}

	t.Log("another agent token: agents with a certificate do not need it, new ones do")
	agentToken("agents-second")
	m1.stop()
	m1.start()
	m1.waitReady()
	check("new agent token", m1, config, "node", "agents-second", 200)
	check("new agent token", m1, config, "node", "agents-first", 401)
	check("not restarted", m2, config, "node", "agents-first", 200)
	if got := m1.read("data/server/agent-token"); !strings.HasSuffix(strings.TrimSpace(got), "::node:agents-second") {
		t.Errorf("agent-token: %s", got)
	}
	a.stop()
	a.start()
	a.waitReady()
	fresh := newMachine(t, "agent", 42, "token: agents-first", "server: "+first, "disable-apiserver-lb: true")
	fresh.start()
	eventually(t, "the old agent token is refused", func() bool { return strings.Contains(fresh.log(), "401 Unauthorized") })
	if fresh.ready.Load() || !fresh.running() {
		t.Error("it is waited out")
	}
	fresh.stop()
	fresh.set("token", "agents-second")
	fresh.start()
	fresh.waitReady()
}

// TestRestart looks at the pods of nodes whose k3s is restarted, and drains one.
func TestRestart(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "server", 43, "token: "+secret, `node-taint: ["CriticalAddonsOnly=true:NoExecute"]`)
	m.start()
	m.waitReady()
	a := newMachine(t, "agent", 44, "token: "+secret, "server: https://"+m.ip+":6443")
	a.start()
	a.waitReady()
	m.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
	m.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	pods := func(path string) string {
		return m.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={range .items[*]}{"+path+"} {end}")
	}
	ready := func() string { return pods(`.status.conditions[?(@.type=="Ready")].status`) }
	started := func() []string { return strings.Fields(pods(".status.containerStatuses[0].state.running.startedAt")) }
	const same = `.metadata.name}={.status.containerStatuses[0].containerID}/{.status.containerStatuses[0].restartCount}/{.status.conditions[?(@.type=="Ready")].lastTransitionTime`
	eventually(t, "the containers' times are known", func() bool { return len(started()) == 3 })
	before := pods(same)
	time.Sleep(1100 * time.Millisecond) // startedAt has seconds only

	t.Log("an agent's restart")
	a.stop()
	restarted := time.Now().UTC().Format(time.RFC3339)
	a.start()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if got := ready(); got != "True True True" {
			t.Fatalf("Ready during the restart: %s", got)
		}
	}
	a.waitReady()
	if got := pods(same); got != before {
		t.Errorf("pods before and after the restart:\n%s\n%s", before, got)
	}
	for _, at := range started() {
		if at >= restarted {
			t.Errorf("a container of %s after the restart at %s", at, restarted)
		}
	}

	t.Log("a host that was switched off: its containers are made again")
	a.stop()
	if err := os.RemoveAll(a.path("root/run")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	restarted = time.Now().UTC().Format(time.RFC3339)
	a.start()
	a.waitReady()
	eventually(t, "new containers", func() bool {
		at := started()
		return ready() == "True True True" && len(at) == 3 && slices.Min(at) >= restarted
	})

	t.Log("drain")
	began := time.Now()
	if out, err := m.k3s("kubectl", "drain", a.name, "--timeout=30s"); err != nil || strings.Count(out, "evicted") < 3 {
		t.Errorf("drain: %v %s", err, out)
	}
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("drain took %s", d)
	}
	if got := m.kubectl("get", "pods", "-l", "app=web", "--field-selector", "spec.nodeName="+a.name, "-o", "name"); got != "" {
		t.Errorf("left on the drained node: %s", got)
	}
}
