package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"golang.org/x/crypto/bcrypt"

	"k3s-ha/lab/pulumi/internal/plugintest"
)

var binary string

func TestMain(m *testing.M) {
	b, remove, err := plugintest.Build("pulumi-resource-random")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = b
	code := m.Run()
	remove()
	os.Exit(code)
}

func start(t *testing.T) *plugintest.Plugin {
	t.Helper()
	p := plugintest.Start(t, binary)
	if _, err := p.Configure(plugintest.Context(t), &rpc.ConfigureRequest{
		AcceptSecrets: true, SendsOldInputs: true, SendsOldInputsToDelete: true, Args: plugintest.Struct(t, nil),
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

func urn(kind string) string {
	return "urn:pulumi:s::p::random:index/random" + kind + ":Random" + kind + "::r"
}

type props = map[string]any

func pm(m props) resource.PropertyMap { return resource.NewPropertyMapFromMap(m) }

func create(t *testing.T, p *plugintest.Plugin, kind string, inputs props, preview bool) (string, resource.PropertyMap) {
	t.Helper()
	checked, err := p.Check(plugintest.Context(t), &rpc.CheckRequest{Urn: urn(kind), News: plugintest.Struct(t, pm(inputs))})
	if err != nil || len(checked.Failures) > 0 {
		t.Fatal(err, checked.GetFailures())
	}
	if got := plugintest.Map(t, checked.Inputs); !got.DeepEquals(pm(inputs)) {
		t.Errorf("checked inputs are %v, not %v", got, inputs)
	}
	r, err := p.Create(plugintest.Context(t), &rpc.CreateRequest{Urn: urn(kind), Properties: checked.Inputs, Preview: preview})
	if err != nil {
		t.Fatal(err)
	}
	return r.Id, plugintest.Map(t, r.Properties)
}

func diffOf(t *testing.T, p *plugintest.Plugin, kind string, state resource.PropertyMap, was, inputs props) map[string]string {
	t.Helper()
	r, err := p.Diff(plugintest.Context(t), &rpc.DiffRequest{
		Urn: urn(kind), Olds: plugintest.Struct(t, state), OldInputs: plugintest.Struct(t, pm(was)),
		News: plugintest.Struct(t, pm(inputs)),
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for path, d := range r.DetailedDiff {
		out[path] = d.Kind.String()
	}
	if some := r.Changes == rpc.DiffResponse_DIFF_SOME; some != (len(out) > 0) {
		t.Errorf("changes %v with the diff %v", r.Changes, out)
	}
	return out
}

func TestPassword(t *testing.T) {
	p := start(t)
	id, state := create(t, p, "Password", props{"length": 48.0, "special": false}, false)
	result := state["result"]
	if id != "none" || !result.IsSecret() || !state["bcryptHash"].IsSecret() {
		t.Fatalf("id %s, state %v", id, state)
	}
	text := result.SecretValue().Element.StringValue()
	if !regexp.MustCompile(`^[A-Za-z0-9]{48}$`).MatchString(text) {
		t.Errorf("password %q", text)
	}
	hash := state["bcryptHash"].SecretValue().Element.StringValue()
	if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(text)); err != nil {
		t.Error(err)
	}
	delete(state, "result")
	delete(state, "bcryptHash")
	want := pm(props{
		"id": "none", "__meta": `{"schema_version":"3"}`, "length": 48.0, "special": false, "lower": true, "upper": true,
		"number": true, "numeric": true, "minLower": 0.0, "minUpper": 0.0, "minNumeric": 0.0, "minSpecial": 0.0,
	})
	if !state.DeepEquals(want) {
		t.Errorf("state %v\nwant %v", state, want)
	}
	_, other := create(t, p, "Password", props{"length": 48.0, "special": false}, false)
	if other["result"].DeepEquals(result) {
		t.Error("two passwords are the same")
	}
	_, long := create(t, p, "Password", props{"length": 100.0}, false)
	if text := long["result"].SecretValue().Element.StringValue(); len(text) != 100 || !strings.ContainsAny(text, "!@#$%&*()-_=+[]{}<>:?") {
		t.Errorf("password %q", text)
	}
	_, preview := create(t, p, "Password", props{"length": 48.0}, true)
	for _, key := range []resource.PropertyKey{"result", "bcryptHash"} {
		if !preview[key].IsSecret() || !preview[key].SecretValue().Element.IsComputed() {
			t.Errorf("%s in a preview: %v", key, preview[key])
		}
	}
}

func TestStringAndId(t *testing.T) {
	p := start(t)
	id, state := create(t, p, "String", props{"length": 16.0, "special": false}, false)
	if id != state["result"].StringValue() || id != state["id"].StringValue() || len(id) != 16 ||
		state["__meta"].StringValue() != `{"schema_version":"2"}` {
		t.Errorf("id %s, state %v", id, state)
	}
	id, state = create(t, p, "Id", props{"byteLength": 8.0}, false)
	if len(id) != 11 || !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(state["hex"].StringValue()) ||
		state["b64Url"].StringValue() != id || state["byteLength"].NumberValue() != 8 {
		t.Errorf("id %s, state %v", id, state)
	}
	keys := slices.Sorted(maps.Keys(state))
	if got := fmt.Sprint(keys); got != "[b64Std b64Url byteLength dec hex id]" {
		t.Errorf("keys %s", got)
	}
}

// officialStates were written by the official provider (its own tests' recordings), secrets replaced.
var officialStates = map[string]struct{ inputs, state string }{
	"Password": {`{"length": 16, "special": false}`, `{"__meta": "{\"schema_version\":\"3\"}", "bcryptHash": "x", "id": "none",
		"length": 16, "lower": true, "minLower": 0, "minNumeric": 0, "minSpecial": 0, "minUpper": 0, "number": true,
		"numeric": true, "result": "y", "special": false, "upper": true, "__pulumi_raw_state_delta": {"obj": {}}}`},
	"String": {`{"length": 16, "special": false}`, `{"__meta": "{\"schema_version\":\"2\"}", "id": "y", "length": 16, "lower": true,
		"minLower": 0, "minNumeric": 0, "minSpecial": 0, "minUpper": 0, "number": true, "numeric": true, "result": "y",
		"special": false, "upper": true}`},
	"Id": {`{"byteLength": 8}`, `{"b64Std": "gEtk2V/GVJQ=", "b64Url": "gEtk2V_GVJQ", "byteLength": 8,
		"dec": "9244593544885589140", "hex": "804b64d95fc65494", "id": "gEtk2V_GVJQ"}`},
}

func TestDiff(t *testing.T) {
	p := start(t)
	for kind, official := range officialStates {
		var inputs, state props
		for text, into := range map[string]*props{official.inputs: &inputs, official.state: &state} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		if d := diffOf(t, p, kind, pm(state), inputs, inputs); len(d) > 0 {
			t.Errorf("%s: the official provider's state differs: %v", kind, d)
		}
		read, err := p.Read(plugintest.Context(t), &rpc.ReadRequest{
			Urn: urn(kind), Id: "i", Properties: plugintest.Struct(t, pm(state)), Inputs: plugintest.Struct(t, pm(inputs)),
		})
		if err != nil || read.Id != "i" || !plugintest.Map(t, read.Properties).DeepEquals(pm(state)) {
			t.Errorf("%s: refreshed to %v, %v", kind, read, err)
		}
		was := maps.Clone(inputs)
		inputs["keepers"] = props{"generation": "1"}
		want := map[string]string{"keepers": "ADD_REPLACE"}
		if d := diffOf(t, p, kind, pm(state), was, inputs); !maps.Equal(d, want) {
			t.Errorf("%s: a keeper is added: %v", kind, d)
		}
	}
	base := props{"length": 16.0, "keepers": props{"generation": "1"}}
	_, state := create(t, p, "Password", base, false)
	for _, c := range []struct {
		change props
		want   map[string]string
	}{
		{props{}, map[string]string{}},
		{props{"keepers": props{"generation": "2"}}, map[string]string{"keepers.generation": "UPDATE_REPLACE"}},
		{props{"keepers": nil}, map[string]string{"keepers": "DELETE_REPLACE"}},
		{props{"length": 17.0, "special": true}, map[string]string{"length": "UPDATE_REPLACE", "special": "ADD_REPLACE"}},
		{props{"length": resource.Computed{Element: resource.NewProperty("")}}, map[string]string{"length": "UPDATE_REPLACE"}},
	} {
		inputs := maps.Clone(base)
		maps.Copy(inputs, c.change)
		if d := diffOf(t, p, "Password", state, base, inputs); !maps.Equal(d, c.want) {
			t.Errorf("%v: %v, want %v", c.change, d, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	p := start(t)
	for _, c := range []struct {
		inputs props
		want   string
	}{
		{props{}, "length: Missing required field 'length'"},
		{props{"length": 3.0, "lenght": 4.0}, "lenght: Unrecognized field 'lenght'"},
		{props{"length": 3.0, "minLower": 4.0}, "minLower: Unrecognized field 'minLower'"},
		{props{"length": "3"}, "length: Field 'length' on 'main.TextInputs' must be a 'int'; got 'string' instead"},
	} {
		r, err := p.Check(plugintest.Context(t), &rpc.CheckRequest{Urn: urn("Password"), News: plugintest.Struct(t, pm(c.inputs))})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Failures) != 1 || !strings.HasPrefix(r.Failures[0].Property+": "+r.Failures[0].Reason, c.want) {
			t.Errorf("%v: %v, want %s", c.inputs, r.Failures, c.want)
		}
	}
	_, err := p.Check(plugintest.Context(t), &rpc.CheckRequest{Urn: urn("Pet"), News: plugintest.Struct(t, nil)})
	if err == nil || !strings.Contains(err.Error(), "Resource 'index/randomPet:RandomPet' not found") {
		t.Errorf("another resource: %v", err)
	}
	_, err = p.Create(plugintest.Context(t), &rpc.CreateRequest{
		Urn: urn("Password"), Properties: plugintest.Struct(t, pm(props{"length": 0.0})),
	})
	if err == nil || !strings.Contains(err.Error(), "length must be at least 1, is 0") {
		t.Errorf("no length: %v", err)
	}
}
