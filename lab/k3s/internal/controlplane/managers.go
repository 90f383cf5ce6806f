package controlplane

import (
	"context"

	cm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	cmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	sched "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedoptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// RunControllerManager runs kube-controller-manager. Losing its lease ends the process, as in k3s.
func RunControllerManager(ctx context.Context, args []string) error {
	s, err := cmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	flags := s.Flags(cm.KnownControllers(), cm.ControllersDisabledByDefault(), cm.ControllerAliases())
	if err := parse("kube-controller-manager", flags, args); err != nil {
		return err
	}
	s.ParsedFlags = &flags
	c, err := s.Config(ctx, cm.KnownControllers(), cm.ControllersDisabledByDefault(), cm.ControllerAliases())
	if err != nil {
		return err
	}
	return cm.Run(ctx, c.Complete())
}

// RunScheduler runs kube-scheduler. Losing its lease ends the process, as in k3s.
func RunScheduler(ctx context.Context, args []string) error {
	o := schedoptions.NewOptions()
	if err := parse("kube-scheduler", *o.Flags, args); err != nil {
		return err
	}
	c, s, err := sched.Setup(ctx, o)
	if err != nil {
		return err
	}
	return sched.Run(ctx, c, s)
}
