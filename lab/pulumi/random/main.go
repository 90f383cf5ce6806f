// pulumi-resource-random is the lab's stand-in for the Pulumi package "random", which no registry of Go modules serves.
// It has the resources and inputs that this program uses; a state goes from it to the official provider and back.
package main

import (
	"context"
	"log"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "4.21.2" // set by the build from package.json

func main() {
	if err := provider().Run(context.Background(), "random", version); err != nil {
		log.Fatalln("pulumi-resource-random:", err)
	}
}

// metadata are what the official provider tells states of its older versions by.
var metadata = map[tokens.Type]string{
	"random:index/randomPassword:RandomPassword": `{"schema_version":"3"}`,
	"random:index/randomString:RandomString":     `{"schema_version":"2"}`,
}

// provider is what the framework makes of the types, with a state as the official provider's: the framework's types
// cannot have its fields `id` and `__meta`. Every change replaces.
func provider() p.Provider {
	own := infer.Provider(infer.Options{Resources: []infer.InferredResource{
		infer.Resource(&RandomPassword{}), infer.Resource(&RandomString{}), infer.Resource(&RandomId{}),
	}})
	all := own
	all.Create = func(ctx context.Context, r p.CreateRequest) (p.CreateResponse, error) {
		made, err := own.Create(ctx, r)
		if err != nil {
			return made, err
		}
		id := property.New(made.ID)
		if r.DryRun {
			made.ID, id = "", property.New(property.Computed)
		} else if meta, ok := metadata[r.Urn.Type()]; ok {
			made.Properties = made.Properties.Set("__meta", property.New(meta))
		}
		made.Properties = made.Properties.Set("id", id)
		return made, nil
	}
	// Nothing is kept outside the state.
	all.Read = func(_ context.Context, r p.ReadRequest) (p.ReadResponse, error) {
		return p.ReadResponse{ID: r.ID, Properties: r.Properties, Inputs: r.Inputs}, nil
	}
	return all
}
