package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
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
var refused = []string{
	"cluster", "context", "kubeClientSettings", "rejectUnknownResources", "renderYamlToDirectory", "skipUpdateUnreachable",
	"strictMode",
}

// cluster is what one block of provider settings makes.
type cluster struct {
	forget      bool // deleteUnreachable
	roles       dynamic.ResourceInterface
	unreachable string // why the cluster cannot be asked; empty if it can
}

// configure asks the cluster once. What needs it fails later if it does not answer; a preview does not need it.
func (c *cluster) configure(_ context.Context, r p.ConfigureRequest) error {
	get := func(name string) string { return r.Variables["kubernetes:config:"+name] }
	for _, name := range refused {
		if get(name) != "" {
			return fmt.Errorf("the lab's plugin lab/pulumi/kubernetes does not know the provider's setting %s", name)
		}
	}
	if get("enableServerSideApply") == "false" {
		return errors.New("patch resources require Server-Side Apply mode, which is enabled using the " +
			"`enableServerSideApply` Provider config")
	}
	c.forget = get("deleteUnreachable") == "true" || os.Getenv("PULUMI_K8S_DELETE_UNREACHABLE") == "true"
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(get("kubeconfig")))
	if err != nil {
		c.unreachable = fmt.Sprintf("failed to parse kubeconfig data in `kubernetes:config:kubeconfig`- %v", err)
		return nil
	}
	config.WarningHandler = rest.NoWarnings{}
	config.UserAgent = "pulumi-kubernetes/" + version
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	c.roles = client.Resource(schema.GroupVersionResource{
		Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles",
	})
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	// The official provider reads all schemas at every start, which are large and which a patch does not need. The error
	// of this small request differs in the path only.
	if _, err := discover.ServerVersion(); err != nil {
		c.unreachable = "unable to load schema information from the API server: " +
			strings.Replace(err.Error(), "/version?", "/openapi/v2?", 1)
	}
	return nil
}

// diffConfig replaces the provider, and so all it holds, when the cluster is another: by clusterIdentifier if both have
// one, otherwise by the cluster that the kubeconfig names.
func diffConfig(olds, news resource.PropertyMap) *rpc.DiffResponse {
	diff := olds.Diff(news)
	if diff == nil {
		return &rpc.DiffResponse{Changes: rpc.DiffResponse_DIFF_NONE}
	}
	resp := &rpc.DiffResponse{Changes: rpc.DiffResponse_DIFF_SOME}
	if diff.Updated("clusterIdentifier") {
		resp.Replaces = []string{"clusterIdentifier"}
	}
	another := news["kubeconfig"].IsComputed()
	if another {
		resp.Diffs = []string{"kubeconfig"}
	} else {
		for _, key := range diff.ChangedKeys() {
			resp.Diffs = append(resp.Diffs, string(key))
		}
		was, is := activeCluster(olds["kubeconfig"]), activeCluster(news["kubeconfig"])
		another = was != nil && is != nil && !reflect.DeepEqual(was, is)
	}
	kept := diff.Same("clusterIdentifier") && news.HasValue("clusterIdentifier")
	if another && !kept && slices.Contains(resp.Diffs, "kubeconfig") {
		resp.Replaces = append(resp.Replaces, "kubeconfig")
	}
	return resp
}

// activeCluster is nil where the kubeconfig does not say which it is.
func activeCluster(kubeconfig resource.PropertyValue) *api.Cluster {
	if !kubeconfig.IsString() {
		return nil
	}
	config, err := clientcmd.Load([]byte(kubeconfig.StringValue()))
	if err != nil || config.Contexts[config.CurrentContext] == nil {
		return nil
	}
	return config.Clusters[config.Contexts[config.CurrentContext].Cluster]
}
