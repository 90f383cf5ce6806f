// pulumi-resource-command is the lab's stand-in for the Pulumi package "command" 1.2.1, which no registry of Go modules
// serves: remote.Command and remote.CopyToRemote, as the official provider does them.
package main

import (
	"context"
	"fmt"
	"os"

	goprovider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/middleware/cancel"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "1.2.1" // set by the build from package.json

func main() {
	// The framework's package infer, which makes schema, Check and Diff from Go types, does not compile with the
	// engine's 3.248.0. What it would do is in provider.go and schema.json.
	provider := cancel.Wrap(goprovider.Provider{
		GetSchema:   getSchema,
		CheckConfig: checkConfig,
		DiffConfig:  diffConfig,
		Check:       check,
		Diff:        diff,
		Create:      create,
		Read:        read,
		Update:      update,
		Delete:      remove,
	}.WithDefaults())
	if err := provider.Run(context.Background(), "command", version); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}
