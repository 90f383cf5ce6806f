package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// resolve writes files below a temporary folder (config.yaml and config.yaml.d/*) and resolves a role with them.
func resolve(t *testing.T, role string, files map[string]string, env map[string]string, args ...string) (*Settings, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Resolve(role, args, func(name string) string {
		if name == "K3S_CONFIG_FILE" {
			return filepath.Join(dir, "config.yaml")
		}
		return env[name]
	})
}

func must(t *testing.T, s *Settings, err error) *Settings {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPrecedence(t *testing.T) {
	env := map[string]string{"K3S_TOKEN": "env", "K3S_NODE_NAME": "env"}
	s, err := resolve(t, "server", map[string]string{"config.yaml": "token: file\nnode-name: file\n"}, env, "--node-name", "cli")
	must(t, s, err)
	if got := s.String("token"); got != "file" {
		t.Errorf("file over environment: %q", got)
	}
	if got := s.String("node-name"); got != "cli" {
		t.Errorf("command line over file: %q", got)
	}
	s, err = resolve(t, "server", map[string]string{"config.yaml": ""}, env)
	if got := must(t, s, err).String("token"); got != "env" {
		t.Errorf("environment over default: %q", got)
	}
	if got := s.String("data-dir"); got != "/var/lib/rancher/k3s" {
		t.Errorf("default: %q", got)
	}
}

func TestDropIns(t *testing.T) {
	s, err := resolve(t, "server", map[string]string{
		"config.yaml":             "tls-san: [a]\nnode-label: [x=1]\ndebug: true\n",
		"config.yaml.d/10-b.yaml": "tls-san: [b]\nnode-label+: [y=2]\n",
		"config.yaml.d/20-c.yml":  "node-label+: z=3\n",
		"config.yaml.d/30-d.txt":  "tls-san: [ignored]\n",
	}, nil)
	must(t, s, err)
	if got := s.List("tls-san"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("a later file replaces the key: %v", got)
	}
	if got := s.List("node-label"); !slices.Equal(got, []string{"x=1", "y=2", "z=3"}) {
		t.Errorf("key+ appends: %v", got)
	}
	if !s.Bool("debug") {
		t.Error("debug of the main file is lost")
	}
}

func TestUnknownKeys(t *testing.T) {
	files := map[string]string{"config.yaml": "no-such-key: 1\n"}
	s, err := resolve(t, "server", files, nil)
	must(t, s, err)
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "no-such-key") {
		t.Errorf("server: %v", s.Warnings)
	}
	for _, c := range []struct {
		role, file string
		args       []string
	}{
		{"agent", "no-such-key: 1\n", nil},
		{"agent", "cluster-init: true\n", nil}, // a server's key
		{"server", "", []string{"--no-such-key=1"}},
		{"agent", "", []string{"--no-such-key=1"}},
	} {
		_, err := resolve(t, c.role, map[string]string{"config.yaml": c.file}, nil, c.args...)
		if err == nil || !strings.HasPrefix(err.Error(), "flag provided but not defined: -") {
			t.Errorf("%s %q %v: %v", c.role, c.file, c.args, err)
		}
	}
}

func TestYAML11(t *testing.T) {
	s, err := resolve(t, "server", map[string]string{"config.yaml": "write-kubeconfig-mode: 0644\ncluster-init: yes\n"}, nil)
	must(t, s, err)
	if got := s.String("write-kubeconfig-mode"); got != "420" {
		t.Errorf("unquoted 0644 is the number 420, got %q", got)
	}
	if !s.Bool("cluster-init") {
		t.Error("yes is true")
	}
	s, err = resolve(t, "server", map[string]string{"config.yaml": `write-kubeconfig-mode: "0644"`}, nil)
	if got := must(t, s, err).String("write-kubeconfig-mode"); got != "0644" {
		t.Errorf("quoted: %q", got)
	}
}

func TestBadValues(t *testing.T) {
	for _, text := range []string{"https-listen-port: high\n", "cluster-init: maybe\n", "etcd-s3-timeout: 5\n", "tls-san: [\n"} {
		if _, err := resolve(t, "server", map[string]string{"config.yaml": text}, nil); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestComponentArgs(t *testing.T) {
	got := ComponentArgs(map[string]string{"anonymous-auth": "false", "authorization-mode": "Node,RBAC", "keep": "1"},
		[]string{"anonymous-auth=true", "authorization-mode+=Webhook", "feature-gates=A=true", "v=1", "v=2"})
	want := []string{"--anonymous-auth=true", "--authorization-mode=Node,RBAC,Webhook", "--feature-gates=A=true", "--keep=1", "--v=1", "--v=2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if v, ok := ArgValue([]string{"a=1", "--authentication-config=/x"}, "authentication-config"); !ok || v != "/x" {
		t.Errorf("ArgValue: %q %v", v, ok)
	}
}

func TestSecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := resolve(t, "agent", map[string]string{"config.yaml": "token-file: " + file + "\n"}, nil)
	if got, err := must(t, s, err).Secret("token"); err != nil || got != "secret" {
		t.Errorf("%q %v", got, err)
	}
}
