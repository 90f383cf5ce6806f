package deploy

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
)

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

type known struct{ *meta.DefaultRESTMapper }

func (known) Reset() {}

// newWatcher is a server's loop on a folder of its own, with a cluster that several may share.
func newWatcher(t *testing.T, cluster *fake.FakeDynamicClient) *watcher {
	t.Helper()
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	return &watcher{folder: t.TempDir(), client: cluster, mapper: known{mapper}, modTime: map[string]time.Time{}}
}

func newCluster() *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		configMaps: "ConfigMapList", namespaces: "NamespaceList", addons: "AddonList", crds: "CustomResourceDefinitionList",
	})
}

// put writes a file as another one in its place, with a time of its own.
func (w *watcher) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Duration(len(w.modTime)+len(text)) * time.Second)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func (w *watcher) must(t *testing.T, force bool) {
	t.Helper()
	if err := w.round(context.Background(), force); err != nil {
		t.Fatal(err)
	}
}

// value of a ConfigMap in default; empty where it is not.
func (w *watcher) value(t *testing.T, name string) string {
	t.Helper()
	o, err := w.client.Resource(configMaps).Namespace("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	data, _ := o.Object["data"].(map[string]any)
	text, _ := data["v"].(string)
	return text
}

func configMap(name, value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: " + name + " }\ndata: { v: \"" + value + "\" }\n"
}

func TestAppliesAndPrunes(t *testing.T) {
	w := newWatcher(t, newCluster())
	w.put(t, "own.yaml", "# a comment\n---\n"+configMap("a", "1")+"---\n"+configMap("b", "1"))
	w.put(t, "more/list.json", `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}]}`)
	w.must(t, true)
	if w.value(t, "a") != "1" || w.value(t, "b") != "1" {
		t.Error("not applied")
	}
	namespace, err := w.client.Resource(namespaces).Get(context.Background(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := namespace.GetAnnotations()[prefix+"owner-name"]; got != "list" {
		t.Errorf("owner %q", got)
	}

	w.put(t, "own.yaml", configMap("b", "22"))
	w.must(t, false)
	if w.value(t, "a") != "" || w.value(t, "b") != "22" {
		t.Error("what left the file is not pruned, or the rest not changed")
	}

	// A file that is gone deletes nothing; an empty one of its name does.
	if err := os.Remove(filepath.Join(w.folder, "own.yaml")); err != nil {
		t.Fatal(err)
	}
	w.must(t, true)
	if w.value(t, "b") != "22" {
		t.Error("deleted with its file")
	}
	w.put(t, "own.yaml", "")
	w.must(t, false)
	if w.value(t, "b") != "" {
		t.Error("not pruned by an empty file")
	}
	addon, err := w.client.Resource(addons).Namespace("kube-system").Get(context.Background(), "own", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := addon.Object["spec"].(map[string]any)
	// The SHA-256 of nothing.
	if got, _ := spec["checksum"].(string); !strings.HasPrefix(got, "e3b0c442") || len(kindsOf(addon)) != 0 {
		t.Errorf("Addon %v %v", spec, addon.GetAnnotations())
	}
	if _, err := w.client.Resource(namespaces).Get(context.Background(), "n", metav1.GetOptions{}); err != nil {
		t.Error("an object of another file is gone")
	}
}

func TestIgnored(t *testing.T) {
	w := newWatcher(t, newCluster())
	for _, name := range []string{".hidden.yaml", "a.txt", "skipped.yaml"} {
		w.put(t, name, configMap("no", "1"))
	}
	w.put(t, "skipped.yaml.skip", "")
	w.must(t, true)
	if w.value(t, "no") != "" {
		t.Error("applied")
	}
}

func TestFailureIsTriedAgain(t *testing.T) {
	w := newWatcher(t, newCluster())
	w.put(t, "bad.yaml", "kind: [")
	w.put(t, "good.yaml", configMap("good", "1"))
	for range 2 {
		if err := w.round(context.Background(), true); err == nil || !strings.Contains(err.Error(), "bad.yaml") {
			t.Errorf("error %v", err)
		}
	}
	if w.value(t, "good") != "1" {
		t.Error("another file was not applied")
	}
}

// TestTwoServers shows why all servers need the same files: each applies all of its own at its start.
func TestTwoServers(t *testing.T) {
	cluster := newCluster()
	one, two := newWatcher(t, cluster), newWatcher(t, cluster)
	for _, w := range []*watcher{one, two} {
		w.put(t, "own.yaml", configMap("a", "old"))
		w.must(t, true)
	}
	one.put(t, "own.yaml", configMap("a", "newer"))
	one.must(t, false)
	two.must(t, false)
	if one.value(t, "a") != "newer" {
		t.Error("the other server's old file was applied though it did not change")
	}
	two.must(t, true)
	if one.value(t, "a") != "old" {
		t.Error("a start did not apply the old file")
	}
}
