/** What of k3s's settings can be changed on a cluster that runs, and what a change of the pods' network does on a host. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { k3sBundle } from "../../../components/steps/k3s";
import { renderBundle } from "../../../components/remote/bundle";
import { changeTable } from "../../../components/model/change-rules";
import { descriptionOf } from "../../../components/config/description";
import { consequences, refusals } from "../../../components/config/transition";
import { node, spec } from "../helpers/settings";
import { shell } from "../helpers/step-shell";

const of = (config: object) => spec({ server: { config } });
const refused = (before: object, after: object, allow: readonly "podNetwork"[] = []): string[] =>
    refusals(descriptionOf(of(before)), descriptionOf(of(after)), allow).map(
        (p) => `${p.path}: ${p.value} ${p.message}`,
    );

describe("settings of a running cluster", () => {
    for (const [before, after, told] of [
        [
            {},
            { "cluster-cidr": "10.52.0.0/16" },
            /^k3s-ha:server\.config\.cluster-cidr: "10\.52\.0\.0\/16" was "10\.42\.0\.0\/16", and k3s fixes it/,
        ],
        [{}, { "service-cidr": ["10.53.0.0/16"] }, /server\.config\.service-cidr: .* was "10\.43\.0\.0\/16"/],
        [
            {},
            { "secrets-encryption": true },
            /server\.config\.secrets-encryption: "true" was "false", and k3s fixes it/,
        ],
        [{ "secrets-encryption": true }, {}, /server\.config\.secrets-encryption: "false" was "true"/],
    ] as const)
        it(`are refused, whatever is allowed: ${JSON.stringify(before)} to ${JSON.stringify(after)}`, () => {
            for (const allow of [[], ["podNetwork"]] as const)
                assert.ok(
                    refused(before, after, allow).some((line) => told.test(line)),
                    refused(before, after, allow).join("\n"),
                );
        });

    for (const after of [
        { "flannel-backend": "wireguard-native" },
        { "cluster-dns": "10.43.0.53" },
        { "cluster-domain": "k8s.example.com" },
        { "disable-kube-proxy": true },
    ])
        it(`need leave and say what they cost: ${JSON.stringify(after)}`, () => {
            const [setting] = Object.keys(after) as [string];
            const lines = refused({}, after);
            assert.equal(lines.length, 1, lines.join("\n"));
            assert.match(lines[0]!, new RegExp(`^k3s-ha:server\\.config\\.${setting}: .*allow: \\[podNetwork\\]`));
            assert.deepEqual(refused({}, after, ["podNetwork"]), []);
            assert.match(
                consequences(descriptionOf(of({})), descriptionOf(of(after))).join("\n"),
                new RegExp(`${setting}.*do not reach each other`),
            );
        });

    it("nodes of another IP family are another cluster", () => {
        const six = spec({ nodes: [node("master-1", "server", "fd12::1")] });
        const four = spec({ nodes: [node("master-1", "server", "10.90.0.11")] });
        assert.match(
            refusals(descriptionOf(four), descriptionOf(six), [])
                .map((p) => p.message)
                .join("\n"),
            /was "IPv4", and k3s fixes it/,
        );
    });

    it("k3s's own values written out, all other settings, and what an older version left are no change", () => {
        const own = {
            "cluster-cidr": "10.42.0.0/16",
            "cluster-dns": ["10.43.0.10"],
            "flannel-backend": "vxlan",
            "disable-kube-proxy": false,
        };
        assert.deepEqual(refused({}, own), []);
        assert.deepEqual(refused({}, { "disable-network-policy": true, "tls-san": ["x"] }), []);
        const { settings: _, ...older } = descriptionOf(of({}));
        assert.deepEqual(refusals(older, descriptionOf(of({ "cluster-cidr": "10.52.0.0/16" })), []), []);
    });

    it("what an older version left is said not to be known, and the IP family is that of its nodes", () => {
        const without = (s: ReturnType<typeof spec>): Omit<ReturnType<typeof descriptionOf>, "settings"> => {
            const { settings: _, ...older } = descriptionOf(s);
            return older;
        };
        const [said, ...more] = consequences(without(of({})), descriptionOf(of({ "flannel-backend": "host-gw" })));
        assert.match(
            said ?? "",
            /older version.*did not note cluster-cidr, service-cidr, secrets-encryption, flannel-backend/,
        );
        assert.doesNotMatch(said ?? "", /IP family|datastore/);
        assert.deepEqual(more, []);
        assert.deepEqual(consequences(descriptionOf(of({})), descriptionOf(of({ "tls-san": ["x"] }))), []);
        const six = spec({ nodes: [node("master-1", "server", "fd12::1")] });
        const four = spec({ nodes: [node("master-1", "server", "10.90.0.11")] });
        assert.match(
            refusals(without(four), descriptionOf(six), [])
                .map((p) => p.message)
                .join("\n"),
            /was "IPv4"/,
        );
        assert.deepEqual(refusals(without(six), descriptionOf(six), []), []);
    });

    it("another address of the cluster's DNS: when its Service goes, and that k3s makes it anew", () => {
        const [said] = consequences(descriptionOf(of({})), descriptionOf(of({ "cluster-dns": "10.43.0.53" })));
        assert.match(
            said ?? "",
            /when the last server has restarted, not before.*delete service kube-dns; within 15 s/,
        );
    });

    it("docs/operations.md has the table as it is", () => {
        const cells = (text: string): string => text.replace(/ *\| */g, "|").replace(/-{3,}/g, "---");
        const docs = cells(readFileSync(join(__dirname, "../../../docs/operations.md"), "utf8"));
        assert.ok(docs.includes(cells(changeTable())), changeTable());
    });

    it("agents restart for what they take from the servers, and nobody's data change while all is k3s's own", () => {
        const data = (config: object, name: string): string => {
            const s = of(config);
            return renderBundle(
                k3sBundle(
                    s,
                    s.nodes.find((n) => n.name === name)!,
                ),
            );
        };
        for (const config of [
            { "cluster-domain": "a.b" },
            { "disable-kube-proxy": true },
            { "egress-selector-mode": "pod" },
        ]) {
            assert.notEqual(data(config, "agent-1"), data({}, "agent-1"), JSON.stringify(config));
            assert.match(data(config, "agent-1"), /^from-servers: /m);
        }
        assert.match(data({ "flannel-backend": "host-gw" }, "master-2"), /^flannel-backend: host-gw$/m);
        assert.doesNotMatch(data({}, "agent-1"), /^(from-servers|flannel-backend|reads|no-node)/m);
    });

    it("what an agent takes from the servers is part of what it was started with", async () => {
        const { text } = await shell(
            `start_digest >"$STARTED"; note_missed_restart; echo "same $RESTART"
echo cluster-domain=a >"$WORK/set.from-servers"; note_missed_restart; echo "other $RESTART"`,
            { "work/set.version": "v1\n", "bin/v1/sha256": "x\n" },
        );
        assert.match(text, /^same 0\nother 1$/m);
    });

    const restart = async (before: string | undefined, now: string | undefined, hanging = ""): Promise<string[]> => {
        const { text } = await shell(
            `systemctl() { echo "systemctl $*"; }; timeout() { shift; "$@"; }; SUBNET_ENV=$WORK/subnet
ip() { case "$*" in *'show master cni0') printf '%s' "${hanging}" ;; 'route show'*) echo '10.42.1.0/24 via 10.0.0.2 dev eth0' ;; *) echo "ip $*" ;; esac; }
restart_unit 2>/dev/null`,
            {
                "work/subnet": "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.0.1/24\n",
                ...(before === undefined ? {} : { "flannel-backend": `${before}\n` }),
                ...(now === undefined ? {} : { "work/set.flannel-backend": `${now}\n` }),
            },
        );
        return text
            .trim()
            .split("\n")
            .map((line) => line.replace(/ k3s-ha-test.*/, ""));
    };

    it("a plain restart is one", async () => {
        for (const before of ["vxlan", undefined])
            assert.deepEqual(await restart(before, undefined), ["systemctl restart --no-block"]);
        // An older version of this program started it, with a network of somebody else's.
        assert.deepEqual(await restart(undefined, "none"), ["systemctl restart --no-block"]);
    });

    it("with another flannel backend the former one's interfaces and routes go while k3s is stopped", async () => {
        const lines = await restart("vxlan", "wireguard-native", "5: veth0");
        assert.equal(lines[0], "systemctl stop");
        assert.equal(lines.at(-1), "systemctl start --no-block");
        assert.ok(lines.includes("ip link delete flannel.1"));
        assert.ok(lines.includes("ip route delete 10.42.1.0/24"));
        assert.ok(!lines.some((l) => /flannel-wg|cni0/.test(l)), lines.join("\n"));
        assert.ok((await restart("vxlan", "none")).includes("ip link delete cni0"));
    });
});
