// pulumi-resource-random is the lab's stand-in for the Pulumi package "random", which no registry of Go modules serves. It has
// the resources that this program uses; a state goes from it to the official provider and back without a change.
package main

import (
	"context"
	"fmt"
	"maps"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"k3s-ha/lab/pulumi/serve"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "4.21.2" // set by the build from package.json

func main() {
	serve.Main("random", version, goprovider.Provider{
		Check:  check,
		Diff:   diff,
		Create: create,
		Read: func(_ context.Context, r goprovider.ReadRequest) (goprovider.ReadResponse, error) {
			return goprovider.ReadResponse{ID: r.ID, Properties: r.Properties, Inputs: r.Inputs}, nil
		},
		// Nothing is kept outside the state.
		Delete: func(context.Context, goprovider.DeleteRequest) error { return nil },
		Cancel: func(context.Context) error { return nil },
	}, func(s serve.Server) rpc.ResourceProviderServer { return s })
}

func kindOf(urn resource.URN) (kind, error) {
	k, ok := kinds[urn.Type()]
	if !ok {
		return kind{}, fmt.Errorf("the lab's plugin for random has no resource %s: it has RandomPassword, RandomString and "+
			"RandomId (lab/pulumi/random)", urn.Type())
	}
	return k, nil
}

func check(_ context.Context, r goprovider.CheckRequest) (goprovider.CheckResponse, error) {
	k, err := kindOf(r.Urn)
	if err != nil {
		return goprovider.CheckResponse{}, err
	}
	return goprovider.CheckResponse{Inputs: r.Inputs, Failures: k.check(serve.Plain(r.Inputs))}, nil
}

// diff compares the state with what the inputs and the defaults make of it. Every change replaces.
func diff(_ context.Context, r goprovider.DiffRequest) (goprovider.DiffResponse, error) {
	k, err := kindOf(r.Urn)
	if err != nil {
		return goprovider.DiffResponse{}, err
	}
	d := map[string]goprovider.PropertyDiff{}
	addDiff(d, nil, resource.NewProperty(k.plan(serve.Plain(r.State))), resource.NewProperty(k.plan(serve.Plain(r.Inputs))))
	if len(d) > 0 {
		// As the official provider says it: its schema does not tell which property asks for the replacement.
		d["__meta"] = goprovider.PropertyDiff{Kind: goprovider.UpdateReplace}
	}
	return goprovider.DiffResponse{HasChanges: len(d) > 0, DetailedDiff: d}, nil
}

func addDiff(d map[string]goprovider.PropertyDiff, at resource.PropertyPath, was, will resource.PropertyValue) {
	switch {
	case was.IsObject() && will.IsObject():
		keys := was.ObjectValue().Copy()
		maps.Copy(keys, will.ObjectValue())
		for k := range keys {
			path := append(append(resource.PropertyPath{}, at...), string(k))
			addDiff(d, path, was.ObjectValue()[k], will.ObjectValue()[k])
		}
	case was.IsNull():
		d[at.String()] = goprovider.PropertyDiff{Kind: goprovider.Add}
	case will.IsNull():
		d[at.String()] = goprovider.PropertyDiff{Kind: goprovider.Delete}
	case !was.DeepEquals(will):
		d[at.String()] = goprovider.PropertyDiff{Kind: goprovider.Update}
	}
}

func create(_ context.Context, r goprovider.CreateRequest) (goprovider.CreateResponse, error) {
	k, err := kindOf(r.Urn)
	if err != nil {
		return goprovider.CreateResponse{}, err
	}
	state := k.plan(serve.Plain(r.Properties))
	made := map[resource.PropertyKey]string{}
	if r.DryRun {
		for _, name := range append([]resource.PropertyKey{"id"}, k.outputs...) {
			state[name] = resource.MakeComputed(resource.NewProperty(""))
		}
	} else if made, err = k.make(state); err != nil {
		return goprovider.CreateResponse{}, err
	}
	for name, v := range made {
		state[name] = resource.NewProperty(v)
	}
	// Secret is what the type says, and what is secret among the inputs.
	for name, v := range resource.ToResourcePropertyMap(r.Properties) {
		if v.ContainsSecrets() {
			state[name] = v
		}
	}
	for _, name := range k.outputs {
		if k.secret {
			state[name] = resource.MakeSecret(state[name])
		}
	}
	return goprovider.CreateResponse{ID: made["id"], Properties: resource.FromResourcePropertyMap(state)}, nil
}
