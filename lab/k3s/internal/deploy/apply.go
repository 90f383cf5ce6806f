package deploy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// parse reads a stream of YAML or JSON documents; a List is its items.
func parse(in io.Reader) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	reader := yaml.NewYAMLReader(bufio.NewReader(in))
	for {
		raw, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := yaml.ToJSON(raw)
		if err != nil {
			return nil, err
		}
		if data = bytes.TrimSpace(data); len(data) == 0 || string(data) == "null" {
			continue
		}
		object, _, err := unstructured.UnstructuredJSONScheme.Decode(data, nil, nil)
		if err != nil {
			return nil, err
		}
		if list, ok := object.(*unstructured.UnstructuredList); ok {
			for i := range list.Items {
				out = append(out, &list.Items[i])
			}
		} else {
			out = append(out, object.(*unstructured.Unstructured))
		}
	}
}

// order has those first that others need to be there.
func order(object *unstructured.Unstructured) int {
	first := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount"}
	if i := slices.Index(first, object.GetKind()); i >= 0 {
		return i
	}
	return len(first)
}

// apply makes and changes the objects, then deletes those of the Addon that are none of them, among these kinds and
// those of before.
func (w *watcher) apply(ctx context.Context, name string, objects []*unstructured.Unstructured, before []schema.GroupVersionKind) error {
	hash, annotations := owned(name)
	wanted := map[string]bool{}
	kinds := slices.Clone(before)
	var failed []error
	sorted := slices.Clone(objects)
	slices.SortStableFunc(sorted, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
	for _, object := range sorted {
		kind := object.GroupVersionKind()
		kinds = append(kinds, kind)
		client, namespace, err := w.resource(kind, object.GetNamespace())
		if err != nil {
			failed = append(failed, err)
			continue
		}
		wanted[key(kind.GroupKind(), namespace, object.GetName())] = true
		object = object.DeepCopy()
		object.SetNamespace(namespace)
		object.SetLabels(with(object.GetLabels(), map[string]string{hashLabel: hash}))
		object.SetAnnotations(with(object.GetAnnotations(), annotations))
		if err := put(ctx, client, object); err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err))
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	return w.prune(ctx, hash, kinds, wanted)
}

func (w *watcher) prune(ctx context.Context, hash string, kinds []schema.GroupVersionKind, wanted map[string]bool) error {
	var failed []error
	for i, kind := range kinds {
		if slices.Contains(kinds[:i], kind) {
			continue
		}
		mapping, err := w.mapping(kind)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return err
		}
		found, err := w.client.Resource(mapping.Resource).List(ctx, metav1.ListOptions{LabelSelector: hashLabel + "=" + hash})
		if err != nil {
			return err
		}
		for _, object := range found.Items {
			if wanted[key(kind.GroupKind(), object.GetNamespace(), object.GetName())] {
				continue
			}
			background := metav1.DeletePropagationBackground
			err := w.client.Resource(mapping.Resource).Namespace(object.GetNamespace()).
				Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
			if err != nil && !apierrors.IsNotFound(err) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

func key(kind schema.GroupKind, namespace, name string) string {
	return kind.String() + " " + namespace + "/" + name
}

func with(values, more map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{values, more} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// mapping asks again for a kind that was not known: it may be of a definition that has just been made.
func (w *watcher) mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	mapping, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		w.mapper.Reset()
		mapping, err = w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	return mapping, err
}

// resource is where objects of a kind are, and their namespace there.
func (w *watcher) resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, string, error) {
	mapping, err := w.mapping(kind)
	if err != nil {
		return nil, "", err
	}
	client := w.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return client, "", nil
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return client.Namespace(namespace), namespace, nil
}

// put creates the object, or changes what differs from what was applied last.
func put(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	object.SetAnnotations(with(object.GetAnnotations(), map[string]string{applied: string(text)}))
	current, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, object, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	before := current.GetAnnotations()[applied]
	if before == "" {
		before = "{}"
	}
	modified, err := json.Marshal(object)
	if err != nil {
		return err
	}
	live, err := json.Marshal(current)
	if err != nil {
		return err
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(before), modified, live)
	if err != nil || string(patch) == "{}" {
		return err
	}
	_, err = client.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// ensureKind makes the definition of Addons, as k3s does at its start.
func (w *watcher) ensureKind(ctx context.Context) error {
	name := addons.Resource + "." + addons.Group
	_, err := w.client.Resource(crds).Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	text := func(fields ...string) map[string]any {
		properties := map[string]any{}
		for _, field := range fields {
			properties[field] = map[string]any{"type": "string"}
		}
		return map[string]any{"type": "object", "properties": properties}
	}
	definition := map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"group": addons.Group, "scope": "Namespaced",
			"names": map[string]any{"kind": "Addon", "plural": addons.Resource, "singular": "addon"},
			"versions": []any{map[string]any{
				"name": addons.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "properties": map[string]any{"spec": text("source", "checksum")},
				}},
			}},
		},
	}
	_, err = w.client.Resource(crds).Create(ctx, &unstructured.Unstructured{Object: definition}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Served a moment later.
	return wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := w.client.Resource(addons).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
}
