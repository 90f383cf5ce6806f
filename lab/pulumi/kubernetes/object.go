package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"k3s-ha/lab/pulumi/serve"
)

// Beside the live object the state has the inputs that it came from, and what the next call must know.
const (
	inputsKey       = "__inputs"
	apiVersionKey   = "__initialApiVersion"
	fieldManagerKey = "__fieldManager"
)

// readOnly are metadata that the API server alone writes.
var readOnly = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "uid",
}

func object(m property.Map) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: serve.Plain(m).Mappable()}
}

// split takes a state apart.
func split(state property.Map) (inputs, live *unstructured.Unstructured) {
	live = object(state)
	inputs = &unstructured.Unstructured{Object: map[string]any{}}
	if m, ok := live.Object[inputsKey].(map[string]any); ok {
		inputs.Object = m
	}
	delete(live.Object, inputsKey)
	return inputs, live
}

// join makes a state; what is secret in `like` is secret in it.
func join(inputs, live *unstructured.Unstructured, like property.Map, apiVersion, manager string) property.Map {
	state := marked(live.Object, like)
	state[inputsKey] = resource.NewProperty(marked(inputs.Object, like))
	state[apiVersionKey] = resource.NewProperty(apiVersion)
	state[fieldManagerKey] = resource.NewProperty(manager)
	return resource.FromResourcePropertyMap(state)
}

func marked(m map[string]any, like property.Map) resource.PropertyMap {
	out := resource.NewPropertyMapFromMap(m)
	copySecrets(out, resource.ToResourcePropertyMap(like))
	return out
}

func copySecrets(to, from resource.PropertyMap) {
	for key, v := range from {
		if out, ok := to[key]; !ok {
			continue
		} else if out.IsObject() && v.IsObject() {
			copySecrets(out.ObjectValue(), v.ObjectValue())
		} else if v.ContainsSecrets() {
			to[key] = resource.MakeSecret(out)
		}
	}
}

// normalized are inputs in the API server's own form, so that what means the same makes no difference.
func normalized(inputs property.Map) *unstructured.Unstructured {
	if unknowns(inputs) {
		return withoutReadOnly(object(inputs))
	}
	return normalizedObject(object(inputs))
}

func normalizedObject(o *unstructured.Unstructured) *unstructured.Unstructured {
	var role rbac.ClusterRole
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err == nil {
		if m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&role); err == nil {
			o = &unstructured.Unstructured{Object: prune(m, o.Object).(map[string]any)}
		}
	}
	return withoutReadOnly(o)
}

func withoutReadOnly(o *unstructured.Unstructured) *unstructured.Unstructured {
	for _, key := range readOnly {
		unstructured.RemoveNestedField(o.Object, "metadata", key)
	}
	return o
}

func unknowns(m property.Map) bool {
	return resource.ToResourcePropertyMap(m).ContainsUnknowns()
}

// prune leaves of v what `like` speaks of.
func prune(v, like any) any {
	switch v := v.(type) {
	case map[string]any:
		if like, ok := like.(map[string]any); ok {
			out := map[string]any{}
			for key, e := range v {
				if l, ok := like[key]; ok {
					out[key] = prune(e, l)
				}
			}
			return out
		}
	case []any:
		if like, ok := like.([]any); ok {
			out := []any{}
			for i := range min(len(v), len(like)) {
				out = append(out, prune(v[i], like[i]))
			}
			return out
		}
	}
	return v
}
