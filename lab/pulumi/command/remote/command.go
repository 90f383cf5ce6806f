package remote

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Command runs scripts on a host at its creation, update and deletion.
type Command struct{}

// CommandInputs are the arguments of a Command.
type CommandInputs struct {
	Connection             *Connection       `pulumi:"connection"                      provider:"secret"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Triggers               *[]any            `pulumi:"triggers,optional"               provider:"replaceOnChanges"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	Environment            map[string]string `pulumi:"environment,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
}

// CommandOutputs are its state: what was asked for, and what the last script printed.
type CommandOutputs struct {
	CommandInputs
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Logging says which stream is shown while the script runs.
type Logging string

const (
	logStdout Logging = "stdout"
	logStderr Logging = "stderr"
	logBoth   Logging = "stdoutAndStderr"
	logNone   Logging = "none"
)

// Values makes Logging an enum in the schema.
func (Logging) Values() []infer.EnumValue[Logging] {
	var values []infer.EnumValue[Logging]
	for _, v := range []Logging{logStdout, logStderr, logBoth, logNone} {
		values = append(values, infer.EnumValue[Logging]{Name: string(v), Value: v})
	}
	return values
}

// shows tells whether a stream is logged; without a setting both are.
func (l *Logging) shows(stream Logging) bool {
	return l == nil || *l == logBoth || *l == stream
}

// Create runs `create`. A failure leaves nothing in the state.
func (*Command) Create(
	ctx context.Context, req infer.CreateRequest[CommandInputs],
) (infer.CreateResponse[CommandOutputs], error) {
	response := infer.CreateResponse[CommandOutputs]{Output: CommandOutputs{CommandInputs: req.Inputs}}
	var err error
	if response.ID, err = resource.NewUniqueHex(req.Name, 8, 0); err != nil || req.DryRun {
		return response, err
	}
	err = response.Output.run(ctx, req.Inputs.Create)
	return response, err
}

// Update runs `update`, else `create`; with neither the outputs stay.
func (*Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandOutputs],
) (infer.UpdateResponse[CommandOutputs], error) {
	response := infer.UpdateResponse[CommandOutputs]{Output: CommandOutputs{req.Inputs, req.State.Stdout, req.State.Stderr}}
	if req.DryRun {
		return response, nil
	}
	script := req.Inputs.Update
	if script == nil {
		script = req.Inputs.Create
	}
	err := response.Output.run(ctx, script)
	return response, err
}

// Delete runs the `delete` of the state.
func (*Command) Delete(ctx context.Context, req infer.DeleteRequest[CommandOutputs]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, req.State.run(ctx, req.State.Delete)
}
