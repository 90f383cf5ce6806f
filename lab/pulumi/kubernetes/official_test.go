//go:build official

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/status"

	"k3s-ha/lab/pulumi/internal/plugintest"
)

// What may differ, each in every answer before it is compared:
//   - what the API server makes anew at each call: uid, times, resourceVersion;
//   - replaces names the top property where the official one names the path, and ours fills diffs: the framework derives both from
//     the detailed diff, which is what the engine shows and decides by;
//   - of a state only what a program can set is compared: the official provider keeps the whole live object beside its inputs;
//   - the framework puts "rpc error: code = Unknown desc = " before the error of an unfinished update;
//   - acceptSecrets and the like in Configure's answer: autonaming is of no use to a patch.
var anew = regexp.MustCompile(`"(uid|creationTimestamp|resourceVersion|time)":"[^"]*"`)

// TestSameAsOfficial makes the same calls on both binaries against a real API server and compares the answers call by call.
// official/compare.sh runs it.
func TestSameAsOfficial(t *testing.T) {
	official := os.Getenv("KUBERNETES_OFFICIAL")
	t.Logf("official: %s", os.Getenv("KUBERNETES_OFFICIAL_VERSION"))
	config := startK3s(t, os.Getenv("K3S"))
	theirs, ours := walk(t, official, config), walk(t, binary, config)
	if len(theirs) != len(ours) {
		t.Fatalf("%d answers, official %d", len(ours), len(theirs))
	}
	for i, step := range theirs {
		if step.text != ours[i].text {
			t.Errorf("%s\n  ours:     %s\n  official: %s", step.name, ours[i].text, step.text)
		} else {
			t.Logf("%s: the same", step.name)
		}
	}
}

type step struct{ name, text string }

// walk is one life of a patch, on a role that it makes anew.
func walk(t *testing.T, binary string, config string) (steps []step) {
	kubectl(t, config, "delete", "clusterrole", "viewer", "--ignore-not-found")
	kubectl(t, config, "create", "clusterrole", "viewer", "--verb=get", "--non-resource-url=/readyz")
	s := configured(t, binary, map[string]string{"kubeconfig": config})
	at := func(name string, answer any, err error) {
		b, e := json.Marshal(answer)
		noError(t, e)
		text := string(b)
		if err != nil {
			text = fmt.Sprintf("error %v: %s", status.Code(err),
				strings.TrimPrefix(status.Convert(err).Message(), "rpc error: code = Unknown desc = "))
			for _, detail := range status.Convert(err).Details() {
				failed := detail.(*rpc.ErrorResourceInitFailed)
				b, e := json.Marshal([]any{failed.Id, failed.Reasons, settable(plugintest.Map(t, failed.Properties).Mappable())})
				noError(t, e)
				text += " " + string(b)
			}
		}
		steps = append(steps, step{name, anew.ReplaceAllString(text, `"$1":"…"`) + " " + strings.Join(s.Logs(), "; ")})
	}
	plain := func(m resource.PropertyMap) any { return settable(m.Mappable()) }
	check := func(name string, inputs resource.PropertyMap) {
		m, err := s.check(inputs)
		at("check: "+name, plain(m), err)
	}
	diff := func(name string, state, inputs resource.PropertyMap) {
		r := s.diff(state, inputs)
		var replaces []string
		for _, path := range r.Replaces {
			replaces = append(replaces, strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' })[0])
		}
		at("diff: "+name, []any{r.Changes, kindsOf(r), slices.Compact(replaces), r.DeleteBeforeReplace}, nil)
	}
	nameless := role("list")
	delete(nameless["metadata"].ObjectValue(), "name")
	unknown := role("list")
	unknown["rules"] = resource.MakeComputed(resource.NewProperty(""))
	secret := role("list", forced...)
	secret["rules"] = resource.MakeSecret(secret["rules"])
	other := role("list")
	other["metadata"].ObjectValue()["name"] = resource.NewProperty("other")

	check("a patch", role("list", forced...))
	check("a secret", secret)
	check("no name", nameless)
	check("not yet known", unknown)
	id, state, err := s.create(role("list"), true)
	at("create: preview", []any{id, plain(state)}, err)
	_, _, err = s.create(role("list"), false)
	at("create: conflict", nil, err)
	id, state, err = s.create(secret, false)
	at("create: forced", []any{id, plain(state)}, err)
	diff("unchanged", state, secret)
	diff("a verb", state, role("watch"))
	diff("another name", state, other)
	diff("not yet known", state, unknown)
	m, err := s.update(state, role("watch", forced...), true)
	at("update: preview", plain(m), err)
	m, err = s.update(state, unknown, true)
	at("update: preview, not yet known", plain(m), err)
	state, err = s.update(state, role("watch", forced...), false)
	at("update", plain(state), err)
	kubectl(t, config, "patch", "clusterrole", "viewer", "--type=merge", "-p", `{"rules":[{"verbs":["put"],"nonResourceURLs":["/x"]}]}`)
	r, err := s.read(state, role("watch", forced...))
	at("read", []any{r.GetId(), plain(plugintest.Map(t, r.GetProperties())), plain(plugintest.Map(t, r.GetInputs()))}, err)
	diff("after a change by others", plugintest.Map(t, r.GetProperties()), role("watch"))
	for _, preview := range []bool{true, false} {
		_, err = s.update(state, role("list"), preview)
		at(fmt.Sprintf("update: conflict, preview %v", preview), nil, err)
	}
	moved := role("list", append(slices.Clone(forced), "pulumi.com/patchFieldManager", "moved")...)
	state, err = s.update(state, moved, false)
	at("update: another field manager", plain(state), err)
	at("delete", nil, s.remove(state))
	at("left", kubectl(t, config, "get", "clusterrole", "viewer", "-o", "jsonpath={.rules}{.metadata.managedFields[*].manager}"), nil)
	kubectl(t, config, "delete", "clusterrole", "viewer")
	r, err = s.read(state, moved)
	at("read: gone", r.GetId(), err)
	_, err = s.update(state, role("list", forced...), false)
	at("update: gone", nil, err)

	dead := regexp.MustCompile(`server: .*`).ReplaceAllString(config, "server: https://127.0.0.1:1")
	for name, env := range map[string]string{"": "X=1", ", forgotten": "PULUMI_K8S_DELETE_UNREACHABLE=true"} {
		s = configured(t, binary, map[string]string{"kubeconfig": dead}, env)
		check("unreachable"+name, role("list"))
		diff("unreachable"+name, state, role("watch"))
		_, m, err = s.create(role("list"), true)
		at("create: preview, unreachable"+name, plain(m), err)
		_, _, err = s.create(role("list"), false)
		at("create: unreachable"+name, nil, err)
		_, err = s.update(state, role("list"), false)
		at("update: unreachable"+name, nil, err)
		r, err = s.read(state, role("list"))
		at("read: unreachable"+name, r.GetId(), err)
		at("delete: unreachable"+name, nil, s.remove(state))
	}
	slices.SortStableFunc(steps, func(a, b step) int { return strings.Compare(a.name, b.name) })
	for name, c := range configPairs(config, dead) {
		r, err := s.DiffConfig(plugintest.Context(t), &rpc.DiffRequest{
			Urn:  "urn:pulumi:s::p::pulumi:providers:kubernetes::k8s",
			Olds: plugintest.Struct(t, c[0]), News: plugintest.Struct(t, c[1]),
		})
		at("diffConfig: "+name, []any{r.GetChanges(), r.GetDiffs(), r.GetReplaces()}, err)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return strings.Compare(a.name, b.name) })
	return steps
}

