// pulumi-resource-kubernetes, the official one, for comparing ours with it. Its own main embeds files that its module does not
// have; the two that they are made of lie beside it, and build.sh says where.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// Set by build.sh.
var version, files string

func read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(files, name))
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-kubernetes:", err, "(build it again with lab/pulumi/official/build.sh)")
		os.Exit(1)
	}
	return b
}

func main() {
	provider.Serve("kubernetes", version, read("schema.json"), read("terraform-mapping.json"))
}
