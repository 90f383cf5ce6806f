package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	patchType         = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch"
	forceAnnotation   = "pulumi.com/patchForce"
	managerAnnotation = "pulumi.com/patchFieldManager"
	forget            = `by rerunning the operation with the PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"`
)

func (p *provider) check(ctx context.Context, r goprovider.CheckRequest) (goprovider.CheckResponse, error) {
	if p.unreachable != "" && p.skipUpdates {
		goprovider.GetLogger(ctx).Warning("Cluster is unreachable but skipUpdateUnreachable flag is set to true, skipping...")
		return goprovider.CheckResponse{Inputs: r.State}, nil
	}
	if r.Urn.Type() != patchType {
		return goprovider.CheckResponse{}, fmt.Errorf("the lab's plugin for kubernetes has no resource %s: it has ClusterRolePatch "+
			"(lab/pulumi/kubernetes)", r.Urn.Type())
	}
	if p.clientSide {
		return goprovider.CheckResponse{}, errors.New("patch resources require Server-Side Apply mode, which is enabled using the " +
			"`enableServerSideApply` Provider config")
	}
	inputs := normalized(r.Inputs)
	if inputs.GetName() == "" {
		return goprovider.CheckResponse{}, errors.New("patch resources require the `.metadata.name` field to be set")
	}
	return goprovider.CheckResponse{Inputs: resource.FromResourcePropertyMap(marked(inputs.Object, r.Inputs))}, nil
}

func (p *provider) create(_ context.Context, r goprovider.CreateRequest) (goprovider.CreateResponse, error) {
	// The official provider does not ask the API server either: a patch that is to be made often has nothing to patch yet.
	if r.DryRun {
		return goprovider.CreateResponse{Properties: r.Properties}, nil
	}
	if p.unreachable != "" {
		return goprovider.CreateResponse{}, p.unreachableError()
	}
	inputs := object(r.Properties)
	manager, err := fieldManager(nil, inputs)
	if err != nil {
		return goprovider.CreateResponse{}, err
	}
	live, err := p.apply(inputs, nil, manager, meta.PatchOptions{FieldValidation: meta.FieldValidationWarn})
	if err != nil {
		return goprovider.CreateResponse{}, fmt.Errorf("resource %q was not successfully created by the Kubernetes API server: %w",
			r.Urn, err)
	}
	return goprovider.CreateResponse{
		ID: live.GetName(), Properties: join(inputs, live, r.Properties, inputs.GetAPIVersion(), manager),
	}, nil
}

func (p *provider) update(_ context.Context, r goprovider.UpdateRequest) (resp goprovider.UpdateResponse, err error) {
	if r.DryRun && (p.unreachable != "" || unknowns(r.Inputs)) {
		return goprovider.UpdateResponse{Properties: r.Inputs}, nil
	}
	if p.unreachable != "" {
		return resp, p.unreachableError()
	}
	inputs := normalized(r.Inputs)
	oldInputs, old := split(r.State)
	apiVersion := apiVersionOf(r.State, oldInputs)
	before, err := fieldManager(&r.State, oldInputs)
	if err != nil {
		return resp, err
	}
	manager, err := fieldManager(&r.State, inputs)
	if err != nil {
		return resp, err
	}
	options := meta.PatchOptions{}
	if r.DryRun {
		options.DryRun = []string{meta.DryRunAll}
	}
	live, err := p.roles.Get(p.ctx, old.GetName(), meta.GetOptions{})
	if err == nil {
		live, err = p.apply(inputs, live, manager, options)
	}
	if err != nil && r.DryRun && apierrors.IsForbidden(err) {
		return goprovider.UpdateResponse{Properties: r.Inputs}, nil
	}
	if err != nil {
		now, getErr := p.roles.Get(p.ctx, old.GetName(), meta.GetOptions{})
		if getErr != nil {
			return resp, errors.Join(fmt.Errorf("update of resource %q failed: %w", r.Urn, err),
				fmt.Errorf("unable to get cluster state: %w", getErr))
		}
		// What the API server has goes into the state, so that the next run sees what is still to do.
		err = fmt.Errorf("the Kubernetes API server reported that %q failed to fully initialize or become live: %w", now.GetName(), err)
		resp.PartialState = &goprovider.InitializationFailed{Reasons: []string{err.Error()}}
		resp.Properties = join(inputs, now, r.Inputs, apiVersion, manager)
		return resp, err
	}
	if !r.DryRun && before != manager {
		err = p.relinquish(live, before)
	}
	return goprovider.UpdateResponse{Properties: join(inputs, live, r.Inputs, apiVersion, manager)}, err
}

