import assert from "node:assert/strict";
import { Rollout } from "../../../components/hooks/rollout";
import { descriptionOf, readDescription, type ClusterDescription } from "../../../components/config/description";
import { refusals } from "../../../components/config/transition";
import { node, spec } from "../helpers/settings";

/** Nodes in the form of older states, which is shorter. */
const facts = (version: string, nodes: Record<string, string>, datastore = "etcd"): ClusterDescription =>
    readDescription({ version, datastore, nodes });
const three = { a: "server 10.0.0.1", b: "server 10.0.0.2", c: "server 10.0.0.3", x: "agent 10.0.0.9" };
const without = (...names: string[]): Record<string, string> =>
    Object.fromEntries(Object.entries(three).filter(([name]) => !names.includes(name)));
const V = "v1.36.3+k3s1";

describe("what may become of a cluster", () => {
    const cases: readonly (readonly [
        what: string,
        from: ClusterDescription,
        to: ClusterDescription,
        refused: RegExp | undefined,
    ])[] = [
        ["nothing changes", facts(V, three), facts(V, three), undefined],
        ["a patch release", facts(V, three), facts("v1.36.4+k3s1", three), undefined],
        ["another k3s release of the same Kubernetes", facts(V, three), facts("v1.36.3+k3s2", three), undefined],
        ["the next minor", facts(V, three), facts("v1.37.0+k3s1", three), undefined],
        [
            "a skipped minor",
            facts(V, three),
            facts("v1.38.0+k3s1", three),
            /skips a minor release: the cluster runs v1\.36\.3\+k3s1/,
        ],
        ["an older patch", facts(V, three), facts("v1.36.2+k3s1", three), /is older than v1\.36\.3\+k3s1/],
        ["an older k3s release", facts("v1.36.3+k3s2", three), facts(V, three), /is older/],
        [
            "3 to 2 servers",
            facts(V, three),
            facts(V, without("c")),
            /from 3 servers to 2\. .* loss of 1 today; after this change it would tolerate none/,
        ],
        ["3 to 1 server", facts(V, three), facts(V, without("b", "c")), /from 3 servers to 1/],
        ["an agent less", facts(V, three), facts(V, without("x")), undefined],
        ["a server exchanged", facts(V, three), facts(V, { ...without("c"), d: "server 10.0.0.4" }), undefined],
        [
            "5 to 3 servers",
            facts(V, { ...three, d: "server 10.0.0.4", e: "server 10.0.0.5" }),
            facts(V, three),
            undefined,
        ],
        ["2 to 1 server", facts(V, without("c")), facts(V, without("b", "c")), undefined],
        ["a server marked lost", facts(V, three), facts(V, { ...three, c: "server 10.0.0.3 lost" }), undefined],
        [
            "a lost server taken out",
            facts(V, { ...three, c: "server 10.0.0.3 lost" }),
            facts(V, without("c")),
            undefined,
        ],
        [
            "a lost server comes back with its rebuilt raised",
            facts(V, { ...three, c: "server 10.0.0.3 rebuilt 1 lost" }),
            facts(V, { ...three, c: "server 10.0.0.3 rebuilt 2" }),
            undefined,
        ],
        [
            "a lost server comes back with the rebuilt it had",
            facts(V, { ...three, c: "server 10.0.0.3 rebuilt 1 lost" }),
            facts(V, { ...three, c: "server 10.0.0.3 rebuilt 1" }),
            /\(c\)\.rebuilt.* must be above 1/,
        ],
        [
            "a lost agent comes back as it was",
            facts(V, { ...three, x: "agent 10.0.0.9 lost" }),
            facts(V, three),
            /\(x\)\.rebuilt.* must be above 0/,
        ],
        [
            "another role",
            facts(V, three),
            facts(V, { ...three, x: "server 10.0.0.9" }),
            /nodes \(x\)\.role.*|was agent/,
        ],
        [
            "another address of a server",
            facts(V, three),
            facts(V, { ...three, c: "server 10.0.0.7" }),
            /was 10\.0\.0\.3/,
        ],
        ["another address of an agent", facts(V, three), facts(V, { ...three, x: "agent 10.0.0.7" }), undefined],
        ["sqlite to etcd", facts(V, without("b", "c"), "sqlite"), facts(V, three), undefined],
        [
            "a new server that is listed first",
            facts(V, three),
            { ...facts(V, { d: "server 10.0.0.4", ...three }), founder: "d" },
            /nodes \(d\): is new, and it is listed before the servers of the running cluster \(a, b, c\)/,
        ],
        [
            "all servers exchanged",
            facts(V, three),
            {
                ...facts(V, { d: "server 10.0.0.4", e: "server 10.0.0.5", f: "server 10.0.0.6" }),
                founder: "d",
            },
            /would found a second cluster/,
        ],
        [
            "another server of the cluster speaks",
            { ...facts(V, three), founder: "a" },
            { ...facts(V, three), founder: "b" },
            undefined,
        ],
        [
            "a new name for a host",
            facts(V, three),
            facts(V, { ...without("x"), y: "agent 10.0.0.9" }),
            /has the address of x/,
        ],
        [
            "the address of a lost node",
            facts(V, { ...three, x: "agent 10.0.0.9 lost" }),
            facts(V, { ...without("x"), y: "agent 10.0.0.9" }),
            undefined,
        ],
        [
            "a new name for the cluster",
            { ...facts(V, three), cluster: "dev" },
            { ...facts(V, three), cluster: "prod" },
            /k3s-ha:cluster: was dev/,
        ],
        ["etcd to sqlite", facts(V, without("b", "c")), facts(V, without("b", "c"), "sqlite"), /cannot follow etcd/],
    ];
    for (const [what, from, to, refused] of cases) {
        it(`${what}: ${refused ? "refused" : "allowed"}`, () => {
            const text = refusals(from, to, []).map((p) => `${p.path}: ${p.message}`);
            if (refused) assert.match(text.join("\n"), refused);
            else assert.deepEqual(text, []);
        });
    }

    it("what the user allows is not refused, and nothing else is allowed by it", () => {
        const [from, less] = [facts(V, three), without("c")];
        assert.deepEqual(refusals(from, facts(V, less), ["lessTolerance"]), []);
        assert.deepEqual(refusals(from, facts("v1.35.0+k3s1", three), ["downgrade"]), []);
        assert.deepEqual(refusals(from, facts("v1.39.0+k3s1", three), ["skipMinor"]), []);
        assert.equal(refusals(from, facts("v1.35.0+k3s1", less), ["lessTolerance"]).length, 1);
    });

    it("the facts of a spec are plain and name every node", () => {
        const s = spec({
            nodes: [node("m", "server", "10.0.0.1"), node("n", "agent", "10.0.0.2", { lost: true })],
        });
        assert.deepEqual(descriptionOf(s), {
            version: s.version,
            datastore: "etcd",
            cluster: s.cluster,
            founder: "m",
            nodes: {
                m: { role: "server", address: "10.0.0.1" },
                n: { role: "agent", address: "10.0.0.2", lost: true },
            },
            // What is in force, k3s's own values written out.
            settings: {
                "IP family": "IPv4",
                "cluster-cidr": "10.42.0.0/16",
                "service-cidr": "10.43.0.0/16",
                "secrets-encryption": "false",
                "flannel-backend": "vxlan",
                "cluster-dns": "10.43.0.10",
                "cluster-domain": "cluster.local",
                "disable-kube-proxy": "false",
            },
        });
    });
});

