/** The cluster of a program of one's own, under Pulumi's mocks: hosts from other resources, several clusters, mistakes. */
import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { unknown } from "@pulumi/pulumi/output";
import type { K3sClusterArgs, NodeArgs } from "../../components/k3s-cluster";
import { standIns } from "../../components/config/outline";

const KEY = `ssh-ed25519 ${"B".repeat(68)}`;
const K3S_YAML = `ca-hash: ${"ab".repeat(32)}
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0E=, client-key-data: Q0E=}}]
`;

/** As the address of a machine that is made beside it: what the engine says of it comes later than the program runs. */
const later = (value: string): pulumi.Output<string> =>
    pulumi.output(new Promise<string>((resolve) => setTimeout(() => resolve(value), 20)));

const nodes = (input: (value: string) => pulumi.Input<string>, network = "10.1.0"): NodeArgs[] =>
    ["server-1", "server-2", "server-3", "agent-1"].map((name, i) => ({
        name,
        role: name.startsWith("server") ? "server" : "agent",
        address: input(`${network}.${i + 1}`),
        ssh: { host: input(`203.0.113.${i + 1}`), hostKey: KEY },
    }));

const args = (input: (value: string) => pulumi.Input<string>, more: Partial<K3sClusterArgs> = {}): K3sClusterArgs => ({
    version: "v1.36.3+k3s1",
    nodes: nodes(input),
    ...more,
});

/** What was registered by making them: inputs by the resource's name. */
async function made(
    make: (K3sCluster: typeof import("../../components/k3s-cluster").K3sCluster) => void,
    preview = false,
): Promise<Map<string, Record<string, unknown>>> {
    const found = new Map<string, Record<string, unknown>>();
    await pulumi.runtime.setMocks(
        {
            newResource: ({ name, type, inputs }) => {
                assert.ok(!found.has(`${type} ${name}`), `${name} is made twice`);
                found.set(`${type} ${name}`, inputs as Record<string, unknown>);
                const said = name.endsWith("kubeconfig") ? K3S_YAML : "etcd-data: none\n";
                const state = {
                    ...(inputs as object),
                    stdout: said,
                    result: "made",
                    hex: "0011223344556677",
                    output: (inputs as { input?: unknown }).input,
                };
                return { id: name, state };
            },
            call: (call) => call.inputs,
        },
        "mine",
        "dev",
        preview,
    );
    const { K3sCluster } = await import("../../components/k3s-cluster");
    make(K3sCluster);
    for (let quiet = 0, before = -1; quiet < 10; quiet = found.size === before ? quiet + 1 : 0) {
        before = found.size;
        await new Promise((resolve) => setTimeout(resolve, 30));
    }
    if (process.env.DBG) console.log([...found.keys()].join("\n"));
    return new Map([...found].map(([key, inputs]) => [key.split(" ")[1] as string, inputs]));
}

const value = async (output: pulumi.Output<unknown>): Promise<unknown> =>
    await new Promise((resolve) => output.apply(resolve));

/** Inputs as text, without what secrets are wrapped in. */
const text = (all: ReadonlyMap<string, unknown>): string => JSON.stringify([...all]);

