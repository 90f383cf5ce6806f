/** An own backend in the place of the API's: the steps count masters by it. */
import assert from "node:assert/strict";
import { k3sBundle } from "../../../../components/steps/k3s";
import { renderBundle } from "../../../../components/remote/bundle";
import { obstacles } from "../../../../commands/drill/results";
import { mistakes, spec } from "../../helpers/settings";
import { shell, stepShell } from "../../helpers/step-shell";

const line = (n: number, address = `10.90.0.1${n}:6443`) => ({
    name: `k8s-de1-master-${n}`,
    listen: address,
    param: ["check", "check-ssl", "verify none"],
});
/** The role's own example, for this stack. */
const pasted = (server: object[], more: object = {}) => ({
    proxy: {
        preset: "ansible-role",
        haproxy: { backend: [{ name: "dev-kube-api", balance: "roundrobin", mode: "tcp", server, ...more }] },
    },
});
const THREE = [line(1), line(2), line(3)];

describe("an own backend of the API", () => {
    for (const [what, settings, refused] of [
        [
            "a server less",
            pasted([line(1), line(2)]),
            /backend\[0\]\.server: lacks master-3 \(10\.90\.0\.13\): the steps count/,
        ],
        [
            "a server that is none of the cluster",
            pasted([...THREE, line(4)]),
            /server\[3\]\.listen: "10\.90\.0\.14:6443" is no server of this cluster/,
        ],
        [
            "a server twice",
            pasted([...THREE, { ...line(1), name: "again" }]),
            /server\[3\].*is a server that is listed twice/,
        ],
        [
            "names that only a DNS knows",
            pasted([line(1, "master-1:6443"), line(2), line(3)]),
            /"master-1:6443" is no server of this cluster/,
        ],
        [
            "another port",
            pasted([line(1, "10.90.0.11:16443"), line(2), line(3)]),
            /"10\.90\.0\.11:16443" is no server of this cluster/,
        ],
        [
            "servers that nobody checks",
            pasted(THREE.map((s) => ({ ...s, param: [] }))),
            /does not check k8s-de1-master-1/,
        ],
        [
            "a template",
            pasted(THREE, { server_template: { name: "m", num: "3", fqdn: "masters.example.com", port: 6443 } }),
            /server_template: cannot replace the lines/,
        ],
    ] as const)
        it(`is refused with ${what}`, () => {
            const lines = mistakes(settings);
            assert.ok(
                lines.some((l) => l.startsWith("k3s-ha:proxy.haproxy.") && refused.test(l)),
                lines.join("\n"),
            );
        });

    it("is refused as a listen section beside the API's backend", () => {
        const listen = [{ name: "dev-kube-api", bind: [{ listen: "127.0.0.1:9000" }] }];
        assert.match(
            mistakes({ proxy: { haproxy: { listen } } }).join("\n"),
            /listen\[0\]\.name: "dev-kube-api" is the name/,
        );
    });

    it("may call the masters as it likes, and their units know what it calls them", () => {
        assert.deepEqual(mistakes(pasted(THREE)), []);
        assert.deepEqual(
            mistakes(
                pasted(
                    THREE.map((s) => ({ ...s, param: [] })),
                    { default_server_params: ["check"] },
                ),
            ),
            [],
        );
        const s = spec(pasted(THREE));
        for (const node of s.nodes.filter((n) => n.role === "server"))
            assert.match(
                renderBundle(k3sBundle(s, node)),
                new RegExp(`^ +ExecStop=.*drain\\.sh begin k8s-de1-${node.name} ${node.address} dev-kube-api$`, "m"),
            );
    });

    it("a master does not count itself as another one, whatever the proxies call it", async () => {
        const wait = (name: string, up: string): Promise<{ code: number | null; text: string }> =>
            stepShell("server.sh")(
                `unit_file() { echo "$WORK/unit"; }; will_restart() { :; }; servers_up() { printf '%s\n' ${up}; }
kubectl_admin() { echo '{"members":[{"name":"a-1"},{"name":"b-1"},{"name":"c-1"}]}'; }; wait_for_the_others; echo restarts`,
                {
                    "work/members": "",
                    "work/unit": `[Service]\nExecStop=-/bin/sh /x/drain.sh begin ${name} 10.0.0.1 be\n`,
                },
            );
        const { code, text } = await wait("k8s-de1-master-1", "k8s-de1-master-1 k8s-de1-master-2");
        assert.equal(code, 1);
        assert.match(text, /only 1 of the other 2 servers are up/);
        assert.match((await wait("k8s.master-1", "k8sxmaster-1 k8s.master-2")).text, /^restarts$/m);
    });

    it("masters are those of the API's backend, not the servers of others", async () => {
        const cfg = `listen other
  server web 10.0.0.7:80
backend be-probe
  server m1 10.0.0.1:6443
backend be
  default-server check
  server m1 10.0.0.1:6443
  server m2 10.0.0.2:6443
`;
        const { text } = await shell(`servers_in "$WORK/cfg"`, { "work/cfg": cfg, "work/set.backend": "be\n" });
        assert.equal(text, "m1 10.0.0.1:6443\nm2 10.0.0.2:6443\n");
    });

    it("the drill knows the masters by the proxies' names, too", () => {
        const s = spec(pasted(THREE));
        const masters = ["master-1", "master-2", "master-3"];
        const ready = s.nodes.map((n) => n.name);
        const up = THREE.map(({ name }) => name);
        const views = new Map(
            s.nodes.map((n) => [n.name, { up, unit: "active", voters: n.role === "server" ? masters : [], ready }]),
        );
        assert.deepEqual(obstacles(s, views), []);
    });
});
