package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// refused are settings that would change what a patch does, or how; the lab does not use them.
var refused = []string{"kubeClientSettings", "rejectUnknownResources", "renderYamlToDirectory", "strictMode"}

// provider is what one block of provider settings makes.
type provider struct {
	ctx         context.Context
	clientSide  bool // enableServerSideApply is off
	skipUpdates bool
	forget      bool // deleteUnreachable
	roles       dynamic.ResourceInterface
	unreachable string // why the cluster cannot be asked; empty if it can
}

func (p *provider) configure(_ context.Context, r goprovider.ConfigureRequest) error {
	get := func(name string) string { return r.Variables["kubernetes:config:"+name] }
	on := func(name, env string) bool {
		if v, ok := r.Variables["kubernetes:config:"+name]; ok {
			return v == "true"
		}
		return os.Getenv(env) == "true"
	}
	for _, name := range refused {
		if get(name) != "" {
			return fmt.Errorf("the lab's plugin for kubernetes does not know the provider's setting %s (lab/pulumi/kubernetes)", name)
		}
	}
	p.skipUpdates = on("skipUpdateUnreachable", "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE")
	p.forget = on("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE")
	_, set := r.Variables["kubernetes:config:enableServerSideApply"]
	_, env := os.LookupEnv("PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY")
	p.clientSide = (set || env) && !on("enableServerSideApply", "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY")

	overrides := &clientcmd.ConfigOverrides{
		CurrentContext: get("context"),
		Context:        api.Context{Cluster: get("cluster"), Namespace: get("namespace")},
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), overrides)
	if text := get("kubeconfig"); text != "" {
		config, err := parseKubeconfig(text)
		if err != nil {
			p.unreachable = fmt.Sprintf("failed to parse kubeconfig data in `kubernetes:config:kubeconfig`- %v", err)
			return nil
		}
		loader = clientcmd.NewDefaultClientConfig(*config, overrides)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		p.unreachable = fmt.Sprintf("unable to load Kubernetes client configuration from kubeconfig file. Make sure you have: \n\n"+
			" \t • set up the provider as per https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/ \n\n %v", err)
		return nil
	}
	return p.connect(config)
}

// connect asks the cluster once. An operation that needs it fails later if it does not answer; a preview has no such need.
func (p *provider) connect(config *rest.Config) error {
	config.WarningHandler = rest.NoWarnings{}
	config.UserAgent = "pulumi-kubernetes/" + version
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	p.roles = client.Resource(schema.GroupVersionResource{
		Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles",
	})
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	_, err = discover.ServerVersion()
	if err == nil {
		return nil
	}
	// A silent server would let the second request wait as long as the first; its error differs in the path only.
	if broken := new(url.Error); errors.As(err, &broken) {
		p.unreachable = "unable to load schema information from the API server: " +
			strings.Replace(err.Error(), "/version?", "/openapi/v2?", 1)
		return nil
	}
	// The official provider reads all schemas at every start. They are large, and a patch needs none: they are asked for only
	// to learn what that request would say.
	if _, err := discover.OpenAPISchema(); err != nil {
		p.unreachable = fmt.Sprintf("unable to load schema information from the API server: %v", err)
	}
	return nil
}

// parseKubeconfig takes a kubeconfig's text or the name of a file with it.
func parseKubeconfig(text string) (*api.Config, error) {
	if _, err := os.Stat(text); err == nil {
		return clientcmd.LoadFromFile(text)
	}
	return clientcmd.Load([]byte(text))
}

// diffConfig replaces the provider, and so all it holds, when the cluster is another: by clusterIdentifier if both have one,
// otherwise by the cluster that the kubeconfig's context names.
func diffConfig(olds, news resource.PropertyMap) (*rpc.DiffResponse, error) {
	diff := olds.Diff(news)
	if diff == nil {
		return &rpc.DiffResponse{Changes: rpc.DiffResponse_DIFF_NONE}, nil
	}
	resp := &rpc.DiffResponse{Changes: rpc.DiffResponse_DIFF_SOME}
	if diff.Updated("clusterIdentifier") {
		resp.Replaces = []string{"clusterIdentifier"}
	}
	kept := diff.Same("clusterIdentifier") && news.HasValue("clusterIdentifier")
	replace := func(key string) {
		if !kept {
			resp.Replaces = append(resp.Replaces, key)
		}
	}
	clusterKeys := []string{"kubeconfig", "context", "cluster"}
	for _, key := range clusterKeys {
		if news[resource.PropertyKey(key)].IsComputed() {
			resp.Diffs = []string{key}
			replace(key)
			return resp, nil
		}
	}
	for _, key := range diff.ChangedKeys() {
		resp.Diffs = append(resp.Diffs, string(key))
	}
	was, err := activeCluster(olds)
	if err != nil {
		return nil, err
	}
	is, err := activeCluster(news)
	if err != nil {
		return nil, err
	}
	for _, key := range clusterKeys {
		if was != nil && is != nil && !reflect.DeepEqual(was, is) && slices.Contains(resp.Diffs, key) {
			replace(key)
		}
	}
	return resp, nil
}

// activeCluster is nil where the kubeconfig does not say which it is.
func activeCluster(settings resource.PropertyMap) (*api.Cluster, error) {
	kubeconfig := settings["kubeconfig"]
	if kubeconfig.IsNull() {
		return nil, nil
	}
	if !kubeconfig.IsString() {
		return nil, fmt.Errorf("unexpected kubeconfig format, type: %v", kubeconfig.TypeString())
	}
	config, err := parseKubeconfig(kubeconfig.StringValue())
	if err != nil {
		return nil, fmt.Errorf("failed to parse kubeconfig: %v", err)
	}
	name := config.CurrentContext
	if v := settings["context"]; v.IsString() {
		name = v.StringValue()
	}
	kubecontext := config.Contexts[name]
	if kubecontext == nil {
		return nil, nil
	}
	name = kubecontext.Cluster
	if v := settings["cluster"]; v.IsString() {
		name = v.StringValue()
	}
	return config.Clusters[name], nil
}
