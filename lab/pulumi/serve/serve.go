// Package serve runs a provider that is written on the framework, with what the lab's providers for random and kubernetes share.
package serve

import (
	"context"
	"fmt"
	"os"

	goprovider "github.com/pulumi/pulumi-go-provider"
	host "github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// Server is the framework's server, but takes no Output values: neither of the official providers does.
type Server struct {
	rpc.ResourceProviderServer
}

// Configure answers what values the engine may send.
func (s Server) Configure(ctx context.Context, req *rpc.ConfigureRequest) (*rpc.ConfigureResponse, error) {
	resp, err := s.ResourceProviderServer.Configure(ctx, req)
	if err == nil {
		resp.AcceptOutputs, resp.AcceptResources = false, false
	}
	return resp, err
}

// Main serves until the engine ends it; wrap may override calls of the server.
func Main(name, version string, p goprovider.Provider, wrap func(Server) rpc.ResourceProviderServer) {
	err := host.Main(name, func(h *host.HostClient) (rpc.ResourceProviderServer, error) {
		raw, err := goprovider.RawServer(name, version, p)(h)
		return wrap(Server{raw}), err
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-resource-%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Plain is m without secret marks and without nulls.
func Plain(m property.Map) resource.PropertyMap {
	return plain(resource.NewProperty(resource.ToResourcePropertyMap(m))).ObjectValue()
}

func plain(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsArray():
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = plain(e)
		}
		return resource.NewProperty(out)
	case v.IsObject():
		out := resource.PropertyMap{}
		for k, e := range v.ObjectValue() {
			if !e.IsNull() {
				out[k] = plain(e)
			}
		}
		return resource.NewProperty(out)
	}
	return v
}
