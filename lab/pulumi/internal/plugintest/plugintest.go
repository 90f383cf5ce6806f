// Package plugintest is a part of the tests, of nothing else: it drives a provider's binary as the engine does, over gRPC.
package plugintest

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
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Plugin is a running provider, and an engine that takes its messages.
type Plugin struct {
	rpc.ResourceProviderClient
	rpc.UnimplementedEngineServer
	mu   sync.Mutex
	logs []string
}

// Build compiles the package of the test as the lab does, so that what has been compiled is of use.
func Build(name string) (binary string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return "", nil, err
	}
	binary = filepath.Join(dir, name)
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, func() { os.RemoveAll(dir) }, err
}

// Start runs the binary until the test's end.
func Start(t *testing.T, binary string, env ...string) *Plugin {
	t.Helper()
	p := &Plugin{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	engine := grpc.NewServer()
	rpc.RegisterEngineServer(engine, p)
	go engine.Serve(listener)
	t.Cleanup(engine.Stop)

	cmd := exec.Command(binary, listener.Addr().String())
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), append([]string{"KUBECONFIG=/nonexistent"}, env...)...)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	check(t, err)
	conn, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(line), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	p.ResourceProviderClient = rpc.NewResourceProviderClient(conn)
	return p
}

func (p *Plugin) Log(_ context.Context, r *rpc.LogRequest) (*emptypb.Empty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.Ephemeral && r.Severity != rpc.LogSeverity_DEBUG {
		p.logs = append(p.logs, strings.ToLower(r.Severity.String())+": "+r.Message)
	}
	return &emptypb.Empty{}, nil
}

// Logs are the messages since the last call.
func (p *Plugin) Logs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	logs := p.logs
	p.logs = nil
	return logs
}

// Context ends with the test or after two minutes.
func Context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var options = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true}

// Struct is what the engine sends.
func Struct(t *testing.T, m resource.PropertyMap) *structpb.Struct {
	t.Helper()
	s, err := plugin.MarshalProperties(m, options)
	check(t, err)
	return s
}

// Map is what the engine makes of an answer.
func Map(t *testing.T, s *structpb.Struct) resource.PropertyMap {
	t.Helper()
	m, err := plugin.UnmarshalProperties(s, options)
	check(t, err)
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
