package main_test

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/status"

	"k3s-ha/lab/pulumi/internal/plugintest"
)

const urn = "urn:pulumi:s::p::kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch::viewer"

var binary string

func TestMain(m *testing.M) {
	b, remove, err := plugintest.Build("pulumi-resource-kubernetes")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = b
	code := m.Run()
	remove()
	os.Exit(code)
}

// subject is a configured provider.
type subject struct {
	t *testing.T
	*plugintest.Plugin
}

func configured(t *testing.T, binary string, settings map[string]string, env ...string) subject {
	t.Helper()
	p := plugintest.Start(t, binary, env...)
	variables, args := map[string]string{}, resource.PropertyMap{}
	for k, v := range settings {
		variables["kubernetes:config:"+k] = v
		args[resource.PropertyKey(k)] = resource.NewProperty(v)
	}
	_, err := p.Configure(plugintest.Context(t), &rpc.ConfigureRequest{
		Variables: variables, Args: plugintest.Struct(t, args), AcceptSecrets: true, AcceptResources: true,
		SendsOldInputs: true, SendsOldInputsToDelete: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return subject{t, p}
}

// role is a patch of viewer by the manager "mine".
func role(verb string, annotations ...string) resource.PropertyMap {
	notes := map[string]any{"pulumi.com/patchFieldManager": "mine"}
	for i := 0; i < len(annotations); i += 2 {
		notes[annotations[i]] = annotations[i+1]
	}
	return resource.NewPropertyMapFromMap(map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
		"metadata": map[string]any{"name": "viewer", "annotations": notes},
		"rules":    []any{map[string]any{"verbs": []any{verb}, "nonResourceURLs": []any{"/readyz"}}},
	})
}

var forced = []string{"pulumi.com/patchForce", "true"}

func (s subject) check(inputs resource.PropertyMap) (resource.PropertyMap, error) {
	r, err := s.Check(plugintest.Context(s.t), &rpc.CheckRequest{Urn: urn, News: plugintest.Struct(s.t, inputs)})
	if err != nil {
		return nil, err
	}
	if len(r.Failures) > 0 {
		return nil, fmt.Errorf("failures: %v", r.Failures)
	}
	return plugintest.Map(s.t, r.Inputs), nil
}

func (s subject) create(inputs resource.PropertyMap, preview bool) (string, resource.PropertyMap, error) {
	r, err := s.Create(plugintest.Context(s.t), &rpc.CreateRequest{
		Urn: urn, Properties: plugintest.Struct(s.t, inputs), Preview: preview,
	})
	return r.GetId(), plugintest.Map(s.t, r.GetProperties()), err
}

// inputsOf are the inputs that a state came from. The state of the lab's plugin has nothing else.
func inputsOf(state resource.PropertyMap) resource.PropertyMap {
	if inputs, ok := state["__inputs"]; ok && inputs.IsObject() {
		return inputs.ObjectValue()
	}
	return state
}

func (s subject) diff(state, inputs resource.PropertyMap, ignore ...string) *rpc.DiffResponse {
	s.t.Helper()
	r, err := s.Diff(plugintest.Context(s.t), &rpc.DiffRequest{
		Urn: urn, Id: "viewer", Olds: plugintest.Struct(s.t, state), OldInputs: plugintest.Struct(s.t, inputsOf(state)),
		News: plugintest.Struct(s.t, inputs), IgnoreChanges: ignore,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s subject) update(state, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	r, err := s.Update(plugintest.Context(s.t), &rpc.UpdateRequest{
		Urn: urn, Id: "viewer", Olds: plugintest.Struct(s.t, state), OldInputs: plugintest.Struct(s.t, inputsOf(state)),
		News: plugintest.Struct(s.t, inputs), Preview: preview,
	})
	return plugintest.Map(s.t, r.GetProperties()), err
}

func (s subject) read(state, inputs resource.PropertyMap) (*rpc.ReadResponse, error) {
	return s.Read(plugintest.Context(s.t), &rpc.ReadRequest{
		Urn: urn, Id: "viewer", Properties: plugintest.Struct(s.t, state), Inputs: plugintest.Struct(s.t, inputs),
	})
}

func (s subject) remove(state resource.PropertyMap) error {
	_, err := s.Delete(plugintest.Context(s.t), &rpc.DeleteRequest{
		Urn: urn, Id: "viewer", Properties: plugintest.Struct(s.t, state), OldInputs: plugintest.Struct(s.t, inputsOf(state)),
	})
	return err
}

func kindsOf(r *rpc.DiffResponse) map[string]string {
	out := map[string]string{}
	for path, d := range r.DetailedDiff {
		out[path] = d.Kind.String()
	}
	return out
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(status.Convert(err).Message(), part) {
			t.Errorf("error %q, want %q in it", err, part)
		}
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPatch(t *testing.T) {
	api := newFake(t)
	s := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()})
	inputs, err := s.check(role("list"))
	noError(t, err)
	if !inputs.DeepEquals(role("list")) {
		t.Errorf("checked: %v", inputs)
	}
	id, state, err := s.create(inputs, true)
	noError(t, err)
	if asked := api.asked(); id != "" || len(asked) > 0 || !state.DeepEquals(inputs) {
		t.Errorf("preview: id %q, asked %v, state %v", id, asked, state)
	}
	id, state, err = s.create(inputs, false)
	noError(t, err)
	asked := api.asked()
	if len(asked) != 1 || asked[0].method != "PATCH" || asked[0].kind != "application/apply-patch+yaml" ||
		asked[0].query.Encode() != "fieldManager=mine&fieldValidation=Warn&force=false" {
		t.Errorf("asked %v", asked)
	}
	if id != "viewer" || !state.DeepEquals(inputs) {
		t.Errorf("id %q, state %v", id, state)
	}
	if d := s.diff(state, inputs); d.Changes != rpc.DiffResponse_DIFF_NONE || len(d.DetailedDiff) > 0 {
		t.Errorf("unchanged: %v", d)
	}
	if asked := api.asked(); len(asked) > 0 {
		t.Errorf("asked for a diff: %v", asked)
	}

	t.Log("an update: dry run in the preview, then for real")
	if d := kindsOf(s.diff(state, role("watch"))); !maps.Equal(d, map[string]string{"rules[0].verbs[0]": "UPDATE"}) {
		t.Errorf("diff %v", d)
	}
	for _, preview := range []bool{true, false} {
		after, err := s.update(state, role("watch"), preview)
		noError(t, err)
		asked := api.asked()
		if len(asked) != 2 || asked[0].method != "GET" || (asked[1].query.Get("dryRun") == "All") != preview ||
			!after["rules"].DeepEquals(role("watch")["rules"]) {
			t.Errorf("preview %v: asked %v, state %v", preview, asked, after)
		}
	}

	t.Log("a changed field manager: the old one gives up its fields")
	state, err = s.update(state, role("watch", append(slices.Clone(forced), "pulumi.com/patchFieldManager", "other")...), false)
	noError(t, err)
	asked = api.asked()
	if last := asked[len(asked)-1]; len(asked) != 3 || last.query.Encode() != "fieldManager=mine" || last.body["rules"] != nil {
		t.Errorf("asked %v", asked)
	}

	t.Log("a deletion gives up the fields too, which empties the rules")
	noError(t, s.remove(state))
	asked = api.asked()
	want := map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "viewer"},
	}
	if len(asked) != 1 || asked[0].query.Encode() != "fieldManager=other" || !reflect.DeepEqual(asked[0].body, want) ||
		api.role["rules"] != nil {
		t.Errorf("asked %v, left %v", asked, api.role)
	}
	if logs := s.Logs(); len(logs) > 0 {
		t.Errorf("said %v", logs)
	}
}

