// Package cli is the command line: k3s's commands and exit codes.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/grpclog"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"

	"k3s-ha/lab/k3s/internal/agent"
	"k3s-ha/lab/k3s/internal/bucket"
	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/server"
	"k3s-ha/lab/k3s/internal/supervisor"
)

// commit is set at build to the first eight digits of the sources' hash.
var commit = "unknown"

// Main runs the command in os.Args and exits with 1 when it fails.
func Main() {
	// Each of kube-apiserver's many etcd clients would report its cancelled first dials.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	args := os.Args[1:]
	if name := filepath.Base(os.Args[0]); name == "kubectl" || name == "crictl" || name == "ctr" {
		args = append([]string{name}, args...)
	}
	if err := run(args); err != nil {
		logrus.Fatal(err)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("no command; one of server, agent, kubectl, token, etcd-snapshot, certificate")
	}
	rest := args[1:]
	switch args[0] {
	case "--version", "-v", "version":
		fmt.Printf("k3s version %s (%s)\n", version.Get().GitVersion, commit)
		fmt.Printf("stand-in for the lab of k3s-ha, not k3s; %s\n", version.Get().GoVersion)
		return nil
	case "server":
		return runServer(rest)
	case "agent":
		return runAgent(rest)
	case "kubectl":
		return runKubectl(rest)
	case "token":
		return runToken(rest)
	case "etcd-snapshot":
		return runSnapshot(rest)
	case "certificate":
		return runCertificate(rest)
	case "secrets-encrypt":
		return runEncrypt(rest)
	case "crictl", "ctr", "check-config", "completion":
		return fmt.Errorf("k3s %s is not modelled by this stand-in", args[0])
	}
	return fmt.Errorf("No help topic for '%s'", args[0])
}

// tune keeps five hosts on one small machine possible: a smaller heap for somewhat more collection.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(60)
	}
}

func signals() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// resolve reads a role's settings; like k3s it prints what is wrong with flags and exits with 1.
func resolve(role string, args []string) *config.Settings {
	s, err := config.Resolve(role, args, os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf("k3s %s: keys are those of k3s %s\n", role, version.Get().GitVersion)
		for _, k := range config.KeysOf(role) {
			fmt.Printf("   --%s\n", k.Name)
		}
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "Incorrect Usage: %v\n\n", err)
		logrus.Fatal(err)
	}
	if s.Bool("debug") {
		logrus.SetLevel(logrus.DebugLevel)
	}
	for _, w := range s.Warnings {
		logrus.Warn(w)
	}
	return s
}

func runServer(args []string) error {
	s := resolve("server", args)
	tune()
	ctx, stop := signals()
	defer stop()
	logrus.Infof("Starting k3s %s (%s), stand-in", version.Get().GitVersion, commit)
	return server.Run(ctx, s)
}

func runAgent(args []string) error {
	s := resolve("agent", args)
	tune()
	tok, err := s.Secret("token")
	if err != nil {
		return err
	}
	if tok == "" {
		return errors.New("--token is required")
	}
	if s.String("server") == "" {
		return errors.New("--server is required")
	}
	id, err := host.NewIdentity(s)
	if err != nil {
		return err
	}
	dataDir, err := filepath.Abs(s.String("data-dir"))
	if err != nil {
		return err
	}
	ctx, stop := signals()
	defer stop()
	logrus.Infof("Starting k3s agent %s (%s), stand-in", version.Get().GitVersion, commit)
	a := &agent.Agent{Settings: s, Identity: id, ServerURL: strings.TrimSuffix(s.String("server"), "/"), Token: tok, DataDir: dataDir}
	if err := a.Run(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	logrus.Infof("k3s agent is up and running")
	if err := host.Notify("READY=1"); err != nil {
		logrus.Errorf("sd_notify: %v", err)
	}
	<-ctx.Done()
	return nil
}

func runKubectl(args []string) error {
	if os.Getenv("KUBECONFIG") == "" {
		given := false
		for _, a := range args {
			given = given || strings.HasPrefix(a, "--kubeconfig")
		}
		path := host.Path("/etc/rancher/k3s/k3s.yaml")
		if f, err := os.Open(path); err == nil {
			f.Close()
			os.Setenv("KUBECONFIG", path)
		} else if !given && os.IsPermission(err) {
			logrus.Warnf("Unable to read %s, please start server with --write-kubeconfig-mode or --write-kubeconfig-group to modify kube config permissions", path)
		}
	}
	os.Args = append([]string{"kubectl"}, args...)
	kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	return nil
}

// local returns a client to this host's supervisor, as `server`, for the commands that act through it. The data folder
// and the port are those of the configuration file s unless given.
func local(s *config.Settings, fs *flag.FlagSet, args []string) (*supervisor.Client, error) {
	dataDir := fs.String("data-dir", s.String("data-dir"), "")
	fs.StringVar(dataDir, "d", *dataDir, "")
	url := fs.String("server", "https://"+net.JoinHostPort(host.Loopback(), s.String("https-listen-port")), "")
	fs.StringVar(url, "s", *url, "")
	tok := fs.String("token", "", "")
	for _, alias := range []string{"t", "etcd-token"} {
		fs.StringVar(tok, alias, "", "")
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if *tok == "" {
		b, err := os.ReadFile(filepath.Join(*dataDir, "server", "token"))
		if err != nil {
			return nil, err
		}
		*tok = strings.TrimSpace(string(b))
	}
	return supervisor.Connect(context.Background(), *url, *tok, "server")
}

func runToken(args []string) error {
	if len(args) == 0 || args[0] != "rotate" {
		return errors.New("only `k3s token rotate --new-token TOKEN` is modelled by this stand-in")
	}
	fs := flag.NewFlagSet("token rotate", flag.ContinueOnError)
	newToken := fs.String("new-token", "", "")
	fmt.Println("\033[33mWARNING\033[0m: Recommended to keep a record of the old token. If restoring from a snapshot, you must use the token associated with that snapshot.")
	s, err := config.Resolve("server", nil, os.Getenv)
	if err != nil {
		return err
	}
	c, err := local(s, fs, args[1:])
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"newToken": *newToken})
	if err != nil {
		return err
	}
	if _, err := c.Do(context.Background(), "PUT", "/v1-k3s/token", nil, body); err != nil {
		return err
	}
	fmt.Println("Token rotated, restart k3s nodes with new token")
	return nil
}

