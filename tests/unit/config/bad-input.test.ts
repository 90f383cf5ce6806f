/**
 * Broken and hostile stack files: each gets a clear error or a correct plan, and nothing of it reaches a host as code.
 * hostile.ts makes them from the schema.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { BlockList, isIP, isIPv6 } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { SECRET_SETTINGS, configPath } from "../../../components/config/problems";
import { readStack } from "../../../components/config/stack";
import { renderBundle, type Bundle } from "../../../components/remote/bundle";
import { haproxyBundle } from "../../../components/steps/haproxy";
import { haproxyConfig } from "../../../components/model/proxy";
import { manifestsBundle } from "../../../components/steps/manifests";
import { prepareBundle } from "../../../components/steps/prepare";
import { lostNodesBundle } from "../../../components/steps/lost-nodes";
import { membersBundle } from "../../../components/steps/members";
import { k3sBundle } from "../../../components/steps/k3s";
import { stageBundle } from "../../../components/steps/stage";
import { nodeConfig, quotedYaml, registration } from "../../../components/steps/k3s-files";
import { descriptionOf } from "../../../components/config/description";
import { refusals } from "../../../components/config/transition";
import type { ClusterSpec } from "../../../components/model/cluster";
import {
    BASE,
    CANARY,
    FOLDER,
    OTHERS,
    TEXTS,
    configOf,
    engineConfig,
    places,
    recordPaths,
    valueAt,
    withValue,
    type Path,
    type Place,
} from "../helpers/hostile";
import { knownPlan } from "../../../components/plan";
import { kitFolder } from "../helpers/kit-folder";
import { NO_HOOKS, node } from "../helpers/settings";

const LIB = join(__dirname, "../../../components/scripts/lib.sh");

/** What YAML reads otherwise than it looks, as it stands in a stack file; what must be said of it, or come of it. */
const TRAPS: readonly (readonly [what: string, text: string, meant: RegExp | ((spec: ClusterSpec) => void)])[] = [
    [
        "a mode without quotes",
        "k3s-ha:host: { files: [{ path: /etc/x, mode: 0644, content: a }] }",
        /^k3s-ha:host\.files\[0\]\.mode: (420|644) must be text \(in quotes/,
    ],
    [
        "a mode with quotes",
        'k3s-ha:host: { files: [{ path: /etc/x, mode: "0644", content: a }] }',
        (s) => assert.equal(s.host.files[0]?.mode, "0644"),
    ],
    [
        "no content",
        "k3s-ha:host: { files: [{ path: /etc/x, content: }] }",
        /^k3s-ha:host\.files\[0\]\.content: null must be text/,
    ],
    [
        "a number as text",
        "k3s-ha:server: { config: { cluster-domain: 1e3 } }",
        /^k3s-ha:server\.config\.cluster-domain: 1000 must be text, in quotes/,
    ],
    ["a fraction as text", "k3s-ha:server: { config: { cluster-domain: .5 } }", /cluster-domain: 0\.5 must be text/],
    [
        "a date as text",
        "k3s-ha:server: { config: { cluster-domain: 2026-01-01 } }",
        (s) => assert.equal(s.nodes[1]?.config["cluster-domain"], "2026-01-01"),
    ],
    [
        "a truth as text",
        "k3s-ha:server: { config: { cluster-domain: true } }",
        /cluster-domain: true must be text, in quotes/,
    ],
    [
        "text as a truth",
        'k3s-ha:server: { config: { debug: "true" } }',
        /debug: "true" must be true or false, without quotes/,
    ],
    [
        "a label value that is a number",
        "k3s-ha:nodes: [{ name: a, role: server, address: 10.0.0.1, labels: { zone: 1 } }]",
        /^k3s-ha:nodes\[0\]\.labels\.zone: 1 must be text \(in quotes/,
    ],
    [
        "a node with a number for a name",
        "k3s-ha:nodes: [{ name: 1, role: server, address: 10.0.0.1 }]",
        /^k3s-ha:nodes\[0\]\.name: 1 must be text/,
    ],
    [
        "a name that is a number in quotes",
        'k3s-ha:nodes: [{ name: "1", role: server, address: 10.0.0.1, ssh: { hostKey: ssh-ed25519 AAAA } }]',
        (s) => assert.equal(s.firstServer, "1"),
    ],
    ["a cluster called 123", "k3s-ha:cluster: 123", (s) => assert.equal(s.cluster, "123")],
    ["a version that is a number", "k3s-ha:version: 1.36", /^k3s-ha:version: "1\.36" must be a k3s release/],
    ["a port in quotes", 'k3s-ha:proxy: { port: "16443" }', /^k3s-ha:proxy\.port: "16443" must be a whole number/],
    [
        "a port with a fraction",
        "k3s-ha:proxy: { port: 16443.5 }",
        /^k3s-ha:proxy\.port: 16443\.5 must be a whole number/,
    ],
    ["a duration without a unit", "k3s-ha:timeouts: { server: 300 }", /^k3s-ha:timeouts\.server: 300 must be text/],
    ["an empty map", "k3s-ha:ssh:", (s) => assert.equal(s.nodes[0]?.ssh.user, "root")],
    ["an empty list of nodes", "k3s-ha:nodes:", /^k3s-ha:nodes: is missing; it must be a list/],
    ["an empty setting in a map", "k3s-ha:proxy: { stats: }", /^k3s-ha:proxy\.stats: null must be a map/],
    ["a list where a map belongs", "k3s-ha:ssh: [root]", /^k3s-ha:ssh: \["root"\] must be a map/],
    ["text where a list belongs", "k3s-ha:nodes: a,b", /^k3s-ha:nodes: "a,b" must be a list/],
    ["text where a map belongs", "k3s-ha:proxy: recommended", /^k3s-ha:proxy: "recommended" must be a map/],
    [
        "an anchor and its alias",
        "k3s-ha:rollout: &r { agents: 2 }\nk3s-ha:host: { packages: &p [jq] }",
        (s) => assert.deepEqual(s.host.packages, ["jq"]),
    ],
    [
        "a key twice: the last one counts, as the engine reads it",
        "k3s-ha:rollout: { agents: 2, agents: 4 }",
        (s) => assert.equal(s.rollout.agents, 4),
    ],
    [
        "a label called no",
        'k3s-ha:nodes: [{ name: a, role: server, address: 10.0.0.1, ssh: { hostKey: ssh-ed25519 AAAA }, labels: { "no": "yes" } }]',
        (s) => assert.match(quotedYaml(registration(s.nodes[0]!)), /"no=yes"/),
    ],
    [
        "kubelet values of every kind",
        'k3s-ha:kubelet: { "no": 1, a: "0644", b: 1.5, c: true, d: [x, "yes"], e: { "1e3": null } }',
        (s) =>
            assert.deepEqual(parse(quotedYaml(s.kubelet), { version: "1.1" }), {
                no: 1,
                a: "0644",
                b: 1.5,
                c: true,
                d: ["x", "yes"],
                e: { "1e3": null },
            }),
    ],
    [
        "an address that YAML 1.1 may take for a number",
        "k3s-ha:nodes: [{ name: a, role: server, address: 1:30 }]",
        /^k3s-ha:nodes\[0\]\.address: (90|"1:30") must be/,
    ],
    [
        "a sysctl of 1e21",
        "k3s-ha:host: { sysctl: { a.b: 1.0e+21 } }",
        /^k3s-ha:host\.sysctl\["a\.b"\]: 1e\+21 must be a number/,
    ],
    [
        "more than fifty public addresses without vpn.networks",
        `k3s-ha:nodes: [${Array.from({ length: 60 }, (_, i) => `{ name: a${i}, role: server, address: 1.2.3.${i}, ssh: { hostKey: ssh-ed25519 AAAA } }`).join(", ")}]`,
        /^k3s-ha:vpn\.networks: is missing: the nodes' addresses lie in 60 networks/,
    ],
    [
        "a node called constructor",
        "k3s-ha:nodes: [{ name: constructor, role: server, address: 10.0.0.1, ssh: { hostKey: ssh-ed25519 AAAA } }]",
        (s) =>
            assert.deepEqual(
                refusals(
                    { ...descriptionOf(s), nodes: { a: { role: "agent", address: "10.0.0.9" } } },
                    descriptionOf(s),
                    [],
                ),
                [],
            ),
    ],
    [
        "a label that the kubelet would die of",
        "k3s-ha:nodes: [{ name: a, role: agent, address: 10.0.0.1, labels: { node-role.kubernetes.io/worker: x } }]",
        /^k3s-ha:nodes\[0\]\.labels\["node-role\.kubernetes\.io\/worker"\]: "x" is a label that a kubelet may not/,
    ],
    [
        "a package that apt would remove",
        "k3s-ha:host: { packages: [haproxy-] }",
        /^k3s-ha:host\.packages\[0\]: "haproxy-" must be a package name/,
    ],
    [
        "a file of the program's own",
        "k3s-ha:host: { files: [{ path: /var/lib/k3s-ha/secrets/server-token, content: a }] }",
        /host\.files\[0\]\.path: "\/var\/lib\/k3s-ha\/secrets\/server-token" is the program's own/,
    ],
    [
        "a file given twice",
        "k3s-ha:host: { files: [{ path: /etc/x, content: a }, { path: /etc/x, content: b }] }",
        /^k3s-ha:host\.files\[1\]\.path: "\/etc\/x" is also the path of host\.files\[0\]/,
    ],
    [
        "a haproxy section given twice",
        "k3s-ha:proxy: { haproxy: { backend: [{ name: x, balance: first }, { name: x, balance: first }] } }",
        /^k3s-ha:proxy\.haproxy\.backend\[1\]\.name: "x" is used twice/,
    ],
];

/** The program's folder in these tests, with a file `a` for settings that name one. */
const folder = mkdtempSync(join(tmpdir(), "k3s-ha-input-"));
writeFileSync(join(folder, "a"), "");

const secretKeys = [...SECRET_SETTINGS].map((key) => `k3s-ha:${key}`);

/** The stack as the program reads it, or the mistakes that it reports. Anything else thrown is a failure of the program. */
function read(config: Record<string, string>): { spec: ClusterSpec } | { mistakes: string[]; text: string } {
    pulumi.runtime.setAllConfig(config, secretKeys);
    process.env["PULUMI_CONFIG_SECRET_KEYS"] = JSON.stringify(secretKeys);
    try {
        return { spec: readStack(folder).spec };
    } catch (error) {
        if (!pulumi.RunError.isInstance(error)) throw error;
        const [head, ...lines] = error.message.split("\n");
        assert.match(head!, /^the stack's configuration has \d+ mistakes?; no host was touched:$/);
        return { mistakes: lines.map((l) => l.trim()), text: error.message };
    }
}

/** All that the nodes are sent but for the constant commands: the pure part of the plan. */
function planOf(spec: ClusterSpec): Bundle[] {
    const secrets = { "stats-password": "p" };
    const first = spec.nodes.find((n) => n.name === spec.firstServer)!;
    return [
        ...spec.nodes.flatMap((n) => [
            prepareBundle(spec, n, "0011", secrets),
            haproxyBundle(spec, n),
            stageBundle(spec, n),
            manifestsBundle(spec, n),
            k3sBundle(spec, n),
        ]),
        lostNodesBundle(spec, first),
        membersBundle(spec, first),
    ];
}

/** YAML files that k3s reads, with what they must mean to it. */
function yamlOf(spec: ClusterSpec): [string, unknown][] {
    return spec.nodes.flatMap((n): [string, unknown][] => [
        [quotedYaml(nodeConfig(spec, n)), nodeConfig(spec, n)],
        [quotedYaml(registration(n)), registration(n)],
        [quotedYaml(spec.registries), spec.registries],
        [quotedYaml(spec.kubelet), spec.kubelet],
    ]);
}

/** Where a mistake may be reported: the place itself, what is in it, or what it is part of when that is of a wrong kind. */
function tells(mistakes: readonly string[], path: Path): boolean {
    // Of two settings of which there must be one, what holds them is wrong.
    const own = configPath(
        ["insecure_password", "expression"].includes(String(path.at(-1))) ? path.slice(0, -1) : path,
    );
    // A backend's name is told where it is missed, and without an inventory nothing of server_dynamic is looked at.
    if (path.includes("server_dynamic") || own === "k3s-ha:proxy.haproxy.backend[0].name") return true;
    // Of networks and ports that meet one is wrong, and names the other.
    if ((path.includes("config") || path.includes("ssh")) && mistakes.some((line) => line.includes(own))) return true;
    if (path.at(-1) === "service-node-port-range" && mistakes.some((line) => line.includes("NodePort"))) return true;
    return mistakes.some(
        (line) => line.startsWith(`${own}:`) || line.startsWith(`${own}.`) || line.startsWith(`${own}[`),
    );
}

const filled = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value ?? null).replaceAll(FOLDER, folder)) as unknown;

/** Ports of k3s, of what runs in it, and of ServiceLB, which BASE has. */
const K3S_PORTS = [80, 443, 2379, 2380, 2381, 2382, 6443, 10248, 10249, 10250, 10256, 10257, 10258, 10259];

/** Whether an address lies in a network. */
function within(network: string, address: string): boolean {
    const [first = "", bits] = network.split("/");
    const list = new BlockList();
    list.addSubnet(first, Number(bits), isIPv6(first) ? "ipv6" : "ipv4");
    return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

/** What no accepted stack may have, told by other means than those of the checks. */
function impossible(spec: ClusterSpec): string[] {
    const found: string[] = [];
    const config = spec.nodes.find((n) => n.name === spec.firstServer)!.config;
    const kept = new BlockList();
    // An empty list is k3s's own network.
    const [pods, services] = [
        String(config["cluster-cidr"] ?? "") || "10.42.0.0/16",
        String(config["service-cidr"] ?? "") || "10.43.0.0/16",
    ];
    for (const text of [pods, services]) {
        const [network = "", bits] = text.split("/");
        kept.addSubnet(network, Number(bits), isIPv6(network) ? "ipv6" : "ipv4");
    }
    for (const { name, address, ssh } of spec.nodes)
        for (const at of [address, ssh.host, ssh.bastion?.host ?? ""])
            if (isIP(at) && kept.check(at, isIPv6(at) ? "ipv6" : "ipv4"))
                found.push(`${name}: ${at} is a pod's or a service's`);
    for (const { name } of spec.nodes)
        if (!/^[a-z0-9]+([-.][a-z0-9]+|-+[a-z0-9]+)*$/.test(name) || name.length > 63)
            found.push(`${name} is no Node's name`);
    const networks = [pods, services].map((network) => network.split("/")[0] ?? "");
    if (within(pods, networks[1]!) || within(services, networks[0]!)) found.push(`${pods} and ${services} meet`);
    const coredns = !String(config["disable"]).includes("coredns");
    for (const dns of [config["cluster-dns"] ?? []].flat())
        if (
            coredns &&
            !String(dns)
                .split(",")
                .every((at) => within(services, at.trim()))
        )
            found.push(`${dns} is no Service's`);
    const family = isIPv6(spec.nodes[0]!.address);
    if (networks.some((network) => isIPv6(network) !== family)) found.push("two IP families");
    const [low, high] = String(config["service-node-port-range"] ?? "30000-32767")
        .split("-")
        .map(Number);
    const taken = (port: number): boolean =>
        K3S_PORTS.includes(port) || port === config["lb-server-port"] || (port >= low! && port <= high!);
    const config0 = haproxyConfig(spec, spec.nodes[0]!);
    for (const [line, port] of config0.matchAll(/^ +bind \S*:(\d+)\b.*$/gm))
        if (taken(Number(port)) && !/quic|udp/.test(line)) found.push(`a bind takes a port of k3s's: ${line}`);
    if (!/^ +bind 127\.0\.0\.1:\d+/m.test(config0)) found.push("no place for the API");
    for (const { name, address, ssh } of spec.nodes)
        if (ssh.host === address && taken(ssh.port)) found.push(`${name}: sshd's port ${ssh.port} is k3s's`);
    return found;
}

interface Outcome {
    readonly place: Place;
    readonly value: unknown;
    readonly spec?: ClusterSpec;
}

/** Milliseconds within which any stack file is judged: under a second on a quiet machine. */
const SOON = 5000;

describe("bad input", () => {
    let all: Place[];
    const accepted: Outcome[] = [];
    const counts = { refused: 0, accepted: 0 };
    const bundles = new Map<string, Bundle>();
    /** Text of a YAML file for k3s, and what it has to mean. */
    const yaml = new Map<string, unknown>();
    const wrong: string[] = [];

    before(() => {
        process.env["PULUMI_CONFIG"] = "";
        pulumi.runtime.setMocks(
            { newResource: (a) => ({ id: a.name, state: a.inputs }), call: (a) => a.inputs },
            "k3s-ha",
            "dev",
            false,
        );
        all = places(BASE);
    });
    after(function () {
        // Thousands of folders.
        this.timeout(300_000);
        rmSync(folder, { recursive: true, force: true });
    });

    function attempt(place: Place, path: Path, value: unknown): void {
        const config = configOf(withValue(place.settings, path, value) as Record<string, unknown>);
        const where = `${configPath(path)} = ${JSON.stringify(value)?.slice(0, 80)}`;
        const started = performance.now();
        let result;
        try {
            result = read(config);
        } catch (error) {
            wrong.push(`${where}: ${(error as Error).stack?.split("\n").slice(0, 3).join(" ")}`);
            return;
        }
        const ms = performance.now() - started;
        if (ms > SOON) wrong.push(`${where}: took ${Math.round(ms)} ms`);
        if ("spec" in result) {
            counts.accepted++;
            wrong.push(...impossible(result.spec).map((what) => `${where}: accepted, and ${what}`));
            accepted.push({ place, value, spec: result.spec });
            try {
                for (const bundle of planOf(result.spec)) bundles.set(renderBundle(bundle), bundle);
                for (const [text, meant] of yamlOf(result.spec)) yaml.set(text, meant);
            } catch (error) {
                wrong.push(
                    `${where}: accepted, and its plan fails: ${(error as Error).stack?.split("\n").slice(0, 3).join(" ")}`,
                );
            }
            return;
        }
        counts.refused++;
        const { mistakes, text } = result;
        if (!tells(mistakes, path))
            wrong.push(`${where}: no mistake names its path: ${mistakes.slice(0, 2).join(" | ").slice(0, 300)}`);
        for (const line of mistakes) {
            if (/Invalid|undefined|function|\[object/.test(line) && !JSON.stringify(value).includes("Invalid"))
                wrong.push(`${where}: not clear: ${line.slice(0, 200)}`);
        }
        if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/.test(text))
            wrong.push(`${where}: control characters in the message`);
        if (text.length > 200_000) wrong.push(`${where}: a message of ${text.length} characters`);
        if (
            (SECRET_SETTINGS.has(String(path[0])) || /^(insecure_)?passw(or)?d$/.test(String(path.at(-1)))) &&
            typeof value === "string" &&
            value.length > 3 &&
            text.includes(JSON.stringify(value).slice(1, -1).slice(0, 60))
        )
            wrong.push(`${where}: the message shows a secret`);
    }

    it("every place of the schema is reached, and takes a well-formed value", () => {
        for (const place of all) {
            // Never well formed: passwords in clear do not belong into a stack file, and there is no inventory.
            // Of an issuer's claim or expression there must be one.
            if (
                ["insecure_password", "expression"].includes(String(place.path.at(-1))) ||
                place.path.includes("server_dynamic")
            )
                continue;
            // An agent's setting; the sample node is a server (tests/unit/steps/k3s.test.ts has an agent).
            if (place.path[0] === "nodes" && place.path.at(-1) === "throughProxy") continue;
            const result = read(configOf(place.settings));
            assert.ok(
                "spec" in result,
                `${place.path.join(".")}: ${"mistakes" in result ? result.mistakes.join(" | ") : ""}`,
            );
        }
        assert.ok(all.length > 500, `${all.length} places`);
    });

    it("each hostile value is refused with path and reason, or planned", function () {
        this.timeout(300_000);
        all.forEach((place, n) => {
            const values = [...TEXTS, ...OTHERS].map(filled);
            const own = place.path[1] !== "haproxy" && place.kind === "text";
            // An eighth of the values for each text, and fewer for haproxy's many alike settings, by turns: all kinds of values meet
            // all kinds of settings.
            const turn = own ? 8 : 80;
            values.filter((_, i) => i % turn === n % turn).forEach((value) => attempt(place, place.path, value));
        });
        for (const place of recordPaths(all))
            for (const key of TEXTS.map(filled) as string[]) {
                const old = Object.values(valueAt(place.settings, place.path) as object)[0] as unknown;
                attempt(place, place.path, Object.defineProperty({}, key, { value: old, enumerable: true }));
            }
        for (const key of TEXTS.map(filled) as string[])
            attempt({ path: [key], settings: BASE, kind: "any" }, [key], "a");
        console.log(
            `      ${counts.refused} refused, ${counts.accepted} accepted, ${bundles.size} different data for hosts`,
        );
        assert.deepEqual(wrong.slice(0, 20), []);
        assert.ok(counts.refused + counts.accepted >= 500);
    });

    it("reaches the nodes' scripts as it was meant, through the shell's own code", function () {
        this.timeout(300_000);
        const work = join(folder, "bundles");
        mkdirSync(work);
        const list = [...bundles];
        list.forEach(([text], i) => writeFileSync(join(work, `${i}.bundle`), text));
        const run = spawnSync(
            "sh",
            ["-c", `. '${LIB}'\nfor file in ./*.bundle; do WORK=$file.out; mkdir "$WORK"; unpack <"$file"; done`],
            { cwd: work, encoding: "utf8", env: { ...process.env, STATE: join(folder, "state") }, timeout: 280_000 },
        );
        assert.equal(run.stderr, "");
        assert.equal(run.status, 0);
        list.forEach(([, bundle], i) => {
            const out = join(work, `${i}.bundle.out`);
            const got = Object.fromEntries(
                readdirSync(out).map((name) => [name, readFileSync(join(out, name), "utf8")]),
            );
            const meant: Record<string, string> = { manifest: "", "set.end": "yes\n" };
            for (const [key, value] of Object.entries(bundle.settings)) {
                const items = value === undefined ? [] : typeof value === "object" ? value : [value];
                if (items.length > 0) meant[`set.${key}`] = `${items.join("\n")}\n`;
            }
            bundle.files.forEach(({ path, mode, content }, n) => {
                meant["manifest"] += `${n + 1} ${mode} ${path}\n`;
                meant[`file.${n + 1}`] = content === "" || content.endsWith("\n") ? content : `${content}\n`;
            });
            assert.deepEqual(got, meant);
        });
        assert.ok(!existsSync(join(folder, CANARY)), "something was run");
    });

    it("means the same to a reader of YAML 1.1", () => {
        for (const [text, meant] of yaml) {
            assert.deepEqual(parse(text, { version: "1.1" }), JSON.parse(JSON.stringify(meant)));
            // Such a reader takes these for the end of a line, or refuses the file.
            assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff]/);
        }
        assert.ok(yaml.size > 100, `${yaml.size} files`);
    });

    it("no command line has a word of a setting that a shell would read as more than a word", async function () {
        this.timeout(60_000);
        // One stack with the most hostile value in every place that took one.
        let worst: Record<string, unknown> = BASE;
        for (const { place, value } of accepted) {
            if (place.path[1] === "haproxy" || typeof value !== "string" || !/[$;&|'"\\<>(){}*?#~ -]/.test(value))
                continue;
            const next = withValue(worst, place.path, value) as Record<string, unknown>;
            // Only where the place is there already, or its parent is.
            if (valueAt(worst, place.path.slice(0, -1)) === undefined) continue;
            if ("spec" in read(configOf(next))) worst = next;
        }
        const withAll = withValue(worst, ["snapshots"], {
            s3: { bucket: "$(id)" },
            now: "a",
            restore: `/a/${"b".repeat(300)}`,
        }) as Record<string, unknown>;
        const result = read(configOf({ ...withAll, publicInfoViewer: { via: "ssh" } }));
        assert.ok("spec" in result, JSON.stringify(result));
        const commands = await remoteCommands(result.spec);
        assert.ok(commands.length > 20, commands.join("\n"));
        const stubs = join(folder, "stubs");
        mkdirSync(stubs);
        for (const name of ["sh", "sudo"])
            writeFileSync(join(stubs, name), '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n', {
                mode: 0o755,
            });
        symlinkSync("/usr/bin/tr", join(stubs, "tr"));
        for (const line of commands) {
            assert.doesNotMatch(line, /\n/, "csh ends a quoted word with the line");
            assert.ok(
                line.split("' '").every((word) => word.length < 1000),
                "csh has no longer words",
            );
            const run = spawnSync("/bin/sh", ["-c", line], { encoding: "utf8", env: { PATH: stubs } });
            assert.equal(run.stderr, "", line);
            // Nothing in it ends the quotes.
            const inner = scriptOf(line);
            assert.ok(inner !== undefined, line);
            const words = inner
                .replace(/^test ! -e \S+ \|\| /, "")
                .replace(/^(sudo|sh) /, "")
                .replace(/ # [0-9a-f ]+$/, "")
                .trim()
                .split(/\s+/);
            assert.deepEqual(run.stdout.trim().split("\n"), inner.startsWith("test ! -e") ? [""] : words, line);
        }
        assert.ok(!existsSync(join(folder, CANARY)), "something was run");
    });

    for (const [what, text, meant] of TRAPS)
        for (const version of ["1.1", "1.2"] as const)
            it(`YAML ${version}: ${what}`, () => {
                const base = configOf(
                    Object.fromEntries(Object.entries(BASE).filter(([k]) => !text.includes(`k3s-ha:${k}:`))),
                );
                const result = read({ ...base, ...engineConfig(`config:\n${text.replace(/^/gm, "    ")}\n`, version) });
                if (meant instanceof RegExp) {
                    assert.ok("mistakes" in result, "it is accepted");
                    assert.ok(
                        result.mistakes.some((l) => meant.test(l)),
                        result.mistakes.join("\n"),
                    );
                } else {
                    assert.ok("spec" in result, "mistakes" in result ? result.mistakes.join("\n") : "");
                    meant(result.spec);
                }
            });

    it("tells thousands of mistakes soon, and not all of them", () => {
        for (const nodes of [
            Array.from({ length: 20_000 }, (_, i) => ({ name: `N_${i}`, role: "x", address: "nowhere" })),
            Array.from({ length: 20_000 }, () => null),
            Array.from({ length: 2000 }, () => node("a", "server", "10.0.0.1")),
        ]) {
            const config = configOf({ ...BASE, nodes });
            const started = performance.now();
            const result = read(config);
            assert.ok(performance.now() - started < SOON, `${performance.now() - started} ms`);
            assert.ok("mistakes" in result && result.mistakes.length <= 101);
        }
    });

    it("all kinds of mistakes are told at once", () => {
        const config = configOf({
            ...BASE,
            verison: 1,
            ssh: { knownHosts: "not-there" },
            proxy: { port: "x" },
            nodes: [node("A", "server", "10.0.0.1")],
        });
        pulumi.runtime.setAllConfig(config, []);
        process.env["PULUMI_CONFIG_SECRET_KEYS"] = "[]";
        assert.throws(
            () => readStack(folder),
            (error: Error) =>
                ["token: stands in", "verison", "ssh.knownHosts", "proxy.port", "nodes[0].name"].every((part) =>
                    error.message.includes(`k3s-ha:${part}`),
                ),
        );
    });
});

describe("bad input: prepare.sh", () => {
    it("keeps a sysctl value of before once, however its name is spelled", () => {
        const state = mkdtempSync(join(tmpdir(), "k3s-ha-sysctl-"));
        const run = spawnSync(
            "sh",
            [
                "-c",
                `. $KIT/prepare.sh
                WORK=${state} SYSCTL_FILE=${state}/90-k3s-ha.conf value=old
                sysctl() { if [ "$1" = -n ]; then echo "$value"; fi; }
                again() { printf 'net/ipv4/a.b = %s\n' "$1" >"$WORK/file.1"; printf '1 0644 %s\n' "$SYSCTL_FILE" >"$WORK/manifest"; apply_sysctl; value=$1; }
                again one; again two; cat "$STATE/sysctl.before"`,
            ],
            { encoding: "utf8", env: { ...process.env, KIT: kitFolder(), STATE: state } },
        );
        rmSync(state, { recursive: true });
        assert.equal(run.stdout, "net/ipv4/a.b = old\n", run.stderr);
    });
});

/** What a command line gives to sh: one word, or several that sh puts together (login-shell.ts); undefined where something ends the quotes. */
function scriptOf(line: string): string | undefined {
    const plain = line.replaceAll("'\\!'", "!");
    const one = /^\/bin\/sh -c '([^']*)'$/.exec(plain)?.[1];
    return one ?? /^\/bin\/sh -c 's=[^]*?"\$s"' sh '((?:[^']|' ')*)'$/.exec(plain)?.[1]?.replaceAll("' '", "");
}