func (p *provider) read(ctx context.Context, r goprovider.ReadRequest) (goprovider.ReadResponse, error) {
	if p.unreachable != "" {
		log := goprovider.GetLogger(ctx)
		switch log.Warning(p.unreachableError().Error()); {
		case p.forget:
			log.Info(forgetting)
			return goprovider.ReadResponse{}, nil
		case p.skipUpdates:
			log.Info("configured Kubernetes cluster is unreachable and the `skipUnreachable` option is enabled. " +
				"Returned data could not reflect the actual cluster configuration.")
			return goprovider.ReadResponse{ID: r.ID, Properties: r.Properties, Inputs: r.Inputs}, nil
		}
		return goprovider.ReadResponse{}, errors.New("failed to read resource state due to unreachable cluster. If the cluster was " +
			"deleted, you can remove this resource from Pulumi state " + forget)
	}
	inputs := normalized(r.Inputs)
	if inputs.GetName() == "" {
		return goprovider.ReadResponse{}, errors.New("the lab's plugin for kubernetes reads only what is in the state")
	}
	live, err := p.roles.Get(p.ctx, r.ID, meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return goprovider.ReadResponse{}, nil
	} else if err != nil {
		return goprovider.ReadResponse{}, err
	}
	manager, err := fieldManager(&r.Properties, inputs)
	found := &unstructured.Unstructured{Object: prune(live.Object, inputs.Object).(map[string]any)}
	return goprovider.ReadResponse{
		ID:         r.ID,
		Properties: join(found, live, r.Inputs, apiVersionOf(r.Properties, inputs), manager),
		Inputs:     resource.FromResourcePropertyMap(marked(found.Object, r.Inputs)),
	}, err
}

func (p *provider) delete(ctx context.Context, r goprovider.DeleteRequest) error {
	if p.unreachable != "" {
		log := goprovider.GetLogger(ctx)
		log.Warning(p.unreachableError().Error())
		if p.forget {
			log.Info(forgetting)
			return nil
		}
		return errors.New("configured Kubernetes cluster is unreachable. If the cluster was deleted, you can remove this resource " +
			"from Pulumi state " + forget)
	}
	inputs, live := split(r.Properties)
	manager, err := fieldManager(&r.Properties, inputs)
	if err != nil {
		return err
	}
	return p.relinquish(live, manager)
}

const forgetting = "configured Kubernetes cluster is unreachable and the `deleteUnreachable` option is enabled. " +
	"Deleting the unreachable resource from Pulumi state"

func (p *provider) unreachableError() error {
	return fmt.Errorf("configured Kubernetes cluster is unreachable: %s", p.unreachable)
}

// apply is a server-side apply; before is the live object, nil if it was not asked for.
func (p *provider) apply(o, before *unstructured.Unstructured, manager string, options meta.PatchOptions) (
	*unstructured.Unstructured, error,
) {
	force := o.GetAnnotations()[forceAnnotation] == "true"
	if env, ok := os.LookupEnv("PULUMI_K8S_ENABLE_PATCH_FORCE"); ok && !force {
		force = env == "true"
	} else if before != nil {
		// Nobody is said to own any field: the object is from before server-side apply.
		force = force || len(before.GetManagedFields()) == 0
	}
	options.FieldManager, options.Force = manager, &force
	body, err := json.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	live, err := p.roles.Patch(p.ctx, o.GetName(), types.ApplyPatchType, body, options)
	if apierrors.IsConflict(err) {
		return nil, errors.Join(
			errors.New("Server-Side Apply field conflict detected. See https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/"+
				"managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources for troubleshooting help."),
			fmt.Errorf("The resource managed by field manager %q had an apply conflict: %w", manager, err))
	}
	return live, err
}

// relinquish gives up all fields of the manager: what nobody else owns is emptied.
func (p *provider) relinquish(o *unstructured.Unstructured, manager string) error {
	bare := map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "metadata": map[string]any{"name": o.GetName()}}
	body, err := json.Marshal(bare)
	if err != nil {
		return err
	}
	_, err = p.roles.Patch(p.ctx, o.GetName(), types.ApplyPatchType, body, meta.PatchOptions{FieldManager: manager})
	return err
}

// fieldManager is the annotation's, else the state's, else a new one.
func fieldManager(state *property.Map, inputs *unstructured.Unstructured) (string, error) {
	if name := inputs.GetAnnotations()[managerAnnotation]; name != "" {
		return name, nil
	}
	if state != nil {
		if v := state.Get(fieldManagerKey); v.IsString() {
			return v.AsString(), nil
		}
	}
	return resource.NewUniqueName(nil, "pulumi-kubernetes-", 0, 0, nil)
}

func apiVersionOf(state property.Map, inputs *unstructured.Unstructured) string {
	if v := state.Get(apiVersionKey); v.IsString() {
		return v.AsString()
	}
	return inputs.GetAPIVersion()
}
