/** diagnose of k3s-lib.sh: which layer is in the way of a k3s that does not come up, by k3s's own words and what the proxy sees. */
import assert from "node:assert/strict";
import { shell } from "./step-shell";

/** What a step says when k3s has written `journal` and the proxy of a node that joins sees `up` masters. */
async function diagnosis(journal: string, up: readonly string[]): Promise<string> {
    const commands = `ROLE=agent UNIT=k3s.service NODE=agent-9 STEP=agent started=$(now)
journalctl() { cat $WORK/log; }
systemctl() { echo activating; }
setting() { echo 10.0.0.9; }
masters_up() { printf '%s' '${up.map((name) => `${name}\n`).join("")}'; }
masters_down() { :; }
diagnose "k3s ends again and again" >/dev/null`;
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
            /etcd \(this master's member was removed\)/,
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
        ['level=error msg="x509: certificate signed by unknown authority"', /TLS$/m, /log lines/],
        [
            'level=fatal msg="listen tcp 0.0.0.0:6443: bind: address already in use"',
            /port \(already in use on this host\)/,
            /ss -ltnp/,
        ],
        ['level=fatal msg="failed to find memory cgroup (v2)"', /k3s itself/, /journalctl -u k3s\.service/],
    ] as const)
        it(journal.replace(/.*msg"?[=:]"/, "").replace(/".*/, ""), async () => {
            const text = await diagnosis(journal, UP);
            assert.match(text, /FAILED on node agent-9, step agent: k3s ends again and again\n/);
            assert.match(text, new RegExp(`layer: ${layer.source}`, layer.flags));
            assert.match(text, /local proxy sees 2 masters up/);
            assert.match(text.slice(text.indexOf("  next: ")), next);
        });

    it("no word of k3s, and the proxy of a node that joins sees no master: the port", async () => {
        const text = await diagnosis('level=info msg="Waiting to retrieve agent configuration"', []);
        assert.match(text, /layer: port \(the local proxy sees no master up\)[^]*next: .*port 6443 of the masters/);
    });
});