func TestConflict(t *testing.T) {
	api := newFake(t)
	s := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()})
	api.owner = "kube-apiserver"
	conflict := "The resource managed by field manager \"mine\" had an apply conflict: Apply failed with 1 conflict: " +
		"conflict with \"kube-apiserver\": .rules"
	_, _, err := s.create(role("list"), false)
	contains(t, err, "resource \""+urn+"\" was not successfully created by the Kubernetes API server: "+
		"Server-Side Apply field conflict detected. See https://", "for troubleshooting help.\n"+conflict)
	_, state, err := s.create(role("list", forced...), false)
	noError(t, err)
	if api.owner != "mine" {
		t.Errorf("owner %s", api.owner)
	}
	api.owner = "kube-apiserver"
	for _, preview := range []bool{true, false} {
		_, err = s.update(state, role("watch"), preview)
		contains(t, err, `the Kubernetes API server reported that "viewer" failed to fully initialize or become live: `, conflict)
		details := status.Convert(err).Details()
		if len(details) != 1 {
			t.Fatalf("details %v", details)
		}
		failed := details[0].(*rpc.ErrorResourceInitFailed)
		if now := plugintest.Map(t, failed.Properties); failed.Id != "viewer" || len(failed.Reasons) != 1 ||
			!preview && !now["rules"].DeepEquals(role("list")["rules"]) {
			t.Errorf("partial state %v", failed)
		}
	}
	api.role = nil
	_, err = s.update(state, role("watch"), false)
	contains(t, err, `update of resource "`+urn+`" failed: clusterroles`, "unable to get cluster state: ")
}

