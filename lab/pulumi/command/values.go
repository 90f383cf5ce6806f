package main

import (
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/mapper"
)

// each is a copy of an array or object with f applied to its elements; other values stay.
func each(v resource.PropertyValue, f func(string, resource.PropertyValue) resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsArray():
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = f("", e)
		}
		return resource.NewProperty(out)
	case v.IsObject():
		out := resource.PropertyMap{}
		for k, e := range v.ObjectValue() {
			out[k] = f(string(k), e)
		}
		return resource.NewProperty(out)
	}
	return v
}

// simple has secrets and unknown values as such instead of the SDK's Output values.
func simple(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsOutput():
		out := simple(v.OutputValue().Element)
		if !v.OutputValue().Known {
			out = resource.MakeComputed(resource.NewProperty(""))
		}
		if v.OutputValue().Secret {
			out = secret(out)
		}
		return out
	case v.IsSecret():
		return secret(simple(v.SecretValue().Element))
	}
	return each(v, func(_ string, e resource.PropertyValue) resource.PropertyValue { return simple(e) })
}

func secret(v resource.PropertyValue) resource.PropertyValue {
	if v.IsSecret() {
		return v
	}
	return resource.MakeSecret(v)
}

// unknown is what an output is before it is made.
func unknown() resource.PropertyValue { return resource.MakeComputed(resource.NewProperty("")) }

// plain is v without secret marks. An unknown value becomes an empty one of the type of the field with this name, so
// that the other fields can be checked.
func plain(key string, v resource.PropertyValue) resource.PropertyValue {
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
			return resource.NewProperty([]resource.PropertyValue{})
		case "environment":
			return resource.NewProperty(resource.PropertyMap{})
		case "connection", "proxy":
			return resource.NewProperty(resource.PropertyMap{"host": resource.NewProperty("")})
		}
		return resource.NewProperty("")
	}
	return each(v, func(k string, e resource.PropertyValue) resource.PropertyValue {
		if key == "environment" {
			k = ""
		}
		return plain(k, e)
	})
}

// decode fills a struct by its tags. What does not fit is told as the framework of the official provider tells it.
func decode[T any](m resource.PropertyMap, lenient bool) (T, []p.CheckFailure) {
	var out T
	values := plain("", resource.NewProperty(m)).ObjectValue().Mappable()
	err := mapper.New(&mapper.Opts{IgnoreMissing: lenient, IgnoreUnrecognized: lenient}).Decode(values, &out)
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
func arguments[T any](m resource.PropertyMap) (T, error) {
	out, failures := decode[T](m, true)
	if len(failures) > 0 {
		return out, fmt.Errorf("invalid inputs: %s: %s", failures[0].Property, failures[0].Reason)
	}
	return out, nil
}

// differs tells whether an input of the state has changed. New ones do not count, as with the official provider.
func differs(state, inputs resource.PropertyMap, outputs ...resource.PropertyKey) bool {
	for _, k := range outputs {
		delete(state, k)
	}
	for k, old := range state {
		if v := inputs[k]; v.ContainsUnknowns() || !old.DeepEquals(v) {
			return true
		}
	}
	return resource.NewProperty(inputs).ContainsUnknowns()
}
