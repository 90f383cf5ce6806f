package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k3s-ha/lab/k3s/internal/bucket/buckettest"
	"k3s-ha/lab/k3s/internal/cli"
)

// The test binary is k3s too (envExec), and runs its tests in a network namespace of its own (envNetns), where each
// server has an address on the loopback interface: 10.99.0.1 and so on, always port 6443 as on real hosts.
const (
	envExec  = "K3S_TEST_EXEC"
	envNetns = "K3S_TEST_NETNS"
	// envBucket names the S3 server's binary.
	envBucket = "K3S_TEST_BUCKET"
	patience  = 90 * time.Second
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envExec) != "":
		cli.Main()
		os.Exit(0)
	case os.Getenv(envNetns) != "":
		for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "add", "10.99.0.1/26", "dev", "lo"}} {
			must(exec.Command("ip", args...).Run())
		}
		for i := 2; i < 50; i++ {
			must(exec.Command("ip", "addr", "add", fmt.Sprintf("10.99.0.%d/32", i), "dev", "lo").Run())
		}
		os.Exit(m.Run())
	}
	// Before the network is gone.
	folder, err := os.MkdirTemp("", "s3")
	must(err)
	binary, err := buckettest.Build(folder)
	must(err)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envNetns+"=1", envBucket+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		must(err)
	}
	_ = os.RemoveAll(folder)
	os.Exit(cmd.ProcessState.ExitCode())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "test set-up:", err)
		os.Exit(1)
	}
}

// machine is one host: a folder, an address and a process at a time.
type machine struct {
	t     *testing.T
	role  string
	name  string
	ip    string
	dir   string
	extra []string // environment
	cmd   *exec.Cmd
	done  chan struct{}
	// What systemd was told since the start.
	ready, stopping atomic.Bool
	notify          *net.UnixConn
}

func newMachine(t *testing.T, role string, number int, lines ...string) *machine {
	t.Helper()
	m := &machine{t: t, role: role, name: fmt.Sprintf("%c%d", role[0], number), ip: fmt.Sprintf("10.99.0.%d", number), dir: t.TempDir()}
	config := []string{"data-dir: " + m.path("data"), "node-name: " + m.name, "node-ip: " + m.ip}
	if role == "server" {
		// A busy machine must not cost a lease, and with it the process.
		leases := `-arg: ["leader-elect-lease-duration=60s", "leader-elect-renew-deadline=50s", "secure-port=0"]`
		config = append(config, "bind-address: "+m.ip, "kube-controller-manager"+leases, "kube-scheduler"+leases)
	} else {
		config = append(config, fmt.Sprintf("lb-server-port: %d", 7000+number))
	}
	m.write("config.yaml", strings.Join(append(config, lines...), "\n")+"\n")
	m.extra = []string{
		envExec + "=1", "K3S_CONFIG_FILE=" + m.path("config.yaml"), "K3S_STANDIN_ROOT=" + m.path("root"),
		fmt.Sprintf("K3S_STANDIN_LOOPBACK=127.0.0.%d", number+1), "NOTIFY_SOCKET=" + m.path("notify"), "KUBECONFIG=",
	}
	var err error
	if m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path("notify"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 256)
		for {
			n, err := m.notify.Read(b)
			if err != nil {
				return
			}
			if strings.Contains(string(b[:n]), "READY=1") {
				m.ready.Store(true)
			}
			if strings.Contains(string(b[:n]), "STOPPING=1") {
				m.stopping.Store(true)
			}
		}
	}()
	t.Cleanup(func() {
		if m.cmd != nil && m.cmd.ProcessState == nil {
			_ = m.cmd.Process.Signal(syscall.SIGCONT)
			_ = m.cmd.Process.Kill()
			<-m.done
		}
		m.notify.Close()
		if t.Failed() {
			t.Logf("%s: last lines of its log:\n%s", m.name, tail(m.log(), 15))
		}
	})
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func (m *machine) exists(name string) bool { _, err := os.Lstat(m.path(name)); return err == nil }

func (m *machine) log() string { b, _ := os.ReadFile(m.path("log")); return string(b) }

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	for i, l := range lines {
		if len(l) > 300 {
			lines[i] = l[:300]
		}
	}
	return strings.Join(lines, "\n")
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), m.extra...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start runs `k3s server` or `k3s agent` in the background.
func (m *machine) start(args ...string) {
	m.t.Helper()
	f, err := os.OpenFile(m.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	m.ready.Store(false)
	m.stopping.Store(false)
	m.cmd = m.command(append([]string{m.role}, args...)...)
	m.cmd.Stdout, m.cmd.Stderr = f, f
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(m.cmd, m.done)
}

func (m *machine) running() bool {
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// exit waits for the process to end and returns its exit code.
func (m *machine) exit() int {
	m.t.Helper()
	select {
	case <-m.done:
		return m.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		m.t.Fatalf("%s does not end", m.name)
		return -1
	}
}

func (m *machine) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) stop() int { m.t.Helper(); m.signal(syscall.SIGTERM); return m.exit() }

// k3s runs a command of the machine's and returns its output.
func (m *machine) k3s(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is k3s, which must succeed.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.k3s(args...)
	if err != nil {
		m.t.Fatalf("k3s %v: %v: %s", args, err, out)
	}
	return out
}

// kubectl must succeed.
func (m *machine) kubectl(args ...string) string {
	m.t.Helper()
	return m.must(append([]string{"kubectl"}, args...)...)
}

// status asks port 6443 without a certificate; 0 when nobody answers.
func (m *machine) status(path, user, password string) (int, string) {
	return m.request(http.MethodGet, path, user, password, "")
}

func (m *machine) request(method, path, user, password, body string) (int, string) {
	client := &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	req, err := http.NewRequest(method, "https://"+m.ip+":6443"+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// set replaces a line of the configuration, or adds it.
func (m *machine) set(key, value string) {
	m.t.Helper()
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(m.read("config.yaml")), "\n"), func(l string) bool {
		return strings.HasPrefix(l, key+":")
	})
	if value != "" {
		lines = append(lines, key+": "+value)
	}
	m.write("config.yaml", strings.Join(lines, "\n")+"\n")
}

// fails expects the start to end with 1 and a reason in what it logs.
func (m *machine) fails(what, reason string) {
	m.t.Helper()
	before := len(m.log())
	m.start()
	if code, said := m.exit(), m.log()[before:]; code != 1 || !strings.Contains(said, reason) {
		m.t.Errorf("%s: exit %d, no %q in its log:\n%s", what, code, reason, tail(said, 5))
	}
}

// eventually polls until the check is true, within limits.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if check() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}

func (m *machine) waitReady() {
	m.t.Helper()
	eventually(m.t, m.name+" is READY", func() bool {
		if !m.running() {
			m.t.Fatalf("%s has ended", m.name)
		}
		return m.ready.Load()
	})
}

// proxy stands for a node's haproxy: a TCP forwarder that counts.
type proxy struct {
	accepted atomic.Int64
}

func newProxy(t *testing.T, listen, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			go func() {
				defer c.Close()
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c); up.Close() }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	return p
}

// peers returns the remote addresses of a process's established connections to port 6443 or to a port given.
func peers(t *testing.T, pid int) []string {
	t.Helper()
	out, err := exec.Command("ss", "-Htnp", "state", "established").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, line := range bytes.Split(out, []byte("\n")) {
		f := strings.Fields(string(line))
		if len(f) >= 5 && strings.Contains(f[4], fmt.Sprintf("pid=%d,", pid)) {
			list = append(list, f[3])
		}
	}
	return list
}
