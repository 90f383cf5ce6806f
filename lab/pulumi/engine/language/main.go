// pulumi-language-nodejs: runs Node.js programs and policy packs for the official engine, as its own language host does.
// The engine's module does not carry that host. What it has to answer: LanguageRuntime in sdk/v3/proto/pulumi/language.proto.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/shlex"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The program's error has been shown already (cmd/run/index.ts of the SDK).
const exitLogged = 32

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-nodejs:", err)
		os.Exit(1)
	}
}

func serve() error {
	// The engine sends SIGINT to nobody but us; it asks for an end by Cancel.
	host := &host{running: map[*exec.Cmd]bool{}}
	// Its address is the last word of the command line; an engine that we are attached to tells it by Handshake.
	if len(os.Args) > 1 {
		host.engine = os.Args[len(os.Args)-1]
		if err := rpcutil.Healthcheck(context.Background(), host.engine, 5*time.Second, host.abandoned); err != nil {
			return err
		}
	}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, host)
			return nil
		},
	})
	if err != nil {
		return err
	}
	// The first line is where the engine finds us.
	fmt.Println(handle.Port)
	return <-handle.Done
}

type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine  string
	mutex   sync.Mutex
	running map[*exec.Cmd]bool
}

func (h *host) Handshake(_ context.Context, req *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = req.EngineAddress
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

// GetRequiredPackages: the providers whose SDKs are dependencies, so that the engine misses them before it begins.
func (h *host) GetRequiredPackages(_ context.Context, req *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	dependencies, err := dependencies(req.Info.ProgramDirectory)
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetRequiredPackagesResponse{}
	for _, d := range dependencies {
		if !d.Pulumi.Resource {
			continue
		}
		name := cmp.Or(d.Pulumi.Name, strings.TrimPrefix(d.Name, "@pulumi/"))
		response.Packages = append(response.Packages, &pulumirpc.PackageDependency{
			Name: name, Kind: "resource", Version: "v" + d.Version, Server: d.Pulumi.Server,
		})
	}
	return response, nil
}

func (h *host) GetProgramDependencies(_ context.Context, req *pulumirpc.GetProgramDependenciesRequest) (*pulumirpc.GetProgramDependenciesResponse, error) {
	dependencies, err := dependencies(req.Info.ProgramDirectory)
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, d := range dependencies {
		response.Dependencies = append(response.Dependencies, &pulumirpc.DependencyInfo{Name: d.Name, Version: d.Version})
	}
	return response, nil
}

func (h *host) About(context.Context, *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	node := exec.Command("node", "--version")
	out, err := node.Output()
	return &pulumirpc.AboutResponse{Executable: node.Path, Version: strings.TrimSpace(string(out))}, err
}

// RuntimeOptionsPrompts: there is nothing to choose.
func (h *host) RuntimeOptionsPrompts(context.Context, *pulumirpc.RuntimeOptionsRequest) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// InstallDependencies: `pulumi install`.
func (h *host) InstallDependencies(req *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer) error {
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	if _, err := os.Stat(filepath.Join(req.Info.ProgramDirectory, "package-lock.json")); err != nil {
		cmd.Args[1] = "install"
	}
	cmd.Dir = req.Info.ProgramDirectory
	cmd.Stdout, cmd.Stderr = writers(func(stdout, stderr []byte) error {
		return stream.Send(&pulumirpc.InstallDependenciesResponse{Stdout: stdout, Stderr: stderr})
	})
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w", strings.Join(cmd.Args, " "), cmd.Dir, err)
	}
	return nil
}

func (h *host) Run(_ context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	config, _ := json.Marshal(req.Config) // Texts always have a JSON.
	secrets, _ := json.Marshal(append([]string{}, req.ConfigSecretKeys...))
	args := []string{
		"--monitor", req.MonitorAddress, "--engine", h.engine, "--organization", req.Organization,
		"--project", req.Project, "--root-directory", req.Info.RootDirectory, "--stack", req.Stack,
		"--pwd", req.Pwd, "--parallel", strconv.Itoa(int(req.Parallel)),
	}
	if req.DryRun {
		args = append(args, "--dry-run")
	}
	cmd, err := node(context.Background(), req.Info, "run", append(append(args, req.Info.EntryPoint), req.Args...))
	if err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}
	cmd.Dir = req.Pwd
	cmd.Env = append(cmd.Env, "PULUMI_CONFIG="+string(config), "PULUMI_CONFIG_SECRET_KEYS="+string(secrets))
	// Lines of ours are lines of the program for the engine.
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	code, err := h.wait(cmd)
	switch {
	case err != nil:
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	case code == exitLogged:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case code != 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program exited with non-zero exit code: %d", code)}, nil
	}
	return &pulumirpc.RunResponse{}, nil
}