describe("K3sCluster", function () {
    this.timeout(60_000);

    it("makes of addresses that come later what it makes of known ones", async () => {
        const [known, other] = [
            await made(
                (K3sCluster) =>
                    new K3sCluster(
                        "prod",
                        args((v) => v),
                    ),
            ),
            await made((K3sCluster) => new K3sCluster("prod", args(later))),
        ];
        assert.ok(known.has("prod-server-1-server") && known.has("prod-agent-1-agent"));
        assert.deepEqual([...other.keys()].sort(), [...known.keys()].sort());
        for (const [name, inputs] of known) assert.deepEqual(other.get(name), inputs, name);
        assert.match(text(known), /server server-2 10\.1\.0\.2:6443/);
    });

    it("no stand-in reaches a resource or an output", async () => {
        let outputs: Promise<unknown>[] = [];
        const all = await made((K3sCluster) => {
            const cluster = new K3sCluster("prod", args(later, { readiness: "unauthorized" }));
            const { apiEndpoints, statsEndpoints, prometheusTargets, nodes: infos, kubeconfig, certificate } = cluster;
            outputs = [apiEndpoints, statsEndpoints, prometheusTargets, infos, kubeconfig, certificate].map(value);
        });
        const everything = text(all) + JSON.stringify(await Promise.all(outputs));
        for (const part of [...Object.values(standIns(0)), ...Object.values(standIns(3)), "198.18.", ".invalid"])
            assert.ok(!everything.includes(part), part);
        assert.match(everything, /"server-1":"https:\/\/10\.1\.0\.1:6443"/);
        assert.match(everything, /https:\/\/10\.1\.0\.1:6443/);
    });

    it("a preview in which addresses are unknown shows every resource, and no data of them", async () => {
        const all = await made(
            (K3sCluster) =>
                new K3sCluster(
                    "prod",
                    args(() => pulumi.output(unknown as unknown as string)),
                ),
            true,
        );
        assert.ok(all.has("prod-server-3-server") && all.has("prod-anonymous-check"));
        assert.equal(all.get("prod-server-1-haproxy")?.["stdin"], unknown);
        assert.ok(!text(all).includes("198.18."));
    });

    it("two clusters in one program, with nodes of the same names", async () => {
        const all = await made((K3sCluster) => {
            new K3sCluster(
                "one",
                args((v) => v),
            );
            new K3sCluster("two", args(later, { nodes: nodes(later, "10.2.0") }));
        });
        assert.match(text(new Map([...all].filter(([name]) => name === "one-server-1-haproxy"))), /10\.1\.0\.2:6443/);
        assert.match(text(new Map([...all].filter(([name]) => name === "two-server-1-haproxy"))), /10\.2\.0\.2:6443/);
    });

    const refused = async (given: K3sClusterArgs): Promise<string> => {
        let message = "";
        await made((K3sCluster) => {
            try {
                new K3sCluster("prod", given);
            } catch (error) {
                message = (error as Error).message;
            }
        });
        return message;
    };

    it("mistakes that no address can mend are told at once, all of them", async () => {
        const message = await refused(
            args(later, {
                version: "1.36",
                proxy: { port: 6443 },
                nodes: nodes(later).slice(0, 3).concat(nodes(later).slice(2)),
            }),
        );
        assert.match(message, /k3s-ha:version: "1\.36" must be/);
        assert.match(message, /k3s-ha:nodes\[3\]\.name/);
        assert.doesNotMatch(message, /198\.18|invalid:/);
    });

    it("those of addresses come with them, before the first command", async () => {
        const errors: Error[] = [];
        const take = (error: Error): void => void errors.push(error);
        // Pulumi's own listener would end the process.
        const others = process.listeners("unhandledRejection");
        process.removeAllListeners("unhandledRejection");
        process.on("unhandledRejection", take);
        try {
            const all = await made(
                (K3sCluster) =>
                    new K3sCluster(
                        "prod",
                        args(() => later("10.1.0.1")),
                    ),
            );
            assert.deepEqual(
                [...all.keys()].filter((name) => /-(kit|prepare|haproxy|stage|server|agent)$/.test(name)),
                [],
            );
        } finally {
            process.removeAllListeners("unhandledRejection");
            for (const listener of others) process.on("unhandledRejection", listener as () => void);
        }
        assert.match(errors[0]?.message ?? "", /k3s-ha:nodes\[1\]\.address: "10\.1\.0\.1"/);
        assert.match(errors[0]?.message ?? "", /no host was touched/);
    });

    it("takes all secrets that a cluster may have, and makes none of them", async () => {
        const secrets = {
            sshPrivateKey: later("-----BEGIN KEY-----"),
            sshPrivateKeyPassword: later("a passphrase"),
            token: later("the-token-of-servers"),
            agentToken: later("the-token-of-agents"),
            statsPassword: later("the-stats-password"),
            s3AccessKey: later("access"),
            s3SecretKey: later("secret"),
        };
        const snapshots = { s3: { bucket: "backups", endpoint: "s3.example.com" } };
        const all = await made((K3sCluster) => new K3sCluster("prod", args(later, { ...secrets, snapshots })));
        assert.ok(all.has("prod-server-1-server"));
        assert.ok(!all.has("prod-secrets-token") && !all.has("prod-secrets-agent-token"));
        const open = text(new Map([...all].filter(([name]) => !name.endsWith("-prepare"))));
        for (const value of ["the-token-of", "the-stats-password"]) assert.ok(!open.includes(value), value);
    });

    it("a mistake in a setting that holds a secret is told without its value", async () => {
        const given = { ...args(later), snapshots: { schedule: "hunter2" }, confidential: ["snapshots"] } as const;
        const message = await refused(given);
        assert.match(message, /k3s-ha:snapshots\.schedule: /);
        assert.doesNotMatch(message, /hunter2/);
        assert.match(await refused({ ...given, confidential: [] }), /hunter2/);
    });

    it("a secret that is none is refused without its value, and a good one shows nowhere", async () => {
        const errors: string[] = [];
        const others = process.listeners("unhandledRejection");
        process.removeAllListeners("unhandledRejection");
        process.on("unhandledRejection", (error: Error) => void errors.push(error.message));
        try {
            await made((K3sCluster) => new K3sCluster("prod", args(later, { token: later("too short") })));
        } finally {
            process.removeAllListeners("unhandledRejection");
            for (const listener of others) process.on("unhandledRejection", listener as () => void);
        }
        assert.match(errors.join("\n"), /k3s-ha:token: must be|k3s-ha:token/);
        assert.doesNotMatch(errors.join("\n"), /too short/);
    });
});