// runCertificate is `k3s certificate rotate` for all services.
func runCertificate(args []string) error {
	if len(args) == 0 || args[0] != "rotate" {
		return errors.New("only `k3s certificate rotate` is modelled by this stand-in")
	}
	fs := flag.NewFlagSet("certificate rotate", flag.ContinueOnError)
	dataDir := fs.String("data-dir", "/var/lib/rancher/k3s", "")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	return pki.Rotate(*dataDir)
}

func runSnapshot(args []string) error {
	operation := "save"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		operation, args = args[0], args[1:]
	}
	if operation == "ls" {
		operation = "list"
	}
	s, err := config.Resolve("server", nil, os.Getenv)
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("etcd-snapshot "+operation, flag.ContinueOnError)
	for _, key := range bucket.Keys {
		s.Flag(fs, key, key, strings.TrimPrefix(key, "etcd-"))
	}
	name := fs.String("name", "on-demand", "")
	dir := fs.String("etcd-snapshot-dir", "", "")
	fs.StringVar(dir, "dir", "", "")
	retention := fs.Int("snapshot-retention", s.Int("etcd-snapshot-retention"), "")
	fs.IntVar(retention, "etcd-snapshot-retention", *retention, "")
	compress := fs.Bool("snapshot-compress", false, "")
	output := fs.String("output", "table", "")
	fs.StringVar(output, "o", "table", "")
	c, err := local(s, fs, args)
	if err != nil {
		return err
	}
	req := supervisor.SnapshotRequest{Operation: operation, Names: []string{*name}, Dir: *dir, Retention: *retention, Compress: *compress}
	// As k3s: `save` prunes nothing here, and in the bucket only by a retention that was set for it.
	given := s.IsSet("etcd-snapshot-retention") || *retention != s.Int("etcd-snapshot-retention")
	if req.S3 = bucket.FromConfig(s, *retention, given); operation == "save" {
		req.S3 = bucket.FromConfig(s, 0, true)
	}
	c.Timeout = 2 * time.Minute
	if req.S3 != nil {
		c.Timeout += req.S3.Timeout
	}
	if operation == "delete" {
		req.Names = fs.Args()
	} else if operation == "save" && fs.NArg() > 0 {
		return errors.New("this command does not take any arguments")
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	data, err := c.Do(context.Background(), "POST", "/db/snapshot", nil, body)
	if err != nil {
		return fmt.Errorf("see server log for details: %w", err)
	}
	var list []struct {
		Name    string
		Path    string
		Size    int64
		Created time.Time
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	switch {
	case *output == "json":
		fmt.Print(string(data))
	case operation == "list":
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
		defer w.Flush()
		fmt.Fprint(w, "Name\tLocation\tSize\tCreated\n")
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", s.Name, s.Path, s.Size, s.Created.Format(time.RFC3339))
		}
	case operation == "save":
		for _, s := range list {
			logrus.Infof("Snapshot %s saved.", s.Name)
		}
	case operation == "prune":
		for _, s := range list {
			logrus.Infof("Snapshot %s deleted.", s.Name)
		}
	default:
		for _, n := range req.Names {
			logrus.Infof("Snapshot %s deleted.", n)
		}
	}
	return nil
}
