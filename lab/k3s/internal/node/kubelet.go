// Package node runs the hollow kubelet: the real kubelet over kubemark's fake container runtime.
package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	remote "k8s.io/cri-client/pkg"
	fakeremote "k8s.io/cri-client/pkg/fake"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubemark"
	"k8s.io/kubernetes/pkg/util/taints"

	"k3s-ha/lab/k3s/internal/config"
)

// Kubelet describes one node's kubelet.
type Kubelet struct {
	NodeName   string
	NodeIPs    []string
	Labels     []string // name=value
	Taints     []string // key=value:Effect
	Kubeconfig string
	RootDir    string // /var/lib/kubelet
	StateFile  string // what the fake runtime holds, below /run
	// External makes the kubelet register with the taint node.cloudprovider.kubernetes.io/uninitialized, which the
	// servers' cloud controller removes.
	External bool
	Args     []string // kubelet-arg
	// ConfigDir holds drop-in files; kubelet-arg wins over them, as a kubelet's flags do.
	ConfigDir string
}

// Client returns a client with the kubelet's identity.
func (k Kubelet) Client() (*kubernetes.Clientset, error) {
	c, err := clientcmd.BuildConfigFromFlags("", k.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(c)
}

// ParseLabels turns name=value items into a map.
func ParseLabels(items []string) (map[string]string, error) {
	out := map[string]string{}
	for _, i := range items {
		n, v, ok := strings.Cut(i, "=")
		if !ok || n == "" {
			return nil, fmt.Errorf("invalid node label %q", i)
		}
		out[n] = v
	}
	return out, nil
}

// Run starts the kubelet and returns once it runs.
func (k Kubelet) Run(ctx context.Context) error {
	labels, err := ParseLabels(k.Labels)
	if err != nil {
		return err
	}
	nodeTaints, err := parseTaints(k.Taints)
	if err != nil {
		return err
	}
	restConfig, err := clientcmd.BuildConfigFromFlags("", k.Kubeconfig)
	if err != nil {
		return err
	}
	restConfig.ContentType = "application/vnd.kubernetes.protobuf"
	restConfig.UserAgent = "k3s-kubelet"
	api, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return err
	}
	heartbeat := *restConfig
	heartbeat.Timeout = 10 * time.Second
	heartbeat.QPS = -1
	heartbeatClient, err := kubernetes.NewForConfig(&heartbeat)
	if err != nil {
		return err
	}

	f, c := kubemark.GetHollowKubeletConfig(&kubemark.HollowKubeletOptions{
		NodeName: k.NodeName, MaxPods: 110, NodeLabels: labels, RegisterWithTaints: nodeTaints,
	})
	_ = os.RemoveAll(f.RootDirectory) // a temporary folder made by kubemark
	if err := mergeDropIns(c, k.ConfigDir); err != nil {
		return err
	}
	// The kubelet's own flags decide what kubelet-arg may hold; what follows is not to be changed by them.
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	fs.Usage = func() {}
	f.AddFlags(fs)
	options.AddKubeletConfigFlags(fs, c)
	c.MaxOpenFiles = openFiles()
	if err := fs.Parse(config.ComponentArgs(nil, k.Args)); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	if err := options.ValidateKubeletFlags(f); err != nil {
		return fmt.Errorf("failed to validate kubelet flags: %w", err)
	}
	f.RootDirectory = k.RootDir
	f.NodeIP = strings.Join(k.NodeIPs, ",")
	if k.External {
		f.CloudProvider = "external"
	}
	c.StaticPodPath = ""
	c.PodLogsDir = filepath.Join(k.RootDir, "pod-logs")
	for _, d := range []string{k.RootDir, c.PodLogsDir} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return err
		}
	}
	// Nothing can be asked of a fake runtime: no port 10250.
	c.EnableServer = false
	c.ReadOnlyPort = 0
	// Without a disk to look at the eviction manager would complain every 10 s.
	c.EvictionHard, c.EvictionSoft, c.LocalStorageCapacityIsolation = nil, nil, false
	c.CgroupsPerQOS = false
	c.MakeIPTablesUtilChains = false
	c.ContainerLogMonitorInterval = metav1.Duration{Duration: 24 * time.Hour} // there are no container logs
	c.SyncFrequency = metav1.Duration{Duration: time.Minute}
	c.ProviderID = "k3s://" + k.NodeName

	runtime := fakeremote.NewFakeRemoteRuntime()
	endpoint := "unix://" + filepath.Join(k.RootDir, "fake-runtime.sock")
	if err := runtime.Start(endpoint); err != nil {
		return err
	}
	client, err := remote.NewRemoteRuntimeService(ctx, endpoint, 15*time.Second, noop.NewTracerProvider(), false)
	if err != nil {
		return err
	}
	service := &containers{RuntimeService: client, fake: runtime.RuntimeService, file: k.StateFile}
	if err := service.load(); err != nil {
		logrus.Warnf("Containers of the last run are forgotten: %v", err)
	}
	hollow := kubemark.NewHollowKubelet(f, c, api, heartbeatClient, hostInfo{&cadvisortest.Fake{NodeName: k.NodeName}},
		runtime.ImageService, service, cm.NewStubContainerManager())
	return kubeletapp.RunKubelet(ctx, &options.KubeletServer{
		KubeletFlags: *hollow.KubeletFlags, KubeletConfiguration: *hollow.KubeletConfiguration,
	}, hollow.KubeletDeps)
}

// hostInfo is kubemark's made-up machine with this host's own system and kernel.
type hostInfo struct{ *cadvisortest.Fake }

func (hostInfo) VersionInfo() (*cadvisorapi.VersionInfo, error) {
	out := &cadvisorapi.VersionInfo{ContainerOsVersion: "Linux"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	out.KernelVersion = unix.ByteSliceToString(u.Release[:])
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return out, nil // a system without it has no other name either
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			out.ContainerOsVersion = strings.Trim(v, `"`)
		}
	}
	return out, nil
}

func parseTaints(items []string) ([]v1.Taint, error) {
	if len(items) == 0 {
		return nil, nil
	}
	out, _, err := taints.ParseTaints(items)
	return out, err
}

// openFiles is what the kubelet sets as the process's limit: its own default as far as this host lets it. kubemark's 1024 would hold for the
// apiserver and the balancer in the same process too.
func openFiles() int64 {
	const standard = 1_000_000
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil && limit.Max < standard {
		return int64(limit.Max)
	}
	return standard
}
