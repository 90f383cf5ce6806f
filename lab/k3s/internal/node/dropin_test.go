package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
)

const kind = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func TestDropInsAreMergedByName(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"00-first.conf":   kind + "maxPods: 20\npodsPerCore: 3\n",
		"50-k3s-ha.conf":  kind + "maxPods: 70\n",
		"60-other.notify": "not read",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &kubeletconfig.KubeletConfiguration{MaxPods: 110, NodeStatusMaxImages: 7}
	if err := mergeDropIns(c, dir); err != nil {
		t.Fatal(err)
	}
	if c.MaxPods != 70 || c.PodsPerCore != 3 || c.NodeStatusMaxImages != 7 {
		t.Errorf("maxPods %d, podsPerCore %d, nodeStatusMaxImages %d", c.MaxPods, c.PodsPerCore, c.NodeStatusMaxImages)
	}
}

func TestDropInsThatAreWrongAreRefused(t *testing.T) {
	for what, text := range map[string]string{
		"no kind":      "maxPods: 20\n",
		"unknown kind": "apiVersion: v1\nkind: Pod\n",
		"wrong type":   kind + "maxPods: many\n",
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "50-k3s-ha.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := mergeDropIns(&kubeletconfig.KubeletConfiguration{}, dir); err == nil || !strings.Contains(err.Error(), "kubelet drop-in") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNoDropIns(t *testing.T) {
	c := &kubeletconfig.KubeletConfiguration{MaxPods: 110}
	if err := mergeDropIns(c, filepath.Join(t.TempDir(), "missing")); err != nil || c.MaxPods != 110 {
		t.Errorf("%v, maxPods %d", err, c.MaxPods)
	}
}
