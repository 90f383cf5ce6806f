// Package remote is the module "remote" of the Pulumi package "command". Its name and those of its exported types are
// part of the schema and of the texts of failed checks, so they are those of the official provider.
package remote

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Command runs scripts on a host.
type Command struct{}

// CommandInputs are the scripts, and how to run them.
type CommandInputs struct {
	Connection             *Connection       `pulumi:"connection" provider:"secret"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Triggers               *[]any            `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	Environment            map[string]string `pulumi:"environment,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
}

// CommandOutputs are the inputs and what the last script printed.
type CommandOutputs struct {
	CommandInputs
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Logging says which streams are shown while a script runs; without it both are. Other words show nothing.
type Logging string

// Values are for the schema.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{{Value: "stdout"}, {Value: "stderr"}, {Value: "stdoutAndStderr"}, {Value: "none"}}
}

func (l *Logging) shows(stream Logging) bool {
	return l == nil || *l == stream || *l == "stdoutAndStderr"
}

// Create runs `create`. A failure leaves nothing in the state.
func (*Command) Create(ctx context.Context, r infer.CreateRequest[CommandInputs]) (
	infer.CreateResponse[CommandOutputs], error,
) {
	out := CommandOutputs{CommandInputs: r.Inputs}
	id, err := resource.NewUniqueHex(r.Name, 8, 0)
	if err == nil && !r.DryRun {
		err = out.runFirst(ctx, r.Inputs.Create)
	}
	return infer.CreateResponse[CommandOutputs]{ID: id, Output: out}, err
}

// Update runs `update`, else `create`; with neither the outputs stay.
func (*Command) Update(ctx context.Context, r infer.UpdateRequest[CommandInputs, CommandOutputs]) (
	infer.UpdateResponse[CommandOutputs], error,
) {
	out := CommandOutputs{r.Inputs, r.State.Stdout, r.State.Stderr}
	var err error
	if !r.DryRun {
		err = out.runFirst(ctx, r.Inputs.Update, r.Inputs.Create)
	}
	return infer.UpdateResponse[CommandOutputs]{Output: out}, err
}

// Delete runs the `delete` of the state.
func (*Command) Delete(ctx context.Context, r infer.DeleteRequest[CommandOutputs]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, r.State.runFirst(ctx, r.State.Delete)
}

// runFirst runs the first of the scripts that there is.
func (c *CommandOutputs) runFirst(ctx context.Context, scripts ...*string) error {
	for _, script := range scripts {
		if script != nil {
			return c.run(ctx, *script)
		}
	}
	return nil
}
