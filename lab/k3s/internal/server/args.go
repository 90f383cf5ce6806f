package server

import (
	"strconv"
	"strings"

	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/host"
)

// apiserverArgs are k3s's arguments for kube-apiserver with kube-apiserver-arg applied.
func (o *options) apiserverArgs(etcdEndpoint string) []string {
	audience := "https://kubernetes.default.svc." + o.String("cluster-domain")
	base := map[string]string{
		"storage-backend":                    "etcd3",
		"etcd-servers":                       etcdEndpoint,
		"etcd-cafile":                        o.tls("etcd/server-ca.crt"),
		"etcd-certfile":                      o.tls("etcd/client.crt"),
		"etcd-keyfile":                       o.tls("etcd/client.key"),
		"cert-dir":                           o.tls("temporary-certs"),
		"allow-privileged":                   "true",
		"authorization-mode":                 "Node,RBAC",
		"service-account-signing-key-file":   o.tls("service.key"),
		"service-account-key-file":           o.tls("service.key"),
		"service-account-issuer":             audience,
		"api-audiences":                      audience + ",k3s",
		"service-cluster-ip-range":           strings.Join(o.serviceCIDR, ","),
		"service-node-port-range":            o.String("service-node-port-range"),
		"advertise-address":                  o.advertise,
		"secure-port":                        strconv.Itoa(o.apiPort),
		"bind-address":                       host.Loopback(),
		"tls-cert-file":                      o.tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":               o.tls("serving-kube-apiserver.key"),
		"kubelet-certificate-authority":      o.tls("server-ca.crt"),
		"kubelet-client-certificate":         o.tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 o.tls("client-kube-apiserver.key"),
		"requestheader-client-ca-file":       o.tls("request-header-ca.crt"),
		"requestheader-allowed-names":        "system:auth-proxy",
		"proxy-client-cert-file":             o.tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              o.tls("client-auth-proxy.key"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"client-ca-file":                     o.tls("client-ca.crt"),
		"enable-admission-plugins":           "NodeRestriction",
		"profiling":                          "false",
	}
	if o.Bool("secrets-encryption") {
		base["encryption-provider-config"] = o.encryptionConfig()
		base["encryption-provider-config-automatic-reload"] = "true"
	}
	if strings.HasPrefix(etcdEndpoint, "unix:") {
		for _, k := range []string{"etcd-cafile", "etcd-certfile", "etcd-keyfile"} {
			delete(base, k)
		}
	}
	if a := o.String("apiserver-bind-address"); a != "" {
		base["bind-address"] = a
	}
	extra := o.List("kube-apiserver-arg")
	// Both at once are refused by kube-apiserver; k3s leaves its default out when the file is given.
	if _, given := config.ArgValue(extra, "authentication-config"); !given {
		base["anonymous-auth"] = "false"
	}
	return config.ComponentArgs(base, extra)
}

// withElection leaves the election out where no other server can be, on SQLite.
func withElection(base map[string]string, elect bool) map[string]string {
	if !elect {
		base["leader-elect"] = "false"
	}
	return base
}

func (o *options) controllerManagerArgs(elect bool) []string {
	base := map[string]string{
		"kubeconfig":                       o.file("cred/controller.kubeconfig"),
		"authorization-kubeconfig":         o.file("cred/controller.kubeconfig"),
		"authentication-kubeconfig":        o.file("cred/controller.kubeconfig"),
		"service-account-private-key-file": o.tls("service.key"),
		"allocate-node-cidrs":              "true",
		"cluster-cidr":                     strings.Join(o.clusterCIDR, ","),
		"service-cluster-ip-range":         strings.Join(o.serviceCIDR, ","),
		"root-ca-file":                     o.tls("server-ca.crt"),
		"profiling":                        "false",
		"bind-address":                     host.Loopback(),
		"secure-port":                      "10257",
		"tls-cert-file":                    o.tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":             o.tls("serving-kube-apiserver.key"),
		"use-service-account-credentials":  "true",
		"configure-cloud-routes":           "false",
		// Unlike k3s without the attach-detach controller, and so without CSI volumes: it and the kubelet of the same process set one
		// global (csi_plugin.go, nim). When it comes second, between the kubelet's two uses, the Node is never Ready.
		"controllers": "*,tokencleaner,-service,-route,-cloud-node-lifecycle,-persistentvolume-attach-detach-controller",
	}
	for _, signer := range []string{"kube-apiserver-client", "kubelet-client", "legacy-unknown"} {
		base["cluster-signing-"+signer+"-cert-file"] = o.tls("client-ca.crt")
		base["cluster-signing-"+signer+"-key-file"] = o.tls("client-ca.key")
	}
	base["cluster-signing-kubelet-serving-cert-file"] = o.tls("server-ca.crt")
	base["cluster-signing-kubelet-serving-key-file"] = o.tls("server-ca.key")
	return config.ComponentArgs(withElection(base, elect), append(o.List("kube-controller-arg"), o.List("kube-controller-manager-arg")...))
}

func (o *options) schedulerArgs(elect bool) []string {
	return config.ComponentArgs(withElection(map[string]string{
		"kubeconfig":                o.file("cred/scheduler.kubeconfig"),
		"authorization-kubeconfig":  o.file("cred/scheduler.kubeconfig"),
		"authentication-kubeconfig": o.file("cred/scheduler.kubeconfig"),
		"bind-address":              host.Loopback(),
		"secure-port":               "10259",
		"tls-cert-file":             o.tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":      o.tls("serving-kube-apiserver.key"),
		"profiling":                 "false",
	}, elect), o.List("kube-scheduler-arg"))
}