// RunPlugin: a policy pack, or another plugin written for Node.js; ends with it, or when the engine goes.
func (h *host) RunPlugin(req *pulumirpc.RunPluginRequest, stream pulumirpc.LanguageRuntime_RunPluginServer) error {
	// run-plugin has the engine's address among the arguments.
	script, folder, args := "run-plugin", req.Pwd, append([]string{req.Info.ProgramDirectory}, req.Args...)
	if req.Kind == "analyzer" {
		// run-policy-pack wants it first; @pulumi/policy reads the pack's version from the folder.
		script, folder = "run-policy-pack", req.Info.ProgramDirectory
		args = append(req.Args[:min(1, len(req.Args))], req.Info.ProgramDirectory)
	}
	cmd, err := node(stream.Context(), req.Info, script, args)
	if err != nil {
		return err
	}
	cmd.Dir = folder
	cmd.Env = append(req.Env, cmd.Env[len(os.Environ()):]...)
	cmd.Stdout, cmd.Stderr = writers(func(stdout, stderr []byte) error {
		if stderr != nil {
			return stream.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stderr{Stderr: stderr}})
		}
		return stream.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stdout{Stdout: stdout}})
	})
	code, err := h.wait(cmd)
	if err != nil {
		return err
	}
	return stream.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: int32(code)}})
}

// Cancel: Ctrl-C; what runs is told to end.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for cmd := range h.running {
		_ = cmd.Process.Signal(os.Interrupt)
	}
	return &emptypb.Empty{}, nil
}

// abandoned: an engine that was killed says nothing any more.
func (h *host) abandoned() {
	h.mutex.Lock()
	for cmd := range h.running {
		_ = cmd.Process.Kill()
	}
	os.Exit(1)
}

// wait starts a command and gives its exit code.
func (h *host) wait(cmd *exec.Cmd) (int, error) {
	h.mutex.Lock()
	err := cmd.Start()
	if err == nil {
		h.running[cmd] = true
	}
	h.mutex.Unlock()
	if err != nil {
		return 0, err
	}
	err = cmd.Wait()
	h.mutex.Lock()
	delete(h.running, cmd)
	h.mutex.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// node is `node <nodeargs> node_modules/@pulumi/pulumi/cmd/<script> <args>` with the runtime options of Pulumi.yaml;
// it is killed when ctx ends.
func node(ctx context.Context, info *pulumirpc.ProgramInfo, script string, args []string) (*exec.Cmd, error) {
	run := find(info.ProgramDirectory, filepath.Join("@pulumi", "pulumi", "cmd", script, "index.js"))
	if run == "" {
		return nil, errors.New("the Pulumi SDK has not been installed: run npm ci in " + info.ProgramDirectory)
	}
	options := info.Options.AsMap()
	given, _ := options["nodeargs"].(string)
	words, err := shlex.Split(given)
	if err != nil {
		return nil, fmt.Errorf("runtime option nodeargs %q: %w", given, err)
	}
	cmd := exec.CommandContext(ctx, "node", append(append(words, filepath.Dir(run)), args...)...)
	cmd.Env = os.Environ()
	if typescript, set := options["typescript"].(bool); typescript || !set {
		cmd.Env = append(cmd.Env, "PULUMI_NODEJS_TYPESCRIPT=true")
	}
	tsconfig := filepath.Join(info.ProgramDirectory, "tsconfig.json")
	if _, err := os.Stat(tsconfig); err == nil {
		cmd.Env = append(cmd.Env, "PULUMI_NODEJS_TSCONFIG_PATH="+tsconfig)
	}
	return cmd, nil
}

// find looks for a file below node_modules of this folder and of those above it, as Node.js does; empty if there is none.
func find(folder, file string) string {
	for {
		path := filepath.Join(folder, "node_modules", file)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if filepath.Dir(folder) == folder {
			return ""
		}
		folder = filepath.Dir(folder)
	}
}

// A package.json, as far as it matters here.
type manifest struct {
	Name            string            `json:"name"`
	Version         string            `json:"version"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	Pulumi          struct {
		Resource bool   `json:"resource"`
		Name     string `json:"name"`
		Server   string `json:"server"`
	} `json:"pulumi"`
}

func read(file string) (m manifest, err error) {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return m, err
}

// dependencies are the installed packages that the program's package.json names.
func dependencies(folder string) (installed []manifest, err error) {
	own, err := read(filepath.Join(folder, "package.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	maps.Copy(names, own.Dependencies)
	maps.Copy(names, own.DevDependencies)
	for name := range names {
		if file := find(folder, filepath.Join(name, "package.json")); file != "" {
			d, err := read(file)
			if err != nil {
				return nil, err
			}
			installed = append(installed, d)
		}
	}
	return installed, nil
}

// writers are the two streams of a command as messages, of which each has a part of one stream.
func writers(send func(stdout, stderr []byte) error) (stdout, stderr io.Writer) {
	var mutex sync.Mutex
	locked := func(out, err []byte) error {
		mutex.Lock()
		defer mutex.Unlock()
		return send(out, err)
	}
	return writer(func(p []byte) error { return locked(p, nil) }), writer(func(p []byte) error { return locked(nil, p) })
}

// writer makes an io.Writer of a function that gets a copy of what is written.
type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) {
	return len(p), w(append([]byte(nil), p...))
}
