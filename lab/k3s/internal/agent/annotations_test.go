package agent

import "testing"

func TestNodeArgsHideSecrets(t *testing.T) {
	got := nodeArgs([]string{"server", "--token", "abc", "--agent-token=def", "--node-name", "m1", "--kubelet-arg=a=b"})
	if want := `["server","--token","********","--agent-token","********","--node-name","m1","--kubelet-arg","a=b"]`; got != want {
		t.Error(got)
	}
}

func TestNodeEnvHidesSecrets(t *testing.T) {
	t.Setenv("K3S_TOKEN", "abc")
	t.Setenv("K3S_URL", "https://m1:6443")
	if got, want := nodeEnv(), `{"K3S_TOKEN":"********","K3S_URL":"https://m1:6443"}`; got != want {
		t.Error(got)
	}
}
