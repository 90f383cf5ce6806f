package main

import (
	"context"
	"reflect"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// diff compares the new inputs with the live object as far as the old inputs speak of it, so that a change by others shows after
// a refresh.
func (p *provider) diff(_ context.Context, r goprovider.DiffRequest) (goprovider.DiffResponse, error) {
	oldInputs, live := split(r.State)
	inputs := normalized(r.Inputs)
	was := prune(live.Object, normalizedObject(oldInputs).Object).(map[string]any)
	// A ClusterRole has no namespace.
	for _, o := range []map[string]any{was, inputs.Object} {
		if m, ok := o["metadata"].(map[string]any); ok {
			delete(m, "namespace")
		}
	}
	d := map[string]goprovider.PropertyDiff{}
	addDiff(d, nil, was, inputs.Object)
	for _, text := range r.IgnoreChanges {
		ignored, err := resource.ParsePropertyPath(text)
		if err != nil {
			return goprovider.DiffResponse{}, err
		}
		for path := range d {
			if parsed, err := resource.ParsePropertyPath(path); err == nil && ignored.Contains(parsed) {
				delete(d, path)
			}
		}
	}
	if change, ok := d["metadata.name"]; ok {
		d["metadata.name"] = goprovider.PropertyDiff{Kind: change.Kind + "&replace", InputDiff: change.InputDiff}
	}
	return goprovider.DiffResponse{HasChanges: len(d) > 0, DetailedDiff: d}, nil
}

func addDiff(d map[string]goprovider.PropertyDiff, at resource.PropertyPath, was, is any) {
	add := func(kind goprovider.DiffKind) {
		d[at.String()] = goprovider.PropertyDiff{Kind: kind, InputDiff: kind == goprovider.Delete}
	}
	below := func(key any) resource.PropertyPath { return append(append(resource.PropertyPath{}, at...), key) }
	wasMap, ok1 := was.(map[string]any)
	isMap, ok2 := is.(map[string]any)
	wasList, ok3 := was.([]any)
	isList, ok4 := is.([]any)
	switch {
	case ok1 && ok2:
		for key, v := range isMap {
			addDiff(d, below(key), wasMap[key], v)
		}
		for key, v := range wasMap {
			if _, ok := isMap[key]; !ok {
				addDiff(d, below(key), v, nil)
			}
		}
	case ok3 && ok4:
		for i := range max(len(wasList), len(isList)) {
			addDiff(d, below(i), at0(wasList, i), at0(isList, i))
		}
	case was == nil && is != nil:
		add(goprovider.Add)
	case was != nil && is == nil:
		add(goprovider.Delete)
	case !reflect.DeepEqual(was, is):
		add(goprovider.Update)
	}
}

func at0(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}
