// Package controlplane runs the real kube-apiserver, kube-controller-manager and kube-scheduler inside the k3s process.
package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// parse hands `--name=value` arguments to a component's own flags; an unknown one is an error as it is there.
func parse(component string, sets cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet(component, pflag.ContinueOnError)
	fs.Usage = func() {}
	globalflag.AddGlobalFlags(sets.FlagSet("global"), component, logs.SkipLoggingConfigurationFlags())
	for _, f := range sets.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}

// advertised reports another port than it listens on: the `kubernetes` service must point at 6443, where the
// supervisor hands requests to the apiserver's handler, not at the apiserver's own 6444.
type advertised struct {
	net.Listener
	port int
}

func (a advertised) Addr() net.Addr {
	addr, ok := a.Listener.Addr().(*net.TCPAddr)
	if !ok {
		return a.Listener.Addr()
	}
	return &net.TCPAddr{IP: addr.IP, Port: a.port, Zone: addr.Zone}
}

// APIServer is a prepared kube-apiserver.
type APIServer struct {
	// Handler is the whole chain with authentication and authorization; it may serve requests of any TLS listener
	// that asks for client certificates.
	Handler http.Handler
	run     func(context.Context) error
}

// NewAPIServer builds a kube-apiserver from its arguments. Its own port is the one in args; the cluster is told
// advertisePort.
func NewAPIServer(ctx context.Context, args []string, advertisePort int) (*APIServer, error) {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	s := options.NewServerRunOptions()
	if err := parse("kube-apiserver", s.Flags(), args); err != nil {
		return nil, err
	}
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return nil, utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	info := config.KubeAPIs.ControlPlane.Generic.SecureServing
	info.Listener = advertised{info.Listener, advertisePort}
	done, err := config.Complete()
	if err != nil {
		return nil, err
	}
	server, err := app.CreateServerChain(done)
	if err != nil {
		return nil, err
	}
	prepared, err := server.PrepareRun()
	if err != nil {
		return nil, err
	}
	return &APIServer{Handler: server.GenericAPIServer.Handler, run: prepared.Run}, nil
}

// Run serves until the context ends.
func (a *APIServer) Run(ctx context.Context) error { return a.run(ctx) }
