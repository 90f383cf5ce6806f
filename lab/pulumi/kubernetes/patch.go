package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const (
	forceAnnotation   = "pulumi.com/patchForce"
	managerAnnotation = "pulumi.com/patchFieldManager"
	forget            = `by rerunning the operation with the PULUMI_K8S_DELETE_UNREACHABLE environment variable set ` +
		`to "true"`
	forgetting = "configured Kubernetes cluster is unreachable and the `deleteUnreachable` option is enabled. " +
		"Deleting the unreachable resource from Pulumi state"
	conflicting = "Server-Side Apply field conflict detected. See https://www.pulumi.com/registry/packages/kubernetes/" +
		"how-to-guides/managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources " +
		"for troubleshooting help."
)

// ClusterRolePatch sets fields of a cluster role that is there, by server-side apply.
type ClusterRolePatch struct{ *cluster }

// Role is what a patch can set; as a state, what the API server has of it.
type Role struct {
	APIVersion string   `pulumi:"apiVersion" json:"apiVersion"`
	Kind       string   `pulumi:"kind" json:"kind"`
	Metadata   Metadata `pulumi:"metadata" json:"metadata"`
	Rules      *[]Rule  `pulumi:"rules,optional" json:"rules,omitempty"`
}

type Metadata struct {
	Name        *string           `pulumi:"name,optional" json:"name,omitempty"`
	Annotations map[string]string `pulumi:"annotations,optional" json:"annotations,omitempty"`
}

type Rule struct {
	Verbs           []string `pulumi:"verbs,optional" json:"verbs,omitempty"`
	APIGroups       []string `pulumi:"apiGroups,optional" json:"apiGroups,omitempty"`
	Resources       []string `pulumi:"resources,optional" json:"resources,omitempty"`
	ResourceNames   []string `pulumi:"resourceNames,optional" json:"resourceNames,omitempty"`
	NonResourceURLs []string `pulumi:"nonResourceURLs,optional" json:"nonResourceURLs,omitempty"`
}

// roleOf reads a live object.
func roleOf(live *unstructured.Unstructured) (role Role, err error) {
	return role, runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &role)
}

// manager owns the fields of the patch in the eyes of the API server.
func (r *Role) manager() string { return r.Metadata.Annotations[managerAnnotation] }

func (*ClusterRolePatch) Annotate(a infer.Annotator) {
	a.SetToken("rbac.authorization.k8s.io/v1", "ClusterRolePatch")
}

func (*ClusterRolePatch) Check(ctx context.Context, r infer.CheckRequest) (resp infer.CheckResponse[Role], err error) {
	resp.Inputs, resp.Failures, err = infer.DefaultCheck[Role](ctx, r.NewInputs)
	if err == nil && len(resp.Failures) == 0 && resp.Inputs.Metadata.Name == nil {
		err = errors.New("patch resources require the `.metadata.name` field to be set")
	}
	return resp, err
}

func (p *ClusterRolePatch) Create(ctx context.Context, r infer.CreateRequest[Role]) (
	resp infer.CreateResponse[Role], err error,
) {
	// The official provider does not ask the API server either: a patch that is to be made often has nothing to patch yet.
	if resp.Output = r.Inputs; r.DryRun {
		return resp, nil
	}
	if p.unreachable != "" {
		return resp, p.unreachableError()
	}
	live, err := p.apply(ctx, r.Inputs, nil, meta.PatchOptions{FieldValidation: meta.FieldValidationWarn})
	if err != nil {
		return resp, fmt.Errorf("resource %q was not successfully created by the Kubernetes API server: %w", urnOf(ctx), err)
	}
	resp.ID = live.GetName()
	resp.Output, err = roleOf(live)
	return resp, err
}

func (p *ClusterRolePatch) Update(ctx context.Context, r infer.UpdateRequest[Role, Role]) (
	resp infer.UpdateResponse[Role], err error,
) {
	if resp.Output = r.Inputs; r.DryRun && p.unreachable != "" {
		return resp, nil
	}
	if p.unreachable != "" {
		return resp, p.unreachableError()
	}
	options := meta.PatchOptions{}
	if r.DryRun {
		options.DryRun = []string{meta.DryRunAll}
	}
	live, err := p.roles.Get(ctx, r.ID, meta.GetOptions{})
	if err == nil {
		live, err = p.apply(ctx, r.Inputs, live, options)
	}
	if err != nil {
		now, getErr := p.roles.Get(ctx, r.ID, meta.GetOptions{})
		if getErr != nil {
			return resp, errors.Join(fmt.Errorf("update of resource %q failed: %w", urnOf(ctx), err),
				fmt.Errorf("unable to get cluster state: %w", getErr))
		}
		// What the API server has goes into the state, so that the next run sees what is still to do.
		live = now
		err = unfinished{fmt.Errorf("the Kubernetes API server reported that %q failed to fully initialize or become live: "+
			"%w", now.GetName(), err)}
	} else if !r.DryRun && r.State.manager() != r.Inputs.manager() {
		err = p.relinquish(ctx, r.State)
	}
	var broken error
	resp.Output, broken = roleOf(live)
	return resp, errors.Join(err, broken)
}

