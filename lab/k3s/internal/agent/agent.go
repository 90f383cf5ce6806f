// Package agent is the node part of k3s, of servers and agents alike: it fetches configuration and certificates from a
// supervisor and runs the kubelet.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	cloudapi "k8s.io/cloud-provider/api"

	"k3s-ha/lab/k3s/internal/balancer"
	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/node"
	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/supervisor"
)

const (
	// apiserverLimit is how long an agent waits for an apiserver before it gives up and is restarted.
	apiserverLimit = 15 * time.Minute
	pollInterval   = 2 * time.Second
	retryInterval  = 5 * time.Second
)

// ClusterConfig is what /v1-k3s/config says.
type ClusterConfig struct {
	// Critical values must be equal on all servers.
	Critical               map[string]string `json:"critical"`
	HTTPSPort              int               `json:"httpsPort"`
	ClusterDomain          string            `json:"clusterDomain"`
	DisableCloudController bool              `json:"disableCloudController"`
}

// Agent runs one node.
type Agent struct {
	Settings  *config.Settings
	Identity  host.Identity
	ServerURL string
	Token     string
	DataDir   string
	// Server is set for a server's own node: it talks to its own supervisor, never through a balancer.
	Server bool
	// APIServerReady, for a server, is closed when its apiserver is.
	APIServerReady <-chan struct{}

	client   *supervisor.Client
	balancer *balancer.Balancer
	cluster  ClusterConfig
}

func (a *Agent) path(name string) string { return filepath.Join(a.DataDir, "agent", name) }

// Run joins the node and returns when its Node is initialized; the kubelet goes on until the context ends. A wrong token
// or an absent server is waited for, for ever. Errors: settings that cannot work, no apiserver for 15 min.
func (a *Agent) Run(ctx context.Context) error {
	supervisorURL := a.ServerURL
	if !a.Server && !a.Settings.Bool("disable-apiserver-lb") {
		listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Settings.Int("lb-server-port")))
		b, err := balancer.Start(ctx, listen, a.ServerURL, a.path("etc/"+balancer.Name+".json"))
		if err != nil {
			return err
		}
		a.balancer = b
		supervisorURL = b.URL()
	}
	if err := a.fetch(ctx, supervisorURL); err != nil {
		return err
	}
	if a.Server {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.APIServerReady:
		}
	} else if err := a.waitAPIServer(ctx); err != nil {
		return err
	}
	kubelet := node.Kubelet{
		NodeName: a.Identity.Name, NodeIPs: a.Identity.IPs, Labels: a.Settings.List("node-label"),
		Taints: a.Settings.List("node-taint"), Kubeconfig: a.path("kubelet.kubeconfig"),
		RootDir: host.Path("/var/lib/kubelet"), StateFile: host.Path("/run/k3s/fake-containers.json"), External: !a.cluster.DisableCloudController,
		Args: a.Settings.List("kubelet-arg"), ConfigDir: a.path("etc/kubelet.conf.d"),
	}
	logrus.Infof("Running kubelet %v", config.ComponentArgs(map[string]string{
		"hostname-override": kubelet.NodeName, "node-ip": strings.Join(kubelet.NodeIPs, ","),
		"node-labels": strings.Join(kubelet.Labels, ","), "kubeconfig": kubelet.Kubeconfig,
	}, kubelet.Args))
	if err := kubelet.Run(ctx); err != nil {
		return fmt.Errorf("kubelet exited: %w", err)
	}
	return a.waitNode(ctx, kubelet)
}

// wait sleeps d plus up to half of it; false when the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d + rand.N(d/2)):
		return true
	}
}

// fetch tries until configuration and certificates are there.
func (a *Agent) fetch(ctx context.Context, supervisorURL string) error {
	for {
		c, err := supervisor.Connect(ctx, supervisorURL, a.Token, "node")
		if err == nil {
			a.client = c
			break
		}
		logrus.Errorf("Failed to validate connection to cluster at %s: %v", supervisorURL, err)
		if !wait(ctx, pollInterval) {
			return ctx.Err()
		}
	}
	a.client.WithCertificate(a.path("client-kubelet.crt"), a.path("client-kubelet.key"))
	retry := retryInterval
	if a.Server {
		retry = time.Second
	}
	for {
		err := a.fetchOnce(ctx)
		if err == nil {
			return nil
		}
		logrus.Infof("Waiting to retrieve agent configuration; server is not ready: %v", err)
		if !wait(ctx, retry) {
			return ctx.Err()
		}
	}
}

