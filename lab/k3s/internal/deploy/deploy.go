// Package deploy applies the files of server/manifests as k3s does (pkg/deploy/controller.go with wrangler's apply): an
// Addon for each file, its objects known by a label, those that left the file pruned. Every server runs it by itself.
package deploy

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	interval  = 15 * time.Second
	namespace = metav1.NamespaceSystem

	gvksAnnotation = "addon.k3s.cattle.io/gvks"
	ownerKind      = "k3s.cattle.io/v1, Kind=Addon"
	prefix         = "objectset.rio.cattle.io/"
	hashLabel      = prefix + "hash"
	applied        = prefix + "applied"
)

var (
	addons = schema.GroupVersionResource{Group: "k3s.cattle.io", Version: "v1", Resource: "addons"}
	crds   = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// mapper tells the resource of a kind; Reset forgets what it knew, for kinds that have come since.
type mapper interface {
	meta.RESTMapper
	Reset()
}

// watcher is one server's loop.
type watcher struct {
	folder  string
	client  dynamic.Interface
	mapper  mapper
	modTime map[string]time.Time
}

// Run applies all files of the folder now, and every 15 s those that have changed, until the context ends.
func Run(ctx context.Context, config *rest.Config, folder string) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	w := &watcher{
		folder: folder, client: client, modTime: map[string]time.Time{},
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery())),
	}
	for force := true; ; {
		if err := w.round(ctx, force); err == nil {
			force = false
		} else if ctx.Err() == nil {
			logrus.Errorf("Failed to process config: %v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// round goes once through the files. With force even those are applied whose content the Addon has already.
func (w *watcher) round(ctx context.Context, force bool) error {
	if err := w.ensureKind(ctx); err != nil {
		return err
	}
	var paths []string
	skips := map[string]bool{}
	err := filepath.WalkDir(w.folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name, ok := strings.CutSuffix(d.Name(), ".skip"); ok {
			skips[name] = true
		}
		paths = append(paths, path)
		return nil
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, path := range paths {
		name := filepath.Base(path)
		if skips[name] || strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(name))) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if !force && info.ModTime().Equal(w.modTime[path]) {
			continue
		}
		if err := w.deploy(ctx, path, force); err != nil {
			failed = append(failed, fmt.Errorf("failed to process %s: %w", path, err))
		} else {
			w.modTime[path] = info.ModTime()
		}
	}
	return errors.Join(failed...)
}

// deploy brings one file's objects to the cluster. The Addon takes the new checksum only when all has gone well.
func (w *watcher) deploy(ctx context.Context, path string, force bool) error {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	addon, err := w.addon(ctx, name, path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	checksum := hex.EncodeToString(sum[:])
	if known, _, _ := unstructured.NestedString(addon.Object, "spec", "checksum"); !force && known == checksum {
		return nil
	}
	objects, err := parse(bytes.NewReader(content))
	if err != nil {
		return err
	}
	if err := w.apply(ctx, name, objects, kindsOf(addon)); err != nil {
		return err
	}
	if err := unstructured.SetNestedMap(addon.Object, map[string]any{"source": path, "checksum": checksum}, "spec"); err != nil {
		return err
	}
	annotations := addon.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	var kinds []string
	for _, object := range objects {
		if kind := object.GroupVersionKind().String(); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	annotations[gvksAnnotation] = strings.Join(kinds, ";")
	addon.SetAnnotations(annotations)
	_, err = w.client.Resource(addons).Namespace(namespace).Update(ctx, addon, metav1.UpdateOptions{})
	return err
}

// addon is the file's; made where there is none.
func (w *watcher) addon(ctx context.Context, name, path string) (*unstructured.Unstructured, error) {
	client := w.client.Resource(addons).Namespace(namespace)
	addon, err := client.Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return addon, err
	}
	return client.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "k3s.cattle.io/v1", "kind": "Addon",
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": map[string]any{"source": path},
	}}, metav1.CreateOptions{})
}

// kindsOf are those that the Addon's objects had when it was last applied.
func kindsOf(addon *unstructured.Unstructured) []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, text := range strings.Split(addon.GetAnnotations()[gvksAnnotation], ";") {
		apiVersion, kind, ok := strings.Cut(text, ", Kind=")
		if !ok {
			continue
		}
		// "apps/v1", and "/v1" of the core.
		group, version, _ := strings.Cut(apiVersion, "/")
		out = append(out, schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	}
	return out
}

// owned is what an Addon's objects are known by.
func owned(name string) (label string, annotations map[string]string) {
	sum := sha1.Sum([]byte(ownerKind + name + namespace))
	return hex.EncodeToString(sum[:]), map[string]string{
		prefix + "id": "", prefix + "owner-gvk": ownerKind, prefix + "owner-name": name, prefix + "owner-namespace": namespace,
	}
}