// unfinished is an error of an update that leaves a state.
type unfinished struct{ error }

// As makes it the framework's error for that, with a text of its own.
func (u unfinished) As(target any) bool {
	failed, ok := target.(*infer.ResourceInitFailedError)
	if ok {
		failed.Reasons = []string{u.Error()}
	}
	return ok
}

// Read finds what the API server has of the fields that the inputs speak of.
func (p *ClusterRolePatch) Read(ctx context.Context, r infer.ReadRequest[Role, Role]) (
	resp infer.ReadResponse[Role, Role], err error,
) {
	if p.unreachable != "" {
		return resp, p.withoutCluster(ctx, "failed to read resource state due to unreachable cluster. If the cluster was "+
			"deleted, you can remove this resource from Pulumi state "+forget)
	}
	live, err := p.roles.Get(ctx, r.ID, meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return resp, nil
	} else if err != nil {
		return resp, err
	}
	resp.ID, resp.Inputs = r.ID, r.Inputs
	resp.State, err = roleOf(live)
	if resp.Inputs.Rules != nil {
		resp.Inputs.Rules = resp.State.Rules
	}
	for key := range resp.Inputs.Metadata.Annotations {
		resp.Inputs.Metadata.Annotations[key] = resp.State.Metadata.Annotations[key]
	}
	return resp, err
}

func (p *ClusterRolePatch) Delete(ctx context.Context, r infer.DeleteRequest[Role]) (infer.DeleteResponse, error) {
	if p.unreachable != "" {
		return infer.DeleteResponse{}, p.withoutCluster(ctx, "configured Kubernetes cluster is unreachable. If the "+
			"cluster was deleted, you can remove this resource from Pulumi state "+forget)
	}
	return infer.DeleteResponse{}, p.relinquish(ctx, r.State)
}

// withoutCluster ends a call that asks an unreachable cluster: by the given error, or by forgetting the resource.
func (p *ClusterRolePatch) withoutCluster(ctx context.Context, otherwise string) error {
	log := goprovider.GetLogger(ctx)
	log.Warning(p.unreachableError().Error())
	if !p.forget {
		return errors.New(otherwise)
	}
	log.Info(forgetting)
	return nil
}

func (p *ClusterRolePatch) unreachableError() error {
	return fmt.Errorf("configured Kubernetes cluster is unreachable: %s", p.unreachable)
}

// apply is a server-side apply; before is the live object, nil if it was not asked for.
func (p *ClusterRolePatch) apply(
	ctx context.Context, role Role, before *unstructured.Unstructured, options meta.PatchOptions,
) (*unstructured.Unstructured, error) {
	// An object that nobody is said to own any field of is from before server-side apply.
	force := role.Metadata.Annotations[forceAnnotation] == "true" || before != nil && len(before.GetManagedFields()) == 0
	options.FieldManager, options.Force = role.manager(), &force
	body, err := json.Marshal(role)
	if err != nil {
		return nil, err
	}
	live, err := p.roles.Patch(ctx, *role.Metadata.Name, types.ApplyPatchType, body, options)
	if apierrors.IsConflict(err) {
		return nil, errors.Join(errors.New(conflicting),
			fmt.Errorf("The resource managed by field manager %q had an apply conflict: %w", role.manager(), err))
	}
	return live, err
}

// relinquish gives up all fields of the state's manager: what nobody else owns is emptied.
func (p *ClusterRolePatch) relinquish(ctx context.Context, state Role) error {
	bare := Role{APIVersion: state.APIVersion, Kind: state.Kind, Metadata: Metadata{Name: state.Metadata.Name}}
	body, err := json.Marshal(bare)
	if err != nil {
		return err
	}
	options := meta.PatchOptions{FieldManager: state.manager()}
	_, err = p.roles.Patch(ctx, *state.Metadata.Name, types.ApplyPatchType, body, options)
	return err
}