describe("new keys of Secrets", () => {
    const on = { "secrets-encryption": true };
    const of = (rotated: number, more: Record<string, unknown> = {}, config: object = on): ClusterDescription => {
        const { rotate, ...rest } = more as { rotate?: object };
        return descriptionOf(spec({ server: { config }, rotate: { secretsEncryption: rotated, ...rotate }, ...rest }));
    };
    const told = (from: ClusterDescription, to: ClusterDescription): string =>
        refusals(from, to, [])
            .map(({ path, message }) => `${path} ${message}`)
            .join("\n");

    it("alone are fine, also after a state that does not tell of them", () => {
        assert.equal(told(of(0), of(1)), "");
        // The engine sorts the properties of what it keeps.
        const kept = JSON.parse(JSON.stringify(of(0)), (_, value: unknown) =>
            value !== null && typeof value === "object"
                ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
                : value,
        ) as ClusterDescription;
        assert.equal(told(kept, of(1)), "");
        const { encryption: _, ...older } = of(0);
        assert.equal(told(older, of(1)), "");
        assert.equal(told(of(2), of(1, { version: "v1.36.4+k3s1" })), "");
        assert.equal("encryption" in descriptionOf(spec()), false);
    });

    for (const [what, more, config, message] of [
        ["another version", { version: "v1.36.4+k3s1" }, on, /version \(v1\.36\.3\+k3s1 → v1\.36\.4\+k3s1\)/],
        ["another setting of k3s", {}, { ...on, disable: ["traefik"] }, /settings that restart servers/],
        ["another counter", { rotate: { token: 1 } }, on, /settings that restart servers/],
        ["another readiness", { readiness: "scoped" }, on, /settings that restart servers/],
    ] as const)
        it(`are refused beside ${what}`, () => {
            const text = told(of(0), of(1, more, config));
            assert.match(text, /^k3s-ha:rotate\.secretsEncryption asks for a new key of Secrets in the same up/);
            assert.match(text, message);
            assert.equal(told(of(1), of(1, more, config)), "");
        });

    it("are refused beside another list of servers", () => {
        const nodes = [1, 2, 3, 4].map((i) => node(`master-${i}`, "server", `10.90.0.1${i}`));
        const three = { nodes: nodes.slice(0, 3) };
        assert.match(told(of(0, three), of(1, { nodes })), /the list of servers/);
    });
});

describe("rollout: a few at a time", () => {
    /** A rollout without an engine: hooks are not registered. */
    const rollout = (width: number): Rollout =>
        Object.assign(Object.create(Rollout.prototype) as Rollout, { width, waiting: [], underWay: 0 });
    const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

    it("never more than the width, and all get their turn", async () => {
        const r = rollout(2);
        let now = 0;
        let most = 0;
        await Promise.all(
            Array.from({ length: 7 }, async () => {
                await r.begin();
                most = Math.max(most, ++now);
                await tick();
                now--;
                r.end();
            }),
        );
        assert.equal(most, 2);
        assert.equal(now, 0);
    });

    it("after a failure those that wait do not begin, and are told why", async () => {
        const r = rollout(1);
        await r.begin();
        const second = r.begin();
        const told = assert.rejects(second, /not begun: agent-1-agent failed, and the roll stopped there/);
        r.fail("agent-1-agent");
        await told;
        await assert.rejects(r.begin(), /agent-1-agent/);
    });
});
