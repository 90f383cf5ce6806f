package main

import (
	"context"
	_ "embed"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

//go:embed schema.json
var schema string

func getSchema(context.Context, p.GetSchemaRequest) (p.GetSchemaResponse, error) {
	return p.GetSchemaResponse{Schema: schema}, nil
}

func checkConfig(_ context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	return p.CheckResponse{Inputs: req.Inputs}, nil
}

func diffConfig(context.Context, p.DiffRequest) (p.DiffResponse, error) {
	return p.DiffResponse{}, nil
}

// kinds are the resources.
var kinds = map[string]struct {
	check  func(resource.PropertyMap) []p.CheckFailure
	create func(ctx context.Context, name string, inputs resource.PropertyMap, preview bool) (string, resource.PropertyMap, error)
	update func(ctx context.Context, state, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error)
	remove func(ctx context.Context, state resource.PropertyMap) error
}{
	"command:remote:Command":      {checkCommand, createCommand, updateCommand, removeCommand},
	"command:remote:CopyToRemote": {checkCopy, createCopy, updateCopy, removeCopy},
}

func unknownType(urn resource.URN) error {
	return status.Errorf(codes.NotFound, "the lab's provider has no resource %q", urn.Type())
}

func check(_ context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	kind, ok := kinds[string(req.Urn.Type())]
	if !ok {
		return p.CheckResponse{}, unknownType(req.Urn)
	}
	inputs := from(req.Inputs)
	failures := kind.check(inputs)
	if connection, ok := inputs["connection"]; ok {
		inputs["connection"] = secret(withDefaults(connection))
	}
	return p.CheckResponse{Inputs: to(inputs), Failures: failures}, nil
}

// diff compares inputs: any change is an update, of triggers a replacement.
func diff(_ context.Context, req p.DiffRequest) (p.DiffResponse, error) {
	olds, news := from(req.OldInputs), ignoring(req.IgnoreChanges, from(req.State), from(req.Inputs))
	for k := range news {
		if k == "version" || strings.HasPrefix(string(k), "__") {
			delete(news, k)
		}
	}
	changes := olds.Diff(news)
	response := p.DiffResponse{HasChanges: changes.AnyChanges(), DetailedDiff: map[string]p.PropertyDiff{}}
	for path, d := range plugin.NewDetailedDiffFromObjectDiff(changes, false) {
		if path == "triggers" || strings.HasPrefix(path, "triggers[") {
			d.Kind = d.Kind.AsReplace()
		}
		response.DetailedDiff[path] = p.PropertyDiff{Kind: p.DiffKind(strings.ReplaceAll(d.Kind.String(), "-", "&")), InputDiff: d.InputDiff}
	}
	return response, nil
}

func create(ctx context.Context, req p.CreateRequest) (p.CreateResponse, error) {
	kind, ok := kinds[string(req.Urn.Type())]
	if !ok {
		return p.CreateResponse{}, unknownType(req.Urn)
	}
	id, outputs, err := kind.create(ctx, req.Urn.Name(), from(req.Properties), req.DryRun)
	if err != nil {
		return p.CreateResponse{}, err
	}
	return p.CreateResponse{ID: id, Properties: to(outputs)}, nil
}

func update(ctx context.Context, req p.UpdateRequest) (p.UpdateResponse, error) {
	kind, ok := kinds[string(req.Urn.Type())]
	if !ok {
		return p.UpdateResponse{}, unknownType(req.Urn)
	}
	state := from(req.State)
	outputs, err := kind.update(ctx, state, ignoring(req.IgnoreChanges, state, from(req.Inputs)), req.DryRun)
	if err != nil {
		return p.UpdateResponse{}, err
	}
	return p.UpdateResponse{Properties: to(outputs)}, nil
}

func remove(ctx context.Context, req p.DeleteRequest) error {
	kind, ok := kinds[string(req.Urn.Type())]
	if !ok {
		return unknownType(req.Urn)
	}
	return kind.remove(ctx, from(req.Properties))
}

// read asks no host: a refresh sees no drift.
func read(_ context.Context, req p.ReadRequest) (p.ReadResponse, error) {
	return p.ReadResponse{ID: req.ID, Properties: req.Properties, Inputs: req.Inputs}, nil
}

func ignoring(keys []string, state, inputs resource.PropertyMap) resource.PropertyMap {
	for _, k := range keys {
		if v, ok := state[resource.PropertyKey(k)]; ok {
			inputs[resource.PropertyKey(k)] = v
		}
	}
	return inputs
}

func from(m property.Map) resource.PropertyMap {
	return simple(resource.ToResourcePropertyValue(property.New(m))).ObjectValue()
}

func to(m resource.PropertyMap) property.Map {
	return resource.FromResourcePropertyValue(resource.NewProperty(m)).AsMap()
}
