package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The plugins under test, by name: the lab's always, the official one where LAB_PULUMI has it. All tests run on both.
var binaries = map[string]string{}

const (
	lab      = "lab"
	official = "official"
	file     = "pulumi-resource-command"
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "command-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binaries[lab] = filepath.Join(dir, file)
		// As the lab builds it, so that what it has compiled is of use.
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binaries[lab], ".")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Printf("go build: %v\n%s", err, out)
			return 1
		}
		fmt.Println("tested: the lab's provider, built from this folder")
		given := filepath.Join(os.Getenv("LAB_PULUMI"), file)
		switch _, err := os.Stat(given); {
		case os.Getenv("LAB_PULUMI") == "":
			fmt.Println("not tested: the official provider (LAB_PULUMI names no folder)")
		case err != nil:
			fmt.Println("not tested: the official provider:", err)
		default:
			binaries[official] = given
			fmt.Println("tested: the official provider,", given)
		}
		// An agent of whoever runs the tests would be part of each login.
		os.Unsetenv("SSH_AUTH_SOCK")
		return m.Run()
	}())
}

// both runs a test on each plugin.
func both(t *testing.T, test func(t *testing.T, p *provider)) {
	t.Parallel()
	for name := range binaries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, name))
		})
	}
}

// provider is a running plugin, and the engine that it logs to.
type provider struct {
	rpc.ResourceProviderClient
	rpc.UnimplementedEngineServer
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	mu     sync.Mutex
	logged []string
}

func start(t *testing.T, name string, env ...string) *provider {
	t.Helper()
	p := &provider{t: t, name: name}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	engine := grpc.NewServer()
	rpc.RegisterEngineServer(engine, p)
	go engine.Serve(listener)
	t.Cleanup(engine.Stop)
	p.cmd = exec.Command(binaries[name], listener.Addr().String())
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = append(os.Environ(), env...)
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	port, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	conn, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(port),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	p.ResourceProviderClient = rpc.NewResourceProviderClient(conn)
	_, err = p.Configure(p.ctx(), &rpc.ConfigureRequest{
		AcceptSecrets: true, AcceptResources: true, SendsOldInputs: true, SendsOldInputsToDelete: true,
		Args: &structpb.Struct{},
	})
	must(t, err)
	return p
}

// Log takes what the provider shows: severity, where it is only a status (as lines of commands are), and the text.
func (p *provider) Log(_ context.Context, r *rpc.LogRequest) (*emptypb.Empty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind := strings.ToLower(r.Severity.String())
	if r.Ephemeral {
		kind += " status"
	}
	if r.Severity != rpc.LogSeverity_DEBUG {
		p.logged = append(p.logged, kind+": "+r.Message)
	}
	return &emptypb.Empty{}, nil
}

// logs are the messages since the last call.
func (p *provider) logs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	logs := p.logged
	p.logged = nil
	return logs
}

func (p *provider) ctx() context.Context { return within(p.t, time.Minute) }

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// values are properties in the words of Go; see value.
type values = map[string]any

const (
	command_ = "command:remote:Command"
	copy_    = "command:remote:CopyToRemote"
)

func urn(kind string) string { return "urn:pulumi:s::p::" + kind + "::x" }

// hidden marks a value as a secret, unknownValue one that a preview does not know.
type hidden struct{ any }

var unknownValue = resource.MakeComputed(resource.NewProperty(""))

func value(v any) resource.PropertyValue {
	return resource.NewPropertyValueRepl(v, nil, func(v any) (resource.PropertyValue, bool) {
		if h, ok := v.(hidden); ok {
			return resource.MakeSecret(value(h.any)), true
		}
		v2, ok := v.(resource.PropertyValue)
		return v2, ok
	})
}

var marshalling = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepResources: true}

func wire(t *testing.T, m any) *structpb.Struct {
	t.Helper()
	s, err := plugin.MarshalProperties(value(m).ObjectValue(), marshalling)
	must(t, err)
	return s
}

// unwire gives plain Go values again; secrets are hidden, unknown values are "<unknown>".
func unwire(t *testing.T, s *structpb.Struct) values {
	t.Helper()
	options := marshalling
	options.KeepOutputValues = true
	m, err := plugin.UnmarshalProperties(s, options)
	must(t, err)
	return words(resource.NewProperty(m)).(values)
}

func words(v resource.PropertyValue) any {
	switch {
	case v.IsOutput() && !v.OutputValue().Known:
		if v.OutputValue().Secret {
			return hidden{"<unknown>"}
		}
		return "<unknown>"
	case v.IsOutput():
		if v.OutputValue().Secret {
			return hidden{words(v.OutputValue().Element)}
		}
		return words(v.OutputValue().Element)
	case v.IsSecret():
		return hidden{words(v.SecretValue().Element)}
	case v.IsComputed():
		return "<unknown>"
	case v.IsArray():
		out := []any{}
		for _, e := range v.ArrayValue() {
			out = append(out, words(e))
		}
		return out
	case v.IsObject():
		out := values{}
		for k, e := range v.ObjectValue() {
			out[string(k)] = words(e)
		}
		return out
	case v.IsAsset():
		a := v.AssetValue()
		return values{"asset": a.Hash, "path": a.Path, "text": a.Text, "uri": a.URI}
	case v.IsArchive():
		a := v.ArchiveValue()
		return values{"archive": a.Hash, "path": a.Path, "uri": a.URI}
	}
	return v.V
}

func open(v any) any {
	if h, ok := v.(hidden); ok {
		return h.any
	}
	return v
}

// check is what the engine asks first; the answer's inputs go on to the other calls.
func (p *provider) check(kind string, inputs values) (*structpb.Struct, []string) {
	p.t.Helper()
	r, err := p.Check(p.ctx(), &rpc.CheckRequest{Urn: urn(kind), News: wire(p.t, inputs)})
	must(p.t, err)
	var failures []string
	for _, f := range r.Failures {
		failures = append(failures, f.Property+": "+f.Reason)
	}
	return r.Inputs, failures
}

func (p *provider) checked(kind string, inputs values) *structpb.Struct {
	p.t.Helper()
	s, failures := p.check(kind, inputs)
	if len(failures) > 0 {
		p.t.Fatal(failures)
	}
	return s
}

func (p *provider) createOf(kind string, inputs values) (*rpc.CreateResponse, error) {
	p.t.Helper()
	properties := p.checked(kind, inputs)
	return p.Create(p.ctx(), &rpc.CreateRequest{Urn: urn(kind), Name: "x", Type: kind, Properties: properties})
}

// made is a created command's outputs.
func (p *provider) made(inputs values) values {
	p.t.Helper()
	r, err := p.createOf(command_, inputs)
	must(p.t, err)
	return unwire(p.t, r.Properties)
}

// fails is the error of a command's creation.
func (p *provider) fails(inputs values) string {
	p.t.Helper()
	_, err := p.createOf(command_, inputs)
	if err == nil {
		p.t.Fatal("no error")
	}
	return message(err)
}

func message(err error) string { return status.Convert(err).Message() }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