func (a *Agent) fetchOnce(ctx context.Context) error {
	data, err := a.client.Get(ctx, "/v1-k3s/config")
	if err != nil {
		return fmt.Errorf("failed to retrieve configuration from server: %w", err)
	}
	if err := json.Unmarshal(data, &a.cluster); err != nil {
		return err
	}
	for _, f := range []string{"client-ca.crt", "server-ca.crt"} {
		data, err := a.client.Get(ctx, "/v1-k3s/"+f)
		if err != nil {
			return err
		}
		if err := pki.WriteFile(a.path(f), data, 0o600); err != nil {
			return err
		}
	}
	password, err := host.NodePassword()
	if err != nil {
		return err
	}
	header := http.Header{}
	header.Set("k3s-Node-Name", a.Identity.Name)
	header.Set("k3s-Node-Password", password)
	header.Set("k3s-Node-IP", strings.Join(a.Identity.IPs, ","))
	for _, name := range []string{"serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		key, err := pki.EnsureKey(a.path(name + ".key"))
		if err != nil {
			return err
		}
		csr, err := pki.NewRequest(key)
		if err != nil {
			return err
		}
		cert, err := a.client.Do(ctx, http.MethodPost, "/v1-k3s/"+name+".crt", header, csr)
		if errors.Is(err, supervisor.ErrForbidden) {
			return fmt.Errorf("Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag", host.Path("/etc/rancher/node/password"))
		}
		if err != nil {
			return err
		}
		if err := pki.WriteFile(a.path(name+".crt"), cert, 0o600); err != nil {
			return err
		}
	}
	// With the balancer everything local goes to it, without it to `server` itself.
	url := a.ServerURL
	if a.balancer != nil {
		url = a.balancer.URL()
	}
	for file, cert := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller"} {
		data, err := host.Kubeconfig("local", url, a.path("server-ca.crt"), a.path(cert+".crt"), a.path(cert+".key"), false)
		if err != nil {
			return err
		}
		if err := pki.WriteFile(a.path(file+".kubeconfig"), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// waitAPIServer waits for the supervisor's readyz and an apiserver, then lets the balancer know all servers.
func (a *Agent) waitAPIServer(ctx context.Context) error {
	deadline := time.Now().Add(apiserverLimit)
	logrus.Infof("Waiting for API server to become available")
	for {
		_, err := a.client.Get(ctx, "/v1-k3s/readyz")
		if err == nil {
			var c *kubernetes.Clientset
			if c, err = a.kube(); err == nil {
				// Not /readyz itself: the kubelet's identity may read it only through system:authenticated.
				_, err = c.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(10 * time.Second).DoRaw(ctx)
			}
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("failed to wait for apiserver ready: %w", err)
		}
		logrus.Debugf("apiserver not ready: %v", err)
		if !wait(ctx, pollInterval) {
			return ctx.Err()
		}
	}
	go a.followServers(ctx)
	return nil
}

func (a *Agent) kube() (*kubernetes.Clientset, error) {
	c, err := clientcmd.BuildConfigFromFlags("", a.path("kubelet.kubeconfig"))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(c)
}

// followServers asks for the advertised servers, keeps one connection to each as its tunnel, and tells the balancer if there is one: as in
// k3s, tunnels go to the servers themselves with disable-apiserver-lb, too.
func (a *Agent) followServers(ctx context.Context) {
	tunnels := map[string]context.CancelFunc{}
	for {
		var list []string
		data, err := a.client.Get(ctx, "/v1-k3s/apiservers")
		if err == nil {
			err = json.Unmarshal(data, &list)
		}
		if err != nil {
			logrus.Infof("Failed to retrieve list of apiservers from server: %v", err)
		} else if len(list) > 0 {
			if a.balancer != nil {
				a.balancer.Update(list)
			}
			known := map[string]bool{}
			for _, s := range list {
				known[s] = true
				if tunnels[s] == nil {
					c, cancel := context.WithCancel(ctx)
					tunnels[s] = cancel
					go a.tunnel(c, s)
				}
			}
			for s, cancel := range tunnels {
				if !known[s] {
					logrus.Infof("Stopped tunnel to %s", s)
					cancel()
					delete(tunnels, s)
				}
			}
		}
		if !wait(ctx, retryInterval) {
			return
		}
	}
}

func (a *Agent) tunnel(ctx context.Context, server string) {
	for ctx.Err() == nil {
		logrus.Infof("Connecting to proxy url=\"wss://%s/v1-k3s/connect\"", server)
		err := a.client.Hold(ctx, server, func() { a.setHealth(server, true) })
		if ctx.Err() != nil {
			return
		}
		logrus.Infof("Remotedialer proxy error; reconnecting: %v url=\"wss://%s/v1-k3s/connect\"", err, server)
		a.setHealth(server, false)
		if !wait(ctx, time.Second) {
			return
		}
	}
}

func (a *Agent) setHealth(server string, up bool) {
	if a.balancer != nil {
		a.balancer.SetHealth(server, up)
	}
}

// waitNode waits for the Node, adds its annotations and waits until the cloud controller has initialized it.
func (a *Agent) waitNode(ctx context.Context, k node.Kubelet) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	annotations := map[string]string{
		"k3s.io/hostname": a.Identity.Name, "k3s.io/internal-ip": strings.Join(a.Identity.IPs, ","),
		"k3s.io/node-args": nodeArgs(a.Settings.Given), "k3s.io/node-env": nodeEnv(),
	}
	if len(a.Identity.ExternalIPs) > 0 {
		annotations["k3s.io/external-ip"] = strings.Join(a.Identity.ExternalIPs, ",")
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	annotated := false
	for {
		n, err := client.CoreV1().Nodes().Get(ctx, a.Identity.Name, metav1.GetOptions{})
		if err == nil && !annotated {
			if _, err = client.CoreV1().Nodes().Patch(ctx, a.Identity.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err == nil {
				annotated = true
				logrus.Infof("Annotations and labels have been set successfully on node: %s", a.Identity.Name)
			}
		}
		if err == nil && annotated && !hasTaint(n, cloudapi.TaintExternalCloudProvider) {
			return nil
		}
		if !wait(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

func hasTaint(n *corev1.Node, key string) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == key {
			return true
		}
	}
	return false
}
