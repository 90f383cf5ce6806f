/**
 * The keys that k3s accepts in config.yaml, by role, with the kind of their values.
 * Source: pkg/cli/cmds/{server,agent,root,config,log}.go of k3s 1.36.3 (release-1.34 equal unless said).
 * A server ignores an unknown key and an agent dies of it (k3s-io/k3s#6565), so both are refused before a host is touched.
 */
export type KeyKind = "string" | "bool" | "int" | "duration" | "list";

const words = (text: string): string[] => text.trim().split(/\s+/);
const table = (kinds: Readonly<Record<KeyKind, string>>): Readonly<Record<string, KeyKind>> =>
    Object.fromEntries(
        Object.entries(kinds).flatMap(([kind, keys]) =>
            words(keys)
                .filter(Boolean)
                .map((k) => [k, kind as KeyKind]),
        ),
    );

const BOTH = table({
    string: `config vmodule log bind-address data-dir token token-file server node-name image-credential-provider-bin-dir
        image-credential-provider-config container-runtime-endpoint default-runtime image-service-endpoint pause-image snapshotter
        private-registry resolv-conf flannel-iface flannel-conf flannel-cni-conf vpn-auth vpn-auth-file`,
    bool: `debug alsologtostderr with-node-id docker disable-default-registry-endpoint nonroot-devices protect-kernel-defaults
        enable-pprof rootless prefer-bundled-bin selinux`,
    int: "v lb-server-port",
    list: `node-label node-taint airgap-extra-registry node-ip node-external-ip node-internal-dns node-external-dns kubelet-arg
        kube-proxy-arg`,
    duration: "",
});

const SERVER = table({
    string: `advertise-address service-node-port-range cluster-domain flannel-backend egress-selector-mode servicelb-namespace
        write-kubeconfig write-kubeconfig-mode write-kubeconfig-group write-kubeconfig-name helm-job-image agent-token agent-token-file
        cluster-reset-restore-path datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile etcd-snapshot-name
        etcd-snapshot-schedule-cron etcd-snapshot-dir etcd-s3-endpoint etcd-s3-endpoint-ca etcd-s3-access-key etcd-s3-secret-key
        etcd-s3-session-token etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-proxy
        etcd-s3-config-secret default-local-storage-path system-default-registry secrets-encryption-provider apiserver-bind-address`,
    bool: `tls-san-security flannel-ipv6-masq flannel-external-ip cluster-init cluster-reset etcd-expose-metrics etcd-disable-snapshots
        etcd-snapshot-compress etcd-s3 etcd-s3-skip-ssl-verify etcd-s3-insecure disable-scheduler disable-cloud-controller
        disable-kube-proxy disable-network-policy disable-helm-controller embedded-registry supervisor-metrics secrets-encryption
        disable-apiserver disable-controller-manager disable-etcd disable-agent kine-tls`,
    int: "https-listen-port advertise-port etcd-snapshot-retention etcd-s3-retention supervisor-port apiserver-port",
    duration: "etcd-snapshot-reconcile-interval etcd-s3-timeout",
    list: `tls-san cluster-cidr service-cidr cluster-dns disable kube-apiserver-arg etcd-arg kube-controller-manager-arg
        kube-scheduler-arg kube-cloud-controller-manager-arg helm-controller-arg kube-controller-arg kube-cloud-controller-arg`,
});

const AGENT = table({ string: "", bool: "disable-apiserver-lb", int: "", duration: "", list: "" });

/** Every key a role accepts. */
export const K3S_KEYS: Readonly<Record<"server" | "agent", Readonly<Record<string, KeyKind>>>> = {
    server: { ...BOTH, ...SERVER },
    agent: { ...BOTH, ...AGENT },
};

/** Keys that this program writes itself, with what to use instead. */
export const MANAGED_KEYS: Readonly<Record<string, string>> = {
    config: "the program writes /etc/rancher/k3s/config.yaml",
    "data-dir": "the program and its removal rely on /var/lib/rancher/k3s",
    server: "every node joins through its own proxy",
    "cluster-init": "the first start of the first server sets it, and nothing else may",
    "cluster-reset": "it is a command of a recovery, not a setting",
    "cluster-reset-restore-path": "it is a command of a recovery, not a setting",
    token: "use the secret k3s-ha:token",
    "token-file": "use the secret k3s-ha:token",
    "agent-token": "use the secret k3s-ha:agentToken",
    "agent-token-file": "use the secret k3s-ha:agentToken",
    "etcd-s3-access-key": "use the secret k3s-ha:s3AccessKey",
    "etcd-s3-secret-key": "use the secret k3s-ha:s3SecretKey",
    "node-name": "use nodes[].name",
    "with-node-id": "use nodes[].name",
    "node-label": "use nodes[].labels",
    "node-taint": "use nodes[].taints",
    "node-ip": "use nodes[].address",
    "node-external-ip": "use nodes[].externalAddress",
    "advertise-address": "it is nodes[].address",
    "https-listen-port": "the proxies expect 6443",
    "supervisor-port": "the proxies expect 6443",
    "apiserver-port": "the proxies expect 6443",
    "datastore-endpoint": "the servers run embedded etcd",
    "datastore-cafile": "the servers run embedded etcd",
    "datastore-certfile": "the servers run embedded etcd",
    "datastore-keyfile": "the servers run embedded etcd",
    "disable-etcd": "every server is an etcd voter",
    "disable-apiserver": "every server serves the API",
    "disable-agent": "every node is waited for until its Node is Ready",
    "disable-apiserver-lb": "use k3s-ha:agent.throughProxy",
    "write-kubeconfig": "the program reads /etc/rancher/k3s/k3s.yaml",
    "private-registry": "use k3s-ha:registries",
    "bind-address": "the API must be reachable on the VPN address and on loopback",
    rootless: "the program installs system units",
};

/** Keys that k3s wants equal on all servers; some are checked by k3s at the join, the rest go wrong later without a word. */
export const EQUAL_ON_SERVERS: ReadonlySet<string> = new Set(
    words(`cluster-cidr service-cidr cluster-dns cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip
        egress-selector-mode disable-cloud-controller disable-helm-controller disable-network-policy disable secrets-encryption
        secrets-encryption-provider embedded-registry supervisor-metrics disable-kube-proxy kube-apiserver-arg`),
);
