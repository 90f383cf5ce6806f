// pulumi-resource-kubernetes is the lab's stand-in for the Pulumi package "kubernetes", whose official provider takes
// nine minutes of two cores to compile: the provider and ClusterRolePatch, as the official one does them, with the
// settings that this program uses. `official` has that one, and a test compares the two.
package main

import (
	"context"
	"log"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	host "github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "4.34.2" // set by the build from package.json

func main() {
	err := host.Main("kubernetes", func(h *host.HostClient) (rpc.ResourceProviderServer, error) {
		raw, err := p.RawServer("kubernetes", version, provider())(h)
		return server{raw}, err
	})
	if err != nil {
		log.Fatalln("pulumi-resource-kubernetes:", err)
	}
}

type urnKey struct{}

// urnOf is the resource that a call is about; the framework does not tell it to resources.
func urnOf(ctx context.Context) any { return ctx.Value(urnKey{}) }

// provider is what the framework makes of the patch's type, but for what types cannot say.
func provider() p.Provider {
	c := &cluster{}
	own := infer.Provider(infer.Options{Resources: []infer.InferredResource{infer.Resource(&ClusterRolePatch{c})}})
	all := own
	all.Configure, all.CheckConfig = c.configure, nil
	all.Create = func(ctx context.Context, r p.CreateRequest) (p.CreateResponse, error) {
		return own.Create(context.WithValue(ctx, urnKey{}, r.Urn), r)
	}
	all.Update = func(ctx context.Context, r p.UpdateRequest) (p.UpdateResponse, error) {
		if r.DryRun && resource.ToResourcePropertyMap(r.Inputs).ContainsUnknowns() {
			return p.UpdateResponse{Properties: r.Inputs}, nil // The API server cannot be asked.
		}
		return own.Update(context.WithValue(ctx, urnKey{}, r.Urn), r)
	}
	all.Diff = func(ctx context.Context, r p.DiffRequest) (p.DiffResponse, error) {
		diff, err := own.Diff(ctx, r)
		// A tag can ask for a replacement only by a property of the top.
		if d, ok := diff.DetailedDiff["metadata.name"]; ok {
			diff.DetailedDiff["metadata.name"] = p.PropertyDiff{Kind: d.Kind + "&replace"}
		}
		return diff, err
	}
	return all
}

// server answers DiffConfig itself: the framework tells replaced properties from changed ones only by a detailed diff,
// and a preview shows that otherwise than what the official provider says.
type server struct{ rpc.ResourceProviderServer }

func (server) DiffConfig(_ context.Context, req *rpc.DiffRequest) (*rpc.DiffResponse, error) {
	// Secrets are not kept: they compare by their values.
	options := plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true}
	olds, err := plugin.UnmarshalProperties(req.GetOlds(), options)
	if err != nil {
		return nil, err
	}
	news, err := plugin.UnmarshalProperties(req.GetNews(), options)
	if err != nil {
		return nil, err
	}
	return diffConfig(olds, news), nil
}