func TestRefresh(t *testing.T) {
	api := newFake(t)
	s := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()})
	inputs := role("list")
	inputs["rules"] = resource.MakeSecret(inputs["rules"])
	_, state, err := s.create(inputs, false)
	noError(t, err)
	if !state["rules"].IsSecret() || state["kind"].IsSecret() {
		t.Errorf("secrets: %v", state)
	}
	api.role["rules"] = role("delete")["rules"].Mappable()
	r, err := s.read(state, inputs)
	noError(t, err)
	found, after := plugintest.Map(t, r.Inputs), plugintest.Map(t, r.Properties)
	want := role("delete")
	want["rules"] = resource.MakeSecret(want["rules"])
	if r.Id != "viewer" || !found.DeepEquals(want) || !after["rules"].IsSecret() {
		t.Errorf("read %v, inputs %v", after, found)
	}
	if d := kindsOf(s.diff(found, inputs)); !maps.Equal(d, map[string]string{"rules": "UPDATE"}) {
		t.Errorf("diff after the refresh: %v", d)
	}
	if d := s.diff(found, inputs, "rules"); d.Changes != rpc.DiffResponse_DIFF_NONE {
		t.Errorf("diff with ignoreChanges: %v", d)
	}
	api.role = nil
	r, err = s.read(state, inputs)
	noError(t, err)
	if r.Id != "" {
		t.Errorf("a role that is gone: %v", r)
	}
}

func TestDiff(t *testing.T) {
	api := newFake(t)
	s := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()})
	_, state, err := s.create(role("list"), false)
	noError(t, err)
	other := role("list")
	other["metadata"].ObjectValue()["name"] = resource.NewProperty("other")
	longer := role("list")
	longer["rules"] = resource.NewProperty(append(longer["rules"].ArrayValue(), longer["rules"].ArrayValue()[0]))
	without := role("list")
	delete(without, "rules")
	unknown := role("list")
	unknown["rules"] = resource.MakeComputed(resource.NewProperty(""))
	for name, c := range map[string]struct {
		inputs resource.PropertyMap
		want   map[string]string
	}{
		"another name replaces": {other, map[string]string{"metadata.name": "UPDATE_REPLACE"}},
		"an annotation":         {role("list", forced...), map[string]string{`metadata.annotations["pulumi.com/patchForce"]`: "ADD"}},
		"one rule more":         {longer, map[string]string{"rules[1]": "ADD"}},
		"no rules":              {without, map[string]string{"rules": "DELETE"}},
		"rules not yet known":   {unknown, map[string]string{"rules": "UPDATE"}},
	} {
		if d := kindsOf(s.diff(state, c.inputs)); !maps.Equal(d, c.want) {
			t.Errorf("%s: %v", name, d)
		}
	}
	after, err := s.update(state, unknown, true)
	noError(t, err)
	if !after.DeepEquals(unknown) {
		t.Errorf("preview with unknown rules: %v", after)
	}
	if d := s.diff(state, other); !slices.Equal(d.Replaces, []string{"metadata"}) || d.DeleteBeforeReplace {
		t.Errorf("replacement %v", d)
	}
}

func TestCheck(t *testing.T) {
	api := newFake(t)
	s := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()})
	nameless := role("list")
	delete(nameless["metadata"].ObjectValue(), "name")
	_, err := s.check(nameless)
	contains(t, err, "patch resources require the `.metadata.name` field to be set")
	_, err = s.Check(plugintest.Context(t), &rpc.CheckRequest{Urn: strings.ReplaceAll(urn, "ClusterRolePatch", "ClusterRole")})
	contains(t, err, "Resource 'rbac.authorization.k8s.io/v1:ClusterRole' not found")
	for name, want := range map[string]string{
		"enableServerSideApply": "patch resources require Server-Side Apply mode", "strictMode": "does not know the provider's setting strictMode",
	} {
		p := plugintest.Start(t, binary)
		_, err := p.Configure(plugintest.Context(t), &rpc.ConfigureRequest{Variables: map[string]string{"kubernetes:config:" + name: "false"}})
		contains(t, err, want)
	}
}

