// pulumi-resource-kubernetes is the lab's stand-in for the Pulumi package "kubernetes", whose official provider takes nine
// minutes of two cores to compile: the provider and ClusterRolePatch, as the official one does them. `official` has that one,
// and a test that compares the two.
package main

import (
	"context"
	"strings"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/status"

	"k3s-ha/lab/pulumi/serve"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "4.34.2" // set by the build from package.json

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	p := &provider{ctx: ctx}
	serve.Main("kubernetes", version, goprovider.Provider{
		Configure: p.configure,
		Check:     p.check,
		Diff:      p.diff,
		Create:    p.create,
		Read:      p.read,
		Update:    p.update,
		Delete:    p.delete,
		// Requests that are under way end with an error.
		Cancel: func(context.Context) error { cancel(); return nil },
	}, func(s serve.Server) rpc.ResourceProviderServer { return server{s} })
}

// server answers DiffConfig itself: the framework cannot tell replaced properties from changed ones without a detailed diff.
type server struct{ serve.Server }

// Update gives the error of an unfinished update without the words that the framework's wrapping puts before it.
func (s server) Update(ctx context.Context, req *rpc.UpdateRequest) (*rpc.UpdateResponse, error) {
	resp, err := s.Server.Update(ctx, req)
	if err == nil {
		return resp, nil
	}
	plain := status.Convert(err).Proto()
	plain.Message = strings.TrimPrefix(plain.Message, "rpc error: code = Unknown desc = ")
	return nil, status.ErrorProto(plain)
}

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
	return diffConfig(olds, news)
}
