package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"

	"github.com/pulumi/pulumi-go-provider/infer"
	"golang.org/x/crypto/bcrypt"
)

// TextInputs are the inputs of passwords and strings that this program uses.
type TextInputs struct {
	Length  int             `pulumi:"length"`
	Special *bool           `pulumi:"special,optional"`
	Keepers *map[string]any `pulumi:"keepers,optional"`
}

// TextState has the other inputs of the official provider, too, with their defaults.
type TextState struct {
	TextInputs
	Lower      bool   `pulumi:"lower"`
	Upper      bool   `pulumi:"upper"`
	Numeric    bool   `pulumi:"numeric"`
	Number     bool   `pulumi:"number"`
	MinLower   int    `pulumi:"minLower"`
	MinUpper   int    `pulumi:"minUpper"`
	MinNumeric int    `pulumi:"minNumeric"`
	MinSpecial int    `pulumi:"minSpecial"`
	Result     string `pulumi:"result"`
}

// text makes what Create of both gives; in a preview without the result.
func (t TextInputs) text(preview bool) (TextState, error) {
	state := TextState{TextInputs: t, Lower: true, Upper: true, Numeric: true, Number: true}
	chars := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	special := t.Special == nil || *t.Special
	if state.Special = &special; special {
		chars += "!@#$%&*()-_=+[]{}<>:?"
	}
	if !preview && t.Length < 1 {
		return state, fmt.Errorf("length must be at least 1, is %d", t.Length)
	}
	for !preview && len(state.Result) < t.Length {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(chars))))
		if err != nil {
			return state, err
		}
		state.Result += chars[i.Int64():][:1]
	}
	return state, nil
}

// RandomString is a text that is no secret.
type RandomString struct{}

func (r *RandomString) Annotate(a infer.Annotator) { a.SetToken("index/randomString", "RandomString") }

func (*RandomString) Create(_ context.Context, r infer.CreateRequest[TextInputs]) (
	infer.CreateResponse[TextState], error,
) {
	state, err := r.Inputs.text(r.DryRun)
	return infer.CreateResponse[TextState]{ID: state.Result, Output: state}, err
}

// RandomPassword is a text that is secret.
type RandomPassword struct{}

// PasswordState has a hash of the text beside it.
type PasswordState struct {
	TextState
	BcryptHash string `pulumi:"bcryptHash"`
}

func (r *RandomPassword) Annotate(a infer.Annotator) {
	a.SetToken("index/randomPassword", "RandomPassword")
}

// WireDependencies makes the password secret whatever its inputs are.
func (*RandomPassword) WireDependencies(f infer.FieldSelector, _ *TextInputs, state *PasswordState) {
	f.OutputField(&state.Result).AlwaysSecret()
	f.OutputField(&state.BcryptHash).AlwaysSecret()
}

func (*RandomPassword) Create(_ context.Context, r infer.CreateRequest[TextInputs]) (
	response infer.CreateResponse[PasswordState], err error,
) {
	response.ID = "none"
	if response.Output.TextState, err = r.Inputs.text(r.DryRun); err != nil || r.DryRun {
		return response, err
	}
	text := []byte(response.Output.Result)
	// bcrypt looks at 72 bytes.
	hash, err := bcrypt.GenerateFromPassword(text[:min(len(text), 72)], bcrypt.DefaultCost)
	response.Output.BcryptHash = string(hash)
	return response, err
}

// RandomId is so many bytes, in several writings.
type RandomId struct{}

type IdInputs struct {
	ByteLength int             `pulumi:"byteLength"`
	Keepers    *map[string]any `pulumi:"keepers,optional"`
}

type IdState struct {
	IdInputs
	B64Std string `pulumi:"b64Std"`
	B64Url string `pulumi:"b64Url"`
	Dec    string `pulumi:"dec"`
	Hex    string `pulumi:"hex"`
}

func (r *RandomId) Annotate(a infer.Annotator) { a.SetToken("index/randomId", "RandomId") }

func (*RandomId) Create(_ context.Context, r infer.CreateRequest[IdInputs]) (infer.CreateResponse[IdState], error) {
	b := make([]byte, r.Inputs.ByteLength)
	_, err := rand.Read(b)
	id := base64.RawURLEncoding.EncodeToString(b)
	return infer.CreateResponse[IdState]{ID: id, Output: IdState{
		IdInputs: r.Inputs, B64Url: id, B64Std: base64.StdEncoding.EncodeToString(b),
		Hex: hex.EncodeToString(b), Dec: new(big.Int).SetBytes(b).String(),
	}}, err
}