// settable leaves of a state what a program can set.
func settable(state map[string]any) map[string]any {
	maps.DeleteFunc(state, func(key string, _ any) bool {
		return !slices.Contains([]string{"apiVersion", "kind", "metadata", "rules"}, key)
	})
	if metadata, ok := state["metadata"].(map[string]any); ok {
		maps.DeleteFunc(metadata, func(key string, _ any) bool { return key != "name" && key != "annotations" })
	}
	return state
}

func configPairs(one, two string) map[string][2]resource.PropertyMap {
	with := func(kubeconfig resource.PropertyValue, id string) resource.PropertyMap {
		return resource.PropertyMap{"kubeconfig": kubeconfig, "clusterIdentifier": resource.NewProperty(id)}
	}
	none := func(kubeconfig resource.PropertyValue) resource.PropertyMap {
		return resource.PropertyMap{"kubeconfig": kubeconfig}
	}
	a, b, unknown := resource.NewProperty(one), resource.NewProperty(two), resource.MakeComputed(resource.NewProperty(""))
	return map[string][2]resource.PropertyMap{
		"same": {none(a), none(a)}, "address": {none(a), none(b)}, "address, identifier": {with(a, "c"), with(b, "c")},
		"identifier": {with(a, "c"), with(a, "d")}, "unknown": {none(a), none(unknown)}, "unknown, identifier": {with(a, "c"), with(unknown, "c")},
		"unknown, new identifier": {with(a, "c"), with(unknown, "d")}, "identifier at last": {none(a), with(a, "c")},
	}
}

// startK3s runs the lab's k3s in a folder of its own until the test's end; compare.sh has made its address. It returns a kubeconfig.
func startK3s(t *testing.T, binary string) string {
	dir := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(`data-dir: `+dir+`/data
node-name: s1
node-ip: 10.99.1.1
bind-address: 10.99.1.1
token: secret-of-the-test
cluster-init: true
kube-controller-manager-arg: [leader-elect=false, secure-port=0]
kube-scheduler-arg: [leader-elect=false, secure-port=0]
`), 0o600))
	log, err := os.Create(filepath.Join(dir, "log"))
	noError(t, err)
	cmd := exec.Command(binary, "server")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "K3S_CONFIG_FILE="+dir+"/config.yaml", "K3S_STANDIN_ROOT="+dir+"/root", "K3S_STANDIN_LOOPBACK=127.0.0.2")
	noError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		file := dir + "/root/etc/rancher/k3s/k3s.yaml"
		if b, err := os.ReadFile(file); err == nil {
			ready := exec.Command(binary, "kubectl", "get", "clusterrole", "system:public-info-viewer")
			if ready.Env = append(os.Environ(), "KUBECONFIG="+file); ready.Run() == nil {
				return string(b)
			}
		}
	}
	b, _ := os.ReadFile(log.Name())
	t.Fatalf("k3s is not ready after 3 minutes; its log ends with\n%s", b[max(0, len(b)-2000):])
	return ""
}

func kubectl(t *testing.T, config string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	noError(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(os.Getenv("K3S"), append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}
