package node

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/kubelet/config/v1beta1"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	conversion "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// mergeDropIns applies the kubelet's drop-in files (`*.conf` in dir, by name) to c as the kubelet does with --config-dir
// (mergeKubeletConfigurations in cmd/kubelet/app, which is not exported). A missing folder has none.
func mergeDropIns(c *kubeletconfig.KubeletConfiguration, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	base := &v1beta1.KubeletConfiguration{}
	if err := conversion.Convert_config_KubeletConfiguration_To_v1beta1_KubeletConfiguration(c, base, nil); err != nil {
		return err
	}
	merged, err := json.Marshal(base)
	if err != nil {
		return err
	}
	for _, file := range files {
		if merged, err = withDropIn(merged, file); err != nil {
			return fmt.Errorf("kubelet drop-in %s: %w", file, err)
		}
	}
	out := &v1beta1.KubeletConfiguration{}
	if err := json.Unmarshal(merged, out); err != nil {
		return fmt.Errorf("kubelet drop-ins in %s: %w", dir, err)
	}
	conversion.SetDefaults_KubeletConfiguration(out)
	return conversion.Convert_v1beta1_KubeletConfiguration_To_config_KubeletConfiguration(out, c, nil)
}

func withDropIn(base []byte, file string) ([]byte, error) {
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, file)
	if err != nil {
		return nil, err
	}
	patch, kind, err := loader.LoadIntoJSON()
	if err != nil {
		return nil, err
	}
	if want := v1beta1.SchemeGroupVersion.WithKind("KubeletConfiguration"); kind == nil || *kind != want {
		return nil, fmt.Errorf("unknown apiVersion/kind: %v", kind)
	}
	return jsonpatch.MergePatch(base, patch)
}