func TestUnreachable(t *testing.T) {
	api := newFake(t)
	_, state, err := configured(t, binary, map[string]string{"kubeconfig": api.kubeconfig()}).create(role("list"), false)
	noError(t, err)
	dead := map[string]string{"kubeconfig": strings.ReplaceAll(api.kubeconfig(), api.URL, "https://127.0.0.1:1")}
	why := "configured Kubernetes cluster is unreachable: unable to load schema information from the API server: " +
		`Get "https://127.0.0.1:1/openapi/v2?timeout=32s": dial tcp 127.0.0.1:1: connect: connection refused`
	s := configured(t, binary, dead)
	inputs, err := s.check(role("watch"))
	noError(t, err)
	if d := s.diff(state, inputs); d.Changes != rpc.DiffResponse_DIFF_SOME {
		t.Errorf("diff %v", d)
	}
	_, _, err = s.create(inputs, true)
	noError(t, err)
	_, err = s.update(state, inputs, true)
	noError(t, err)
	_, _, err = s.create(inputs, false)
	contains(t, err, why)
	_, err = s.update(state, inputs, false)
	contains(t, err, why)
	_, err = s.read(state, inputs)
	contains(t, err, "failed to read resource state due to unreachable cluster", `PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"`)
	contains(t, s.remove(state), "configured Kubernetes cluster is unreachable. If the cluster was deleted", "PULUMI_K8S_DELETE_UNREACHABLE")
	if logs := s.Logs(); !slices.Equal(logs, []string{"warning: " + why, "warning: " + why}) {
		t.Errorf("said %v", logs)
	}
	for _, forget := range []subject{
		configured(t, binary, dead, "PULUMI_K8S_DELETE_UNREACHABLE=true"),
		configured(t, binary, map[string]string{"kubeconfig": dead["kubeconfig"], "deleteUnreachable": "true"}),
	} {
		noError(t, forget.remove(state))
		r, err := forget.read(state, inputs)
		noError(t, err)
		if r.Id != "" || len(forget.Logs()) != 4 {
			t.Errorf("read %v", r)
		}
	}
	wrong := configured(t, binary, map[string]string{"kubeconfig": strings.ReplaceAll(api.kubeconfig(), "right", "wrong")})
	_, _, err = wrong.create(inputs, false)
	contains(t, err, "unable to load schema information from the API server: the server has asked for the client to provide credentials")
	broken := configured(t, binary, map[string]string{"kubeconfig": "{"})
	_, _, err = broken.create(inputs, false)
	contains(t, err, "configured Kubernetes cluster is unreachable: failed to parse kubeconfig data in `kubernetes:config:kubeconfig`- ")
}

func TestDiffConfig(t *testing.T) {
	p := plugintest.Start(t, binary)
	one, two := kubeconfig("https://a:6443", "", "t"), kubeconfig("https://b:6443", "", "t")
	unknown := resource.MakeComputed(resource.NewProperty(""))
	settings := func(kubeconfig resource.PropertyValue, id string) resource.PropertyMap {
		m := resource.PropertyMap{"kubeconfig": kubeconfig}
		if id != "" {
			m["clusterIdentifier"] = resource.NewProperty(id)
		}
		return m
	}
	text := func(s string) resource.PropertyValue { return resource.MakeSecret(resource.NewProperty(s)) }
	for name, c := range map[string]struct {
		was, is         resource.PropertyMap
		diffs, replaces []string
	}{
		"the same":                            {settings(text(one), "c"), settings(text(one), "c"), nil, nil},
		"another user of the cluster":         {settings(text(one), ""), settings(text(strings.Replace(one, `"t"`, `"u"`, 1)), ""), []string{"kubeconfig"}, nil},
		"another cluster":                     {settings(text(one), ""), settings(text(two), ""), []string{"kubeconfig"}, []string{"kubeconfig"}},
		"another address, same identifier":    {settings(text(one), "c"), settings(text(two), "c"), []string{"kubeconfig"}, nil},
		"another identifier":                  {settings(text(one), "c"), settings(text(one), "d"), []string{"clusterIdentifier"}, []string{"clusterIdentifier"}},
		"an identifier at last":               {settings(text(one), ""), settings(text(one), "d"), []string{"clusterIdentifier"}, nil},
		"a kubeconfig not yet known":          {settings(text(one), ""), settings(unknown, ""), []string{"kubeconfig"}, []string{"kubeconfig"}},
		"one not yet known, with identifier":  {settings(text(one), "c"), settings(unknown, "c"), []string{"kubeconfig"}, nil},
		"one not yet known, a new identifier": {settings(text(one), "c"), settings(unknown, "d"), []string{"kubeconfig"}, []string{"clusterIdentifier", "kubeconfig"}},
	} {
		r, err := p.DiffConfig(plugintest.Context(t), &rpc.DiffRequest{
			Urn: "urn:pulumi:s::p::pulumi:providers:kubernetes::k8s", Olds: plugintest.Struct(t, c.was), News: plugintest.Struct(t, c.is),
		})
		noError(t, err)
		if (r.Changes == rpc.DiffResponse_DIFF_SOME) != (c.diffs != nil) || !slices.Equal(r.Diffs, c.diffs) ||
			!slices.Equal(r.Replaces, c.replaces) {
			t.Errorf("%s: %v", name, r)
		}
	}
}
