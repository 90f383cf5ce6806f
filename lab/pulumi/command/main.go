// pulumi-resource-command is the lab's stand-in for the Pulumi package "command" 1.2.1, which no registry of Go modules
// serves: remote.Command and remote.CopyToRemote, on the framework of the official provider and as that one does them.
package main

import (
	"context"
	"log"

	"github.com/pulumi/pulumi-go-provider/infer"

	"k3s-ha/lab/pulumi/command/remote"
)

// The engine takes a plugin only if it has the version of the SDK.
var version = "1.2.1" // set by the build from package.json

func main() {
	// Schema, checks of inputs, defaults, secrets and diffs are the framework's, made of the resources' types.
	provider := infer.Provider(infer.Options{Resources: []infer.InferredResource{
		infer.Resource(&remote.Command{}), infer.Resource(&remote.CopyToRemote{}),
	}})
	if err := provider.Run(context.Background(), "command", version); err != nil {
		log.Fatalln("pulumi-resource-command:", err)
	}
}
