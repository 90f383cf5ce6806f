package agent

import (
	"encoding/json"
	"os"
	"strings"
)

const omitted = "********"

// Flags and variables whose values the annotations hide (k3s 1.36.3, pkg/nodeconfig).
var secrets = map[string]bool{
	"K3S_TOKEN": true, "K3S_DATASTORE_ENDPOINT": true, "K3S_AGENT_TOKEN": true, "K3S_CLUSTER_SECRET": true, "K3S_VPN_AUTH": true,
	"--token": true, "-t": true, "--agent-token": true, "--datastore-endpoint": true, "--etcd-s3-access-key": true, "--etcd-s3-secret-key": true, "--vpn-auth": true,
}

// nodeArgs is the value of the annotation k3s.io/node-args: what this k3s was started with, from files and arguments.
func nodeArgs(given []string) string {
	out := []string{}
	for _, a := range given {
		name, value, found := strings.Cut(a, "=")
		if found && strings.HasPrefix(a, "-") {
			out = append(out, name, value)
		} else {
			out = append(out, a)
		}
	}
	for i := 1; i < len(out); i++ {
		if secrets[out[i-1]] {
			out[i] = omitted
		}
	}
	data, _ := json.Marshal(out)
	return string(data)
}

// nodeEnv is the value of the annotation k3s.io/node-env.
func nodeEnv() string {
	out := map[string]string{}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "K3S_") {
			continue
		}
		if secrets[name] {
			value = omitted
		}
		out[name] = value
	}
	data, _ := json.Marshal(out)
	return string(data)
}
