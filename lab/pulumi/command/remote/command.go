package remote

import (
	"context"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CommandInputs is what remote.Command is told, and what its last script printed.
type CommandInputs struct {
	Connection             Connection        `pulumi:"connection"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Triggers               *[]any            `pulumi:"triggers,optional"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *string           `pulumi:"logging,optional"`
	Environment            map[string]string `pulumi:"environment,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`

	stdout, stderr string
}

// logs tells whether a stream is shown while the script runs; without a setting both are.
func (c *CommandInputs) logs(stream string) bool {
	return c.Logging == nil || *c.Logging == stream || *c.Logging == "stdoutAndStderr"
}

func checkCommand(inputs values) []p.CheckFailure {
	_, failures := decode[CommandInputs](inputs, false)
	return failures
}

// createCommand runs `create`. A failure leaves nothing in the state.
func createCommand(ctx context.Context, name string, inputs values, preview bool) (string, values, error) {
	id, err := resource.NewUniqueHex(name, 8, 0)
	if err != nil {
		return "", nil, err
	}
	if preview {
		return id, previewed(inputs, "stdout", "stderr"), nil
	}
	outputs, err := runCommand(ctx, inputs, nil, "create")
	return id, outputs, err
}

// updateCommand runs `update`, else `create`; with neither the outputs stay.
func updateCommand(ctx context.Context, state, inputs values, preview bool) (values, error) {
	if !preview {
		return runCommand(ctx, inputs, state, "update", "create")
	}
	inputs["stdout"], inputs["stderr"] = state["stdout"], state["stderr"]
	if differs(state, inputs, "stdout", "stderr") {
		return previewed(inputs, "stdout", "stderr"), nil
	}
	return previewed(inputs), nil
}

// removeCommand runs the `delete` of the state.
func removeCommand(ctx context.Context, state values) error {
	_, err := runCommand(ctx, state, state, "delete")
	return err
}

// runCommand runs the first of the scripts that there is. Outputs are the inputs, and what was printed.
func runCommand(ctx context.Context, inputs, state values, scripts ...resource.PropertyKey) (values, error) {
	c, err := arguments[CommandInputs](inputs)
	if err != nil {
		return nil, err
	}
	c.stdout, c.stderr = text(state["stdout"]), text(state["stderr"])
	for _, k := range scripts {
		if script := plain("", inputs[k]); script.IsString() {
			if err := c.run(ctx, script.StringValue()); err != nil {
				return nil, err
			}
			break
		}
	}
	inputs["stdout"], inputs["stderr"] = resource.NewProperty(c.stdout), resource.NewProperty(c.stderr)
	return inputs, nil
}

func text(v value) string {
	if v = plain("", v); v.IsString() {
		return v.StringValue()
	}
	return ""
}
