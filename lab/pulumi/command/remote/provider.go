// Package remote is the module "remote" of the Pulumi package "command". Its name and those of its exported types stand
// in the texts of failed checks, so they are those of the official provider.
package remote

import (
	"context"
	_ "embed"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/middleware/cancel"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

//go:embed schema.json
var schema string

// Provider serves both resources. The framework's package infer, which makes schema, Check and Diff from Go types, does
// not compile with the engine's 3.248.0: what it does is written out here and in schema.json.
func Provider() p.Provider {
	return cancel.Wrap(p.Provider{
		GetSchema: getSchema, CheckConfig: checkConfig,
		Check: check, Diff: diff, Create: create, Read: read, Update: update, Delete: remove,
	}.WithDefaults())
}

func getSchema(context.Context, p.GetSchemaRequest) (p.GetSchemaResponse, error) {
	return p.GetSchemaResponse{Schema: schema}, nil
}

func checkConfig(_ context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	return p.CheckResponse{Inputs: req.Inputs}, nil
}

type (
	value  = resource.PropertyValue
	values = resource.PropertyMap
)

// kinds are the resources.
var kinds = map[string]struct {
	check  func(inputs values) []p.CheckFailure
	create func(ctx context.Context, name string, inputs values, preview bool) (id string, outputs values, err error)
	update func(ctx context.Context, state, inputs values, preview bool) (outputs values, err error)
	remove func(ctx context.Context, state values) error
}{
	"command:remote:Command":      {checkCommand, createCommand, updateCommand, removeCommand},
	"command:remote:CopyToRemote": {checkCopy, createCopy, updateCopy, removeCopy},
}

func unknownType(urn resource.URN) error {
	return status.Errorf(codes.NotFound, "Resource '%s' not found", strings.TrimPrefix(string(urn.Type()), "command:"))
}

func check(_ context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	kind, ok := kinds[string(req.Urn.Type())]
	if !ok {
		return p.CheckResponse{}, unknownType(req.Urn)
	}
	inputs := settled("", resource.NewProperty(from(req.Inputs))).ObjectValue()
	failures := kind.check(inputs)
	if connection, ok := inputs["connection"]; ok {
		inputs["connection"] = secret(withDefaults(connection))
	}
	return p.CheckResponse{Inputs: to(inputs), Failures: failures}, nil
}

// diff compares inputs: any change is an update, one of triggers a replacement.
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
		// Where only an element has changed it is the SDK that asks for the replacement (replaceOnChanges).
		if path == "triggers" {
			d.Kind = d.Kind.AsReplace()
		}
		// Both name a kind the same, "update" or "add-replace", but for the sign.
		kind := p.DiffKind(strings.ReplaceAll(d.Kind.String(), "-", "&"))
		response.DetailedDiff[path] = p.PropertyDiff{Kind: kind, InputDiff: d.InputDiff}
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

func ignoring(keys []string, state, inputs values) values {
	for _, k := range keys {
		if v, ok := state[resource.PropertyKey(k)]; ok {
			inputs[resource.PropertyKey(k)] = v
		}
	}
	return inputs
}

func from(m property.Map) values {
	return simple(resource.ToResourcePropertyValue(property.New(m))).ObjectValue()
}

func to(m values) property.Map {
	return resource.FromResourcePropertyValue(resource.NewProperty(m)).AsMap()
}
