/** diagnose.sh: which layer is in the way of a k3s that does not come up, by k3s's own words and what the proxy sees. */
import assert from "node:assert/strict";
import { shell } from "../helpers/step-shell";

/** What a step says when k3s has written `journal` and the proxy of a node that joins sees `up` servers. */
async function diagnosis(journal: string, up: readonly string[], why = "k3s ends again and again"): Promise<string> {
    const commands = `ROLE=agent UNIT=k3s.service NODE=agent-9 STEP=agent start_time=$(now)
journalctl() { cat $WORK/log; }
systemctl() { echo activating; }
setting() { echo 10.0.0.9; }
servers_up() { printf '%s' '${up.map((name) => `${name}\n`).join("")}'; }
servers_down() { :; }
diagnose "${why}" >/dev/null`;
    const { code, text } = await shell(commands, { "work/log": `${journal}\n` });
    assert.equal(code, 1, text);
    return text;
}

const UP = ["master-1", "master-2"];

describe("why k3s does not come up", () => {
    // Words of k3s 1.36.3 and of what it embeds.
    for (const [journal, layer, next] of [
        [
            'level=fatal msg="failed to validate token: token CA hash does not match the Cluster CA certificate hash: 1a != 2b"',
            /token \(its CA hash is not this cluster's\)/,
            /caHash/,
        ],
        [
            'level=error msg="https://127.0.0.1:16443/v1-k3s/config: 401 Unauthorized"',
            /token$/m,
            /kubectl delete node agent-9/,
        ],
        [
            'level=fatal msg="starting kubernetes: bootstrap data already found and encrypted with different token"',
            /token$/m,
            /token of this node is not the cluster's/,
        ],
        [
            "level=fatal msg=\"Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry\"",
            /etcd \(a member or Node of this name is still known\)/,
            /kubectl delete node agent-9/,
        ],
        [
            'level=fatal msg="etcd cluster join failed: duplicate node name found, please use a unique name for this node"',
            /etcd \(a member or Node of this name is still known\)/,
            /kubectl delete node agent-9/,
        ],
        [
            '{"level":"error","msg":"the member has been permanently removed from the cluster"}',
            /etcd \(this server's member was removed\)/,
            /raise nodes\[\]\.rebuilt of agent-9/,
        ],
        [
            'level=fatal msg="starting kubernetes: critical configuration value mismatch between servers: ClusterCIDR"',
            /configuration \(differs from the other servers'\)/,
            /equal on all servers/,
        ],
        [
            'level=fatal msg="etcd cluster join failed: etcdserver: unhealthy cluster"',
            /etcd$/m,
            /ports 2379 and 2380 of 10\.0\.0\.9/,
        ],
        [
            'level=error msg="tls: failed to verify certificate: x509: certificate has expired or is not yet valid"',
            /clock$/m,
            /date -u/,
        ],
        [
            'level=error msg="x509: certificate signed by unknown authority"',
            /TLS \(a certificate of another CA\)/,
            /compare the CA's hash on both/,
        ],
        [
            'level=fatal msg="listen tcp 0.0.0.0:6443: bind: address already in use"',
            /port 6443 \(already in use on this host\)/,
            /ss -lntup sport = :6443/,
        ],
        [
            'level=fatal msg="failed to find memory cgroup (v2)"',
            /host \(a cgroup controller is missing\)/,
            /cgroup_enable=memory/,
        ],
        ['level=fatal msg="something new"', /k3s itself/, /journalctl -u k3s\.service/],
    ] as const)
        it(journal.replace(/.*msg"?[=:]"/, "").replace(/".*/, ""), async () => {
            const text = await diagnosis(journal, UP);
            assert.match(text, /FAILED on node agent-9, step agent: k3s ends again and again\n/);
            assert.match(text, new RegExp(`layer: ${layer.source}`, layer.flags));
            assert.match(text, /local proxy sees 2 servers up/);
            assert.match(text.slice(text.indexOf("  next: ")), next);
        });

    /** How k3s says that one of its parts has ended, between the noise before and the farewell and next start after it. */
    const ended = (what: string): string =>
        [
            'level=info msg="Starting k3s v1.36.3+k3s1 (0d41cf40)"',
            'level=info msg="Waiting for etcd server to become available"',
            '{"level":"warn","msg":"failed to publish local member to cluster through raft","error":"context deadline exceeded"}',
            what.startsWith("level=")
                ? what
                : `level=error msg="Shutdown request received: ${JSON.stringify(JSON.stringify(what)).slice(1, -1)}"`,
            'level=fatal msg="Failed to get request handlers from apiserver: timed out waiting for the condition"',
            '{"level":"info","msg":"closed etcd server"}',
            "k3s.service: Main process exited, code=exited, status=1/FAILURE",
            'level=info msg="Starting k3s v1.36.3+k3s1 (0d41cf40)"',
            'level=info msg="Waiting for etcd server to become available"',
            'level=error msg="tls: failed to verify certificate: x509: certificate signed by unknown authority"',
        ].join("\n");

    for (const [what, layer, next] of [
        [
            "kubelet exited: failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release, path: &TypeMeta{}",
            /host \(cgroup v1\)/,
            /failCgroupV1: false/,
        ],
        [
            "apiserver exited: unknown flag: --no-such-flag",
            /configuration \(kube-apiserver does not accept a setting\)/,
            /k3s-ha:server\.config kube-apiserver-arg/,
        ],
        [
            'apiserver exited: invalid argument "x" for "--request-timeout" flag: time: invalid duration "x"',
            /configuration \(kube-apiserver does not accept/,
            /kube-apiserver-arg/,
        ],
        [
            "kubelet exited: failed to parse kubelet flag: unknown flag: --no-such-flag",
            /configuration \(kubelet does not accept a setting\)/,
            /k3s-ha:kubelet and agent\.config kubelet-arg/,
        ],
        [
            'apiserver exited: loading audit policy file: failed to read file path "/etc/audit.yaml": open /etc/audit.yaml: no such file or directory',
            /configuration \(kube-apiserver cannot read a file/,
            /host\.files/,
        ],
        [
            "apiserver exited: failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use",
            /port 6443 \(already in use/,
            /sport = :6443/,
        ],
        [
            "containerd exited: write /var/lib/rancher/k3s/agent/containerd/x: no space left on device",
            /disk \(full\)/,
            /df -h/,
        ],
        [
            'level=fatal msg="Error: preparing server: failed to get CA certs: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-11-29T00:00:00Z"',
            /clock \(of this host is behind/,
            /date -u/,
        ],
        [
            'level=fatal msg="Error: x509: certificate has expired or is not yet valid: current time 2028-01-01T00:00:00Z is after 2026-11-29T00:00:00Z"',
            /certificates \(one has expired/,
            /rotate\.certificates/,
        ],
        [
            "flannel exited: failed to find the interface: no such network interface",
            /network \(flannel finds no interface\)/,
            /vpn\.interface/,
        ],
        // What only looks like an interface that is missing, or like a setting.
        [
            "flannel exited: failed to register flannel network: failed to set up the wireguard interface: operation not supported",
            /host \(its kernel lacks what flannel's backend needs\)/,
            /modprobe wireguard/,
        ],
        [
            'flannel exited: failed to register flannel network: failed to acquire lease: node "agent-9" pod cidr not assigned',
            /pods' network \(the Node was given no part of it\)/,
            /cluster-cidr/,
        ],
        [
            "flannel exited: failed to register flannel network: listen udp :51820: bind: address already in use",
            /port 51820 \(already in use/,
            /ss -lntup sport = :51820.*wg show/,
        ],
        ["flannel exited: something nobody knows", /k3s itself \(flannel ended\)/, /its reason stands above/],
        [
            'level=fatal msg="Error: \\"overlayfs\\" snapshotter cannot be enabled for \\"/var/lib/rancher/k3s/agent/containerd\\", try using \\"fuse-overlayfs\\" or \\"native\\": failed to mount overlay: invalid argument"',
            /disk \(its file system takes no overlay\)/,
            /k3s-ha:agent\.config snapshotter: native/,
        ],
        [
            "kubelet exited: failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false",
            /host \(swap is on/,
            /failSwapOn out of k3s-ha:kubelet/,
        ],
        [
            "kubelet exited: failed to start: write /sys/fs/cgroup/x: invalid argument",
            /k3s itself \(kubelet ended\)/,
            /its reason stands above/,
        ],
        ["containerd exited: exit status 1", /k3s itself \(containerd ended\)/, /containerd\/containerd\.log/],
        [
            "etcd exited: invalid configuration: unknown flag x",
            /configuration \(etcd does not accept a setting\)/,
            /k3s-ha:server\.config etcd-arg/,
        ],
        [
            'level=fatal msg="exec: \\"k3s-server\\": executable file not found in $PATH"',
            /host \(a binary of k3s may not be executed\)/,
            /noexec/,
        ],
        ["scheduler exited: something nobody knows", /k3s itself \(scheduler ended\)/, /its reason stands above/],
    ] as const)
        it(`what ended k3s comes first: ${what.slice(0, 60)}`, async () => {
            const text = await diagnosis(ended(what), UP);
            assert.match(text, new RegExp(`layer: ${layer.source}`));
            assert.match(text.slice(text.indexOf("  next: ")), next);
            const reason = text.slice(text.indexOf("ended by: "), text.indexOf("\n  layer: "));
            const told = /x509: certificate has expired|snapshotter cannot be enabled|executable file not found/.exec(
                what,
            )?.[0];
            assert.ok(reason.includes(what.startsWith("level=") ? String(told) : what), reason);
        });

    it("of several runs the last one that ended tells", async () => {
        const text = await diagnosis(`${ended("kubelet exited: one")}\n${ended("kubelet exited: two")}`, UP);
        assert.match(text, /ended by: kubelet exited: two\n/);
    });

    const unfounded = 'level=fatal msg="starting kubernetes: preparing server: no bootstrap data found in datastore"';

    it("of a founding that was cut off the first start tells, not what every later one says", async () => {
        const text = await diagnosis(`${ended("apiserver exited: unknown flag: --one")}\n${ended(unfounded)}`, UP);
        assert.match(text, /ended by: apiserver exited: unknown flag: --one\n/);
        assert.match(text, /layer: configuration \(kube-apiserver does not accept a setting\)/);
    });

    it("where its log has the later starts alone, they tell", async () => {
        const text = await diagnosis(ended(unfounded), UP);
        assert.match(
            text,
            /layer: etcd \(the cluster was not founded to the end\)\n {2}runbook: \S*founding-cut-off\.md\n/,
        );
    });

    it("inotify's limits are no full disk", async () => {
        const text = await diagnosis(
            ended("kubelet exited: failed to create fsnotify watcher: no space left on device"),
            UP,
        );
        assert.match(
            text,
            /layer: host \(inotify's limits\)[^]*next: .*k3s-ha:host\.sysctl: .*fs\.inotify\.max_user_watches/,
        );
    });

    for (const [noise, layer] of [
        // Said by every k3s that starts, or by one that runs: no reason of anything.
        ['level=info msg="stat /etc/rancher/k3s/registries.yaml: no such file or directory"', "k3s itself"],
        ['E1130 03:00:00.1 1 summary.go:1] "Failed to open file /sys/fs/x: no such file or directory"', "k3s itself"],
        ['I1130 03:00:00.1 1 x.go:1] "401 Unauthorized"', "k3s itself"],
        ['level=info msg="Waiting for etcd server to become available"', "etcd"],
    ] as const)
        it(`of a k3s that has not ended ${noise.slice(0, 30)}… tells: ${layer}`, async () => {
            const text = await diagnosis(noise, UP);
            assert.match(text, new RegExp(`layer: ${layer}\n`));
        });

    it("flannel's interface that does not come is a matter of the network", async () => {
        const text = await diagnosis(
            'level=info msg="Running flannel backend."',
            UP,
            "no success within 9 s while waiting for: the pod network's interface up",
        );
        assert.match(text, /layer: network \(k3s runs, and flannel has no interface\)[^]*next: .*vpn\.interface/);
    });

    it("no word of k3s, and the proxy of a node that joins sees no server: the port", async () => {
        const text = await diagnosis('level=info msg="Waiting to retrieve agent configuration"', []);
        assert.match(text, /layer: port \(the local proxy sees no server up\)[^]*next: .*port 6443 of the servers/);
    });
});
