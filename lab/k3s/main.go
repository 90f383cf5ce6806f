// k3s stand-in for the lab: k3s's command line, files and port 6443 around the real control plane. See README.md.
package main

import "k3s-ha/lab/k3s/internal/cli"

func main() { cli.Main() }
