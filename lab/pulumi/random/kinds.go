package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"golang.org/x/crypto/bcrypt"
)

// bcryptMax is how many bytes bcrypt looks at.
const bcryptMax = 72

type values = map[resource.PropertyKey]string

// kind is a resource type. Of its inputs, defaults has those that have one, optional those that may be missing.
type kind struct {
	required resource.PropertyKey
	optional values // name and type
	defaults resource.PropertyMap
	outputs  []resource.PropertyKey
	secret   bool
	make     func(inputs resource.PropertyMap) (values, error)
}

var kinds = map[tokens.Type]kind{
	"random:index/randomPassword:RandomPassword": {
		required: "length", optional: values{"keepers": "object", "overrideSpecial": "string"}, defaults: textDefaults,
		outputs: []resource.PropertyKey{"result", "bcryptHash"}, secret: true,
		make: func(inputs resource.PropertyMap) (values, error) {
			text, err := randomText(inputs)
			if err != nil {
				return nil, err
			}
			hash, err := bcrypt.GenerateFromPassword([]byte(text)[:min(len(text), bcryptMax)], bcrypt.DefaultCost)
			// The official provider tells states of its older versions by this number.
			return values{"id": "none", "result": text, "bcryptHash": string(hash), "__meta": `{"schema_version":"3"}`}, err
		},
	},
	"random:index/randomString:RandomString": {
		required: "length", optional: values{"keepers": "object", "overrideSpecial": "string"}, defaults: textDefaults,
		outputs: []resource.PropertyKey{"result"},
		make: func(inputs resource.PropertyMap) (values, error) {
			text, err := randomText(inputs)
			return values{"id": text, "result": text, "__meta": `{"schema_version":"2"}`}, err
		},
	},
	"random:index/randomId:RandomId": {
		required: "byteLength", optional: values{"keepers": "object", "prefix": "string"},
		outputs: []resource.PropertyKey{"b64Std", "b64Url", "dec", "hex"},
		make: func(inputs resource.PropertyMap) (values, error) {
			b := make([]byte, int(inputs["byteLength"].NumberValue()))
			_, err := rand.Read(b)
			id, prefix := base64.RawURLEncoding.EncodeToString(b), ""
			if p := inputs["prefix"]; p.IsString() {
				prefix = p.StringValue()
			}
			return values{
				"id": id, "b64Url": prefix + id, "b64Std": prefix + base64.StdEncoding.EncodeToString(b),
				"hex": prefix + hex.EncodeToString(b), "dec": prefix + new(big.Int).SetBytes(b).String(),
			}, err
		},
	},
}

var textDefaults = resource.PropertyMap{
	"lower": resource.NewProperty(true), "minLower": resource.NewProperty(0.0),
	"upper": resource.NewProperty(true), "minUpper": resource.NewProperty(0.0),
	"numeric": resource.NewProperty(true), "minNumeric": resource.NewProperty(0.0),
	"special": resource.NewProperty(true), "minSpecial": resource.NewProperty(0.0),
	"number": resource.NewProperty(true), // the old name of numeric
}

// check finds inputs that nothing can be made of; what is not known yet passes.
func (k kind) check(inputs resource.PropertyMap) (failures []goprovider.CheckFailure) {
	fail := func(key resource.PropertyKey, format string, args ...any) {
		failures = append(failures, goprovider.CheckFailure{Property: string(key), Reason: fmt.Sprintf(format, args...)})
	}
	if _, ok := inputs[k.required]; !ok {
		fail(k.required, "missing required property '%s'", k.required)
	}
	for key, v := range inputs {
		want := k.optional[key]
		if d, ok := k.defaults[key]; ok {
			want = d.TypeString()
		} else if key == k.required {
			want = "number"
		}
		if want == "" {
			fail(key, "there is no such property")
		} else if !v.IsComputed() && v.TypeString() != want {
			fail(key, "must be of type %s, is of type %s", want, v.TypeString())
		}
	}
	plan, least := k.plan(inputs), 0.0
	if len(failures) > 0 || plan.ContainsUnknowns() {
		return failures
	}
	for _, set := range sets {
		if k.defaults != nil {
			least += plan[set.least].NumberValue()
		}
	}
	if length := plan[k.required].NumberValue(); length < max(1, least) {
		fail(k.required, "must be at least %v, is %v", max(1, least), length)
	}
	if number, numeric := inputs["number"], inputs["numeric"]; number.IsBool() && numeric.IsBool() && number.V != numeric.V {
		fail("number", "number and numeric have different values; number is deprecated, use numeric instead")
	}
	return failures
}

// plan is what the state has of the inputs: those that are given, and the defaults.
func (k kind) plan(from resource.PropertyMap) resource.PropertyMap {
	out := k.defaults.Copy()
	for _, key := range []resource.PropertyKey{"number", "numeric"} {
		if v, ok := from[key]; ok && k.defaults != nil {
			out["number"], out["numeric"] = v, v
		}
	}
	for key, v := range from {
		_, optional := k.optional[key]
		if _, ok := k.defaults[key]; ok || optional || key == k.required {
			out[key] = v
		}
	}
	return out
}

// sets are the characters of a text, by the property that allows them and the one that says how many there must be.
var sets = []struct {
	on, least resource.PropertyKey
	chars     string
}{
	{"upper", "minUpper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
	{"lower", "minLower", "abcdefghijklmnopqrstuvwxyz"},
	{"numeric", "minNumeric", "0123456789"},
	{"special", "minSpecial", "!@#$%&*()-_=+[]{}<>:?"},
}

func randomText(inputs resource.PropertyMap) (string, error) {
	var all, out []rune
	for _, set := range sets {
		chars := []rune(set.chars)
		if own := inputs["overrideSpecial"]; set.on == "special" && own.IsString() && own.StringValue() != "" {
			chars = []rune(own.StringValue())
		}
		if inputs[set.on].BoolValue() {
			all = append(all, chars...)
		}
		for range int(inputs[set.least].NumberValue()) {
			out = append(out, chars[below(len(chars))])
		}
	}
	if len(all) == 0 {
		return "", errors.New("the character set specified is empty")
	}
	for len(out) < int(inputs["length"].NumberValue()) {
		out = append(out, all[below(len(all))])
	}
	for i := len(out) - 1; i > 0; i-- {
		j := below(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return string(out), nil
}

func below(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // The system's source of random numbers never fails.
	}
	return int(i.Int64())
}
