package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	cloudapi "k8s.io/cloud-provider/api"
)

// Names that k3s puts on Nodes.
const (
	labelControlPlane  = "node-role.kubernetes.io/control-plane"
	labelEtcd          = "node-role.kubernetes.io/etcd"
	labelInstance      = "node.kubernetes.io/instance-type"
	annotationName     = "etcd.k3s.cattle.io/node-name"
	annotationAddress  = "etcd.k3s.cattle.io/node-address"
	annotationRemove   = "etcd.k3s.cattle.io/remove"
	annotationRemoved  = "etcd.k3s.cattle.io/removed-node-name"
	annotationExternal = "k3s.io/external-ip"
	finalizerEtcd      = "wrangler.cattle.io/managed-etcd-controller"
	// resync repeats the node controllers without an event, for what failed.
	resync = 30 * time.Second
)

// runNodeControllers marks this server's own Node and, on one server at a time, initializes Nodes (k3s's cloud
// controller) and removes the etcd members of deleted ones.
func (s *server) runNodeControllers(ctx context.Context, informer cache.SharedIndexInformer) error {
	kick := make(chan struct{}, 1)
	wake := func() {
		select {
		case kick <- struct{}{}:
		default:
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(obj any) {
			if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = d.Obj
			}
			if n, ok := obj.(*corev1.Node); ok && s.leading.Load() {
				s.forgetPassword(ctx, n.Name)
			}
		},
	})
	if err != nil {
		return err
	}
	go s.lead(ctx, wake)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-kick:
				// Heartbeats come one by one; a short pause makes one round of several.
				time.Sleep(100 * time.Millisecond)
			case <-time.After(resync):
			}
			s.reconcileNodes(ctx)
		}
	}()
	return nil
}

// lead holds the lease kube-system/k3s while it can. Losing it only pauses the controllers.
func (s *server) lead(ctx context.Context, wake func()) {
	if s.etcd == nil { // nobody else can be there
		s.leading.Store(true)
		wake()
		return
	}
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "k3s"},
				Client:     s.kube.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: s.id.Name},
			},
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { s.leading.Store(true); wake() },
				OnStoppedLeading: func() { s.leading.Store(false) },
			},
		})
	}
}

func (s *server) reconcileNodes(ctx context.Context) {
	list, err := s.nodes.List(labels.Everything())
	if err != nil {
		return
	}
	for _, n := range list {
		if n.Name == s.id.Name && n.DeletionTimestamp == nil {
			s.report("mark", n, s.markOwn(ctx, n))
		}
		if !s.leading.Load() {
			continue
		}
		s.report("initialize", n, s.initialize(ctx, n))
		s.report("manage the etcd member of", n, s.manageMember(ctx, n))
	}
}

func (s *server) report(what string, n *corev1.Node, err error) {
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		logrus.Errorf("Failed to %s node %s: %v", what, n.Name, err)
	}
}

func (s *server) patchNode(ctx context.Context, name string, patch map[string]any, sub ...string) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = s.kube.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{}, sub...)
	return err
}

// missing returns the wanted pairs that differ, nil when none does.
func missing(have, want map[string]string) map[string]string {
	var out map[string]string
	for k, v := range want {
		if have[k] != v {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// markOwn sets a server's role labels and etcd annotations.
func (s *server) markOwn(ctx context.Context, n *corev1.Node) error {
	labels, annotations := map[string]string{labelControlPlane: "true"}, map[string]string{}
	if s.etcd != nil {
		labels[labelEtcd] = "true"
		annotations[annotationName], annotations[annotationAddress] = s.etcd.Name, s.id.IPs[0]
	}
	l, a := missing(n.Labels, labels), missing(n.Annotations, annotations)
	if l == nil && a == nil {
		return nil
	}
	meta := map[string]any{} // a null in a merge patch would delete all of them
	if l != nil {
		meta["labels"] = l
	}
	if a != nil {
		meta["annotations"] = a
	}
	return s.patchNode(ctx, n.Name, map[string]any{"metadata": meta})
}

// initialize does what the cloud controller does for a new Node: addresses, instance type, and no more taint.
func (s *server) initialize(ctx context.Context, n *corev1.Node) error {
	taints := withoutTaint(n.Spec.Taints, cloudapi.TaintExternalCloudProvider)
	if len(taints) == len(n.Spec.Taints) || s.Bool("disable-cloud-controller") {
		return nil
	}
	if err := s.patchNode(ctx, n.Name, map[string]any{"status": map[string]any{"addresses": nodeAddresses(n)}}, "status"); err != nil {
		return err
	}
	updated, err := s.kube.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	taints = withoutTaint(updated.Spec.Taints, cloudapi.TaintExternalCloudProvider)
	// With the version read, so that a taint added meanwhile is not lost.
	return s.patchNode(ctx, n.Name, map[string]any{
		"metadata": map[string]any{"resourceVersion": updated.ResourceVersion, "labels": map[string]string{labelInstance: "k3s"}},
		"spec":     map[string]any{"taints": taints},
	})
}

func withoutTaint(list []corev1.Taint, key string) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(list), func(t corev1.Taint) bool { return t.Key == key })
}

func nodeAddresses(n *corev1.Node) []corev1.NodeAddress {
	var out []corev1.NodeAddress
	add := func(t corev1.NodeAddressType, list string) {
		for _, ip := range strings.Split(list, ",") {
			if ip != "" {
				out = append(out, corev1.NodeAddress{Type: t, Address: ip})
			}
		}
	}
	add(corev1.NodeInternalIP, n.Annotations[cloudapi.AnnotationAlphaProvidedIPAddr])
	add(corev1.NodeExternalIP, n.Annotations[annotationExternal])
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.Name})
}

// manageMember keeps a finalizer on etcd nodes, so that deleting one takes its member along.
func (s *server) manageMember(ctx context.Context, n *corev1.Node) error {
	if s.etcd == nil {
		return nil
	}
	name, address := n.Annotations[annotationName], n.Annotations[annotationAddress]
	has := slices.Contains(n.Finalizers, finalizerEtcd)
	switch {
	case n.DeletionTimestamp != nil && has:
		if err := s.etcd.RemoveMember(ctx, name, address); err != nil {
			return err
		}
		return s.setFinalizers(ctx, n, slices.DeleteFunc(slices.Clone(n.Finalizers), func(f string) bool { return f == finalizerEtcd }))
	case n.DeletionTimestamp != nil || name == "" || address == "":
		return nil
	case !has:
		return s.setFinalizers(ctx, n, append(slices.Clone(n.Finalizers), finalizerEtcd))
	case n.Annotations[annotationRemove] == "true" && n.Annotations[annotationRemoved] != name:
		if err := s.etcd.RemoveMember(ctx, name, address); err != nil {
			return err
		}
		return s.patchNode(ctx, n.Name, map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotationRemoved: name}}})
	}
	return nil
}

func (s *server) setFinalizers(ctx context.Context, n *corev1.Node, f []string) error {
	return s.patchNode(ctx, n.Name, map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "finalizers": f},
	})
}

func (s *server) forgetPassword(ctx context.Context, name string) {
	err := s.kube.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, name+passwordSuffix, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		logrus.Errorf("Failed to delete the password secret of node %s: %v", name, err)
	}
}
