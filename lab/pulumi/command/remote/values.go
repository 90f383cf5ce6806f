package remote

import (
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/mapper"
)

// each is a copy of an array or object with f applied to its elements; other values stay.
func each(v value, f func(string, value) value) value {
	switch {
	case v.IsArray():
		out := make([]value, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = f("", e)
		}
		return resource.NewProperty(out)
	case v.IsObject():
		out := values{}
		for k, e := range v.ObjectValue() {
			out[k] = f(string(k), e)
		}
		return resource.NewProperty(out)
	}
	return v
}

// simple has secrets and unknown values as such instead of the SDK's Output values.
func simple(v value) value {
	switch {
	case v.IsOutput():
		out := simple(v.OutputValue().Element)
		if !v.OutputValue().Known {
			out = unknown(out)
		}
		if v.OutputValue().Secret {
			out = secret(out)
		}
		return out
	case v.IsSecret():
		return secret(simple(v.SecretValue().Element))
	}
	return each(v, func(_ string, e value) value { return simple(e) })
}

func secret(v value) value {
	if v.IsSecret() {
		return v
	}
	return resource.MakeSecret(v)
}

// unknown is what an output is before it is made; it is secret if the value is.
func unknown(v value) value {
	if v.IsSecret() {
		return secret(unknown(v.SecretValue().Element))
	}
	return resource.MakeComputed(resource.NewProperty(""))
}

// clear tells whether a preview shows a connection: the official provider shows none in which a secret, a number or the
// bastion is unknown.
func clear(v value) bool {
	if v.IsSecret() {
		return !v.SecretValue().Element.IsComputed() && clear(v.SecretValue().Element)
	}
	if v.IsObject() {
		for k, e := range v.ObjectValue() {
			lost := e.IsComputed() && (k == "proxy" || plain(string(k), e).IsNumber())
			if lost || !clear(e) {
				return false
			}
		}
	}
	return true
}

// plain is v without secret marks. An unknown value becomes an empty one of the type of the field with this name, so
// that the other fields can be checked.
func plain(key string, v value) value {
	switch {
	case v.IsSecret():
		return plain(key, v.SecretValue().Element)
	case v.IsComputed():
		switch key {
		case "port", "dialErrorLimit", "perDialTimeout":
			return resource.NewProperty(0.0)
		case "addPreviousOutputInEnv":
			return resource.NewProperty(false)
		case "triggers":
			return resource.NewProperty([]value{})
		case "environment":
			return resource.NewProperty(values{})
		case "connection", "proxy":
			return resource.NewProperty(values{"host": resource.NewProperty("")})
		}
		return resource.NewProperty("")
	}
	return each(v, func(k string, e value) value { return plain(within(key, k), e) })
}

// previewed are the outputs of a preview, where those that are named are not known.
func previewed(inputs values, outputs ...resource.PropertyKey) values {
	if !clear(inputs["connection"]) {
		outputs = append(outputs, "connection")
	}
	for _, k := range outputs {
		inputs[k] = unknown(inputs[k])
	}
	return inputs
}

// settled has an empty value for each unknown secret: the official provider loses that it is unknown.
func settled(key string, v value) value {
	if v.IsSecret() {
		if v.SecretValue().Element.IsComputed() {
			return secret(plain(key, v))
		}
		return secret(settled(key, v.SecretValue().Element))
	}
	return each(v, func(k string, e value) value { return settled(within(key, k), e) })
}

// within is the name to go by for an element: variables of the environment may be called as they like.
func within(key, element string) string {
	if key == "environment" {
		return ""
	}
	return element
}

// decode fills a struct by its tags. What does not fit is told as the framework of the official provider tells it.
func decode[T any](m values, lenient bool) (T, []p.CheckFailure) {
	var out T
	fields := plain("", resource.NewProperty(m)).ObjectValue().Mappable()
	err := mapper.New(&mapper.Opts{IgnoreMissing: lenient, IgnoreUnrecognized: lenient}).Decode(fields, &out)
	if err == nil {
		return out, nil
	}
	var failures []p.CheckFailure
	for _, e := range err.Failures() {
		failure := p.CheckFailure{Reason: e.Error()}
		if field, ok := e.(mapper.FieldError); ok {
			failure = p.CheckFailure{Property: field.Field(), Reason: field.Reason()}
		}
		failures = append(failures, failure)
	}
	return out, failures
}

// arguments are decoded inputs that Check has seen.
func arguments[T any](m values) (T, error) {
	out, failures := decode[T](m, true)
	if len(failures) > 0 {
		return out, fmt.Errorf("invalid inputs: %s: %s", failures[0].Property, failures[0].Reason)
	}
	return out, nil
}

// differs tells whether an input of the state has changed. New ones do not count, as with the official provider.
func differs(state, inputs values, outputs ...resource.PropertyKey) bool {
	for _, k := range outputs {
		delete(state, k)
	}
	for k, old := range state {
		if v := inputs[k]; v.ContainsUnknowns() || !old.DeepEquals(v) {
			return true
		}
	}
	for _, v := range inputs {
		if v.IsComputed() || v.IsSecret() && v.SecretValue().Element.IsComputed() {
			return true
		}
	}
	return false
}
