// pulumi-resource-command is the lab's stand-in for the Pulumi package "command" 1.2.1, which no registry of Go modules
// serves: remote.Command and remote.CopyToRemote, as the official provider does them.
package main

import (
	"context"
	"fmt"
	"os"

	"k3s-ha/lab/pulumi/command/remote"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "1.2.1" // set by the build from package.json

func main() {
	if err := remote.Provider().Run(context.Background(), "command", version); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}