/** The first line of step prepare's command, whose other lines are a constant text. */
const FIRST_LINE =
    /^\/bin\/sh -c 's=\$[^]*?' sh 'node=[a-z0-9.-]+ kit=[0-9a-f]{64} upload=\.k3s-ha-kit-[A-Za-z0-9._-]+\^set -eu \+fC\^/;

/** Command lines of all remote commands of a cluster, without that of prepare. */
async function remoteCommands(spec: ClusterSpec): Promise<string[]> {
    const lines: string[] = [];
    let count = 0;
    await pulumi.runtime.setMocks(
        {
            newResource: (args) => {
                count++;
                const inputs = args.inputs as Record<string, unknown>;
                if (args.type === "command:remote:Command")
                    for (const key of ["create", "update", "delete"]) {
                        const line = inputs[key];
                        if (typeof line !== "string") continue;
                        if (key === "create" && args.name.endsWith("-prepare"))
                            assert.match(line.replaceAll("' '", ""), FIRST_LINE);
                        else lines.push(line);
                    }
                const made: Record<string, unknown> = {
                    result: "made",
                    hex: "0011",
                    output: "ab".repeat(32),
                    stderr: "",
                };
                made["stdout"] =
                    `etcd-data: none\nca-hash: ${"ab".repeat(32)}\nclusters: [{cluster: {certificate-authority-data: Q0E=}}]\nusers: [{user: {client-certificate-data: Q0E=}}]\n`;
                return { id: args.name, state: { ...inputs, ...made } };
            },
            call: (args) => args.inputs,
        },
        "k3s-ha",
        "dev",
        false,
    );
    const { Cluster } = await import("../../../components/cluster");
    new Cluster("dev", {
        plan: knownPlan(spec),
        access: {},
        given: {},
        lastRead: {},
        now: new Date(),
        hooks: NO_HOOKS,
    });
    // Quiet means that nothing more comes, not that a busy machine has not begun.
    for (let quiet = 0, before = -1; quiet < 20; quiet = count > 0 && count === before ? quiet + 1 : 0) {
        before = count;
        await new Promise((resolve) => setTimeout(resolve, 15));
    }
    return lines;
}
