/**
 * k3s ends for a reason of its own: each is provoked on a host, and the step names it. The words are k3s's, so only the official one has them.
 * A clock before the certificates is left to the unit tests: a container has the machine's.
 */
import assert from "node:assert/strict";
import { Stack, nodeOf, on, type Config } from "../cluster/support";

const HOST = "agent-1";
const config = (settings: Record<string, unknown>) => (stack: Config) =>
    void (stack["k3s-ha:server"] = { config: settings });

const ENDINGS: readonly (readonly [
    what: string,
    change: (config: Config) => void,
    told: RegExp,
    host?: readonly [before: string, after: string],
])[] = [
    [
        "a flag that the kube-apiserver does not know",
        config({ "kube-apiserver-arg": ["no-such-flag=1"] }),
        /layer: configuration \(kube-apiserver does not accept a setting\)[^]*server\.config kube-apiserver-arg/,
    ],
    [
        "a value that the kubelet does not take",
        config({ "kubelet-arg": ["max-pods=many"] }),
        /layer: configuration \(kubelet does not accept a setting\)[^]*kubelet-arg/,
    ],
    [
        "an audit policy that is not there",
        config({ "kube-apiserver-arg": ["audit-policy-file=/etc/none.yaml", "audit-log-path=-"] }),
        /layer: configuration \(kube-apiserver cannot read a file that it is told to\)[^]*host\.files/,
    ],
    [
        "a port in use",
        () => undefined,
        /layer: port 10250 \(already in use on this host\)[^]*sport = :10250/,
        ["systemd-run -q --unit=somebody /usr/sbin/sshd -D -p 10250", "systemctl stop somebody"],
    ],
    [
        "an interface that is not there",
        config({ "flannel-iface": "wg9" }),
        /layer: network \(flannel finds no interface\)[^]*flannel-iface/,
    ],
    [
        "a full disk",
        () => undefined,
        /layer: disk \(full\)[^]*df -h/,
        [
            "mkdir -p /var/lib/rancher/k3s/server/db && mount -t tmpfs -o size=1m tmpfs /var/lib/rancher/k3s/server/db",
            "umount /var/lib/rancher/k3s/server/db",
        ],
    ],
    [
        "a binary that may not be executed",
        () => undefined,
        /layer: host \(a binary of k3s may not be executed\)/,
        [
            "mkdir -p /var/lib/rancher && mount -t tmpfs -o noexec,size=2g tmpfs /var/lib/rancher",
            "umount /var/lib/rancher",
        ],
    ],
];

describe("endings: what ended k3s is what the step says", function () {
    this.timeout(900_000);
    before(function () {
        if (!process.env["LAB_K3S"]) this.skip();
    });

    ENDINGS.forEach(([what, change, told, host], i) =>
        it(what, () => {
            const stack = new Stack(`ending-${i}`, [HOST], (stackConfig) => {
                nodeOf(stackConfig, HOST).role = "server";
                change(stackConfig);
                stackConfig["k3s-ha:timeouts"] = { server: "2m" };
            });
            stack.init();
            try {
                if (host) on(HOST, host[0]);
                const up = stack.pulumi(["up", "--yes", "--skip-preview"], { check: false });
                assert.notEqual(up.status, 0);
                assert.match(up.stdout + up.stderr, told);
                // Not the twelve lines of its farewell, nor the next start.
                if (!host) assert.match(up.stdout + up.stderr, /ended by: \S/);
            } finally {
                stack.pulumi(["destroy", "--yes", "--skip-preview"], { check: false });
                if (host) on(HOST, host[1], { check: false });
                stack.forget();
            }
        }),
    );
});
