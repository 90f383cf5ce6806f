package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	fake "k8s.io/cri-api/pkg/apis/testing"

	"k3s-ha/lab/k3s/internal/pki"
)

// containers go on while k3s is restarted, as containerd's do: what the fake runtime holds is kept in a file below /run,
// which a host that starts anew has lost.
type containers struct {
	cri.RuntimeService
	fake *fake.FakeRuntimeService
	file string
}

type keptSandbox struct {
	Status  []byte // protobuf, as the others
	Handler string
}

type keptContainer struct {
	Status    []byte
	Resources []byte
	Sandbox   string
}

type kept struct {
	Sandboxes  []keptSandbox
	Containers []keptContainer
}

// load takes over what the file holds, if there is one.
func (c *containers) load() error {
	data, err := os.ReadFile(c.file)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	c.fake.Lock()
	defer c.fake.Unlock()
	for _, s := range k.Sandboxes {
		n := &fake.FakePodSandbox{RuntimeHandler: s.Handler}
		if err := proto.Unmarshal(s.Status, &n.PodSandboxStatus); err != nil {
			return err
		}
		c.fake.Sandboxes[n.Id] = n
	}
	for _, s := range k.Containers {
		n := &fake.FakeContainer{SandboxID: s.Sandbox}
		if err := proto.Unmarshal(s.Status, &n.ContainerStatus); err != nil {
			return err
		}
		if s.Resources != nil {
			n.LinuxResources = &runtimeapi.LinuxContainerResources{}
			if err := proto.Unmarshal(s.Resources, n.LinuxResources); err != nil {
				return err
			}
		}
		c.fake.Containers[n.Id] = n
	}
	return nil
}

func (c *containers) save() error {
	c.fake.Lock()
	defer c.fake.Unlock()
	var k kept
	for _, s := range c.fake.Sandboxes {
		status, err := proto.Marshal(&s.PodSandboxStatus)
		if err != nil {
			return err
		}
		k.Sandboxes = append(k.Sandboxes, keptSandbox{status, s.RuntimeHandler})
	}
	for _, s := range c.fake.Containers {
		status, err := proto.Marshal(&s.ContainerStatus)
		if err != nil {
			return err
		}
		n := keptContainer{Status: status, Sandbox: s.SandboxID}
		if s.LinuxResources != nil {
			if n.Resources, err = proto.Marshal(s.LinuxResources); err != nil {
				return err
			}
		}
		k.Containers = append(k.Containers, n)
	}
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o711); err != nil {
		return err
	}
	return pki.WriteFile(c.file, data, 0o600)
}

// kept saves after a change that was made.
func (c *containers) kept(err error) error {
	if err != nil {
		return err
	}
	if err := c.save(); err != nil {
		logrus.Errorf("Failed to keep the state of the containers: %v", err)
	}
	return nil
}

func (c *containers) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	id, err := c.RuntimeService.RunPodSandbox(ctx, config, handler)
	return id, c.kept(err)
}

func (c *containers) StopPodSandbox(ctx context.Context, id string) error {
	return c.kept(c.RuntimeService.StopPodSandbox(ctx, id))
}

func (c *containers) RemovePodSandbox(ctx context.Context, id string) error {
	return c.kept(c.RuntimeService.RemovePodSandbox(ctx, id))
}

func (c *containers) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	id, err := c.RuntimeService.CreateContainer(ctx, sandbox, config, sandboxConfig)
	return id, c.kept(err)
}

func (c *containers) StartContainer(ctx context.Context, id string) error {
	return c.kept(c.RuntimeService.StartContainer(ctx, id))
}

func (c *containers) StopContainer(ctx context.Context, id string, timeout int64) error {
	return c.kept(c.RuntimeService.StopContainer(ctx, id, timeout))
}

func (c *containers) RemoveContainer(ctx context.Context, id string) error {
	return c.kept(c.RuntimeService.RemoveContainer(ctx, id))
}
