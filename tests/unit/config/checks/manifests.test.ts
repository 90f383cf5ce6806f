/** manifests and images: what is refused, what may be secret, and what a change of them does. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { descriptionOf } from "../../../../components/config/description";
import { checkSpec } from "../../../../components/config/check";
import { consequences } from "../../../../components/config/transition";
import { manifestsBundle } from "../../../../components/steps/manifests";
import { pruneManifestsBundle } from "../../../../components/steps/prune-manifests";
import { stageBundle } from "../../../../components/steps/stage";
import { mistakes, settings, spec } from "../../helpers/settings";
import { refusesEach } from "../../helpers/refusals";

const OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n";
const one = (content: string, more: object = {}): object => ({ manifests: [{ name: "a.yaml", content, ...more }] });
const named = (name: string): object => ({ manifests: [{ name, content: OBJECT }] });
const MANIFESTS = "/var/lib/rancher/k3s/server/manifests";
const SUM = "a".repeat(64);

describe("manifests: names", () => {
    refusesEach([
        [
            "a name without an ending",
            named("cni"),
            /^k3s-ha:manifests\[0\]\.name: "cni" must be a file name of lower-case/,
        ],
        ["another ending", named("cni.yaml.skip"), /must be a file name/],
        ["capital letters", named("Cni.yaml"), /must be a file name/],
        ["a folder", named("a/b.yaml"), /must be a file name/],
        ["a name of k3s's own", named("coredns.yaml"), /"coredns\.yaml" is a name of k3s's own/],
        ["one of its folder metrics-server", named("auth-reader.json"), /is a name of k3s's own/],
        ["one with k3s's before the first dot", named("traefik.own.yaml"), /is a name of k3s's own/],
        [
            "the same name up to the first dot",
            { manifests: ["a.yaml", "a.crds.yaml"].map((name) => ({ name, content: OBJECT })) },
            /^k3s-ha:manifests\[1\]\.name: "a\.crds\.yaml" has the same Addon \(a\) as manifests\[0\]/,
        ],
        [
            "a name in disable, for which k3s deletes the file",
            { ...named("mine.yaml"), server: { config: { disable: ["mine"] } } },
            /is in server\.config\.disable/,
        ],
        [
            "a file that host.files has",
            { ...named("a.yaml"), host: { files: [{ path: `${MANIFESTS}/a.yml`, content: "x" }] } },
            /has the same Addon \(a\) as \S+a\.yml of host\.files/,
        ],
        [
            "a file that host.files has skipped",
            { ...named("a.yaml"), host: { files: [{ path: `${MANIFESTS}/a.yaml.skip`, content: "x" }] } },
            /is skipped by host\.files/,
        ],
    ]);
    it("takes names with and without more dots", () => {
        for (const name of ["a.yaml", "cilium.v1.yml", "a-b.json"]) assert.deepEqual(mistakes(named(name)), [], name);
    });
});

describe("manifests: content", () => {
    const at = String.raw`^k3s-ha:manifests\[0\]\.content: `;
    const told = (text: string): RegExp => new RegExp(`${at}${text}.* \\(a\\.yaml\\)$`);
    refusesEach([
        ["none", { manifests: [{ name: "a.yaml" }] }, /content: is missing \(a\.yaml\)/],
        ["some of an absent one", one(OBJECT, { state: "absent" }), /cannot be set together with state: absent/],
        ["another state", one(OBJECT, { state: "gone" }), /must be present or absent/],
        ["an empty file", one("# nothing\n---\n"), told("holds no object")],
        ["text that is no YAML", one("a: [\n"), told("is no YAML or JSON: .* in line 2")],
        ["a list", one(`${OBJECT}---\n- a\n`), told("document 2 is no Kubernetes object")],
        ["no kind", one("apiVersion: v1\nmetadata: { name: a }\n"), told("document 1 has no kind")],
        ["no apiVersion", one("kind: A\nmetadata: { name: a }\n"), told("document 1 has no apiVersion")],
        ["no name", one("apiVersion: v1\nkind: A\n"), told("document 1 has no metadata.name")],
        [
            "a List with something else in it",
            one('{"apiVersion": "v1", "kind": "List", "items": [{"kind": "A"}]}'),
            told("document 1 has no apiVersion"),
        ],
        [
            "a bomb of aliases",
            one(`a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [${"*a,".repeat(99)}*a]\nc: [${"*b,".repeat(99)}*b]\n`),
            told("document 1 is no Kubernetes object"),
        ],
        [
            "an object that etcd does not take",
            one(`${OBJECT}data: { v: "${"x".repeat(1100000)}" }\n`),
            told("document 1 has \\d+ bytes in JSON"),
        ],
        [
            "a file that is too large",
            one(`${OBJECT}# ${"x".repeat(5000000)}\n`),
            told("has \\d+ bytes, and a file may have 4194304"),
        ],
        [
            "a Secret in clear",
            one('apiVersion: v1\nkind: Secret\nmetadata: { name: a }\nstringData: { k: "v" }\n'),
            /content: holds a Secret in clear; encrypt it/,
        ],
    ]);

    it("takes several documents, Lists, JSON, and an empty document between them", () => {
        for (const content of [
            `---\n${OBJECT}---\n# empty\n---\n${OBJECT}`,
            '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}]}',
            "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\n",
        ])
            assert.deepEqual(mistakes(one(content)), [], content);
    });

    it("tells nothing of the text in a mistake, and takes a Secret that is encrypted", () => {
        const secret = 'apiVersion: v1\nkind: Secret\nmetadata: { name: a }\nstringData: { k: "of-mine" }\n';
        const s = checkSpec(settings(one(secret)), { encrypted: new Set(["manifests"]) }).spec;
        assert.equal(s.confidentialManifests, true);
        assert.equal(s.confidential, false);
        assert.doesNotMatch(mistakes(one(`${secret}of-mine: [\n`)).join("\n"), /of-mine/);
    });
});

describe("docs/manifests.md", () => {
    const page = readFileSync(join(__dirname, "../../../../docs/manifests.md"), "utf8");
    const examples = [...page.matchAll(/```yaml\n([^]*?)```/g)].map(([, text]) => text!);
    it("has examples", () => assert.equal(examples.length, 3));
    for (const text of examples)
        it(`its example of ${/name: (\S+)/.exec(text)?.[1]} is accepted`, () => {
            const written = parse(text) as Record<string, unknown>;
            const more = Object.fromEntries(Object.entries(written).map(([key, value]) => [key.slice(7), value]));
            assert.deepEqual(mistakes(more), []);
        });
});

describe("manifests: a change", () => {
    const files = (...list: object[]) => spec({ manifests: list });
    const [a, b] = ["a", "b"].map((name) => ({ name: `${name}.yaml`, content: OBJECT }));
    const said = (from: ReturnType<typeof files>, to: ReturnType<typeof files>): string[] =>
        consequences(descriptionOf(from), descriptionOf(to), to.manifests);

    it("is told of what is left out and of what is absent, by its name", () => {
        const absent = { name: "b.yaml", state: "absent" };
        assert.match(
            said(files(a!, b!), files(a!)).join(),
            /^k3s-ha:manifests \(b\.yaml\): is left out\. .*its objects stay/,
        );
        assert.match(
            said(files(a!, b!), files(a!, absent)).join(),
            /^k3s-ha:manifests \(b\.yaml\): state: absent deletes/,
        );
        assert.deepEqual(said(files(a!), files(b!, a!)), []);
        assert.deepEqual(said(files(absent), files()), [], "its objects are gone");
        assert.ok(!("manifests" in descriptionOf(spec())));
    });

    it("servers get the files, in an order that the stack file's does not change", () => {
        const s = files(b!, a!, { name: "c.yaml", state: "absent" });
        const bundle = manifestsBundle(
            s,
            s.nodes.find(({ name }) => name === "master-2")!,
        );
        assert.deepEqual(
            bundle.files.map(({ path, mode }) => `${path} ${mode}`),
            [`${MANIFESTS}/a.yaml 0600`, `${MANIFESTS}/b.yaml 0600`],
        );
        assert.deepEqual(bundle.settings["absent"], ["c.yaml"]);
        assert.deepEqual(pruneManifestsBundle(s, s.nodes[0]!).settings["absent"], ["c.yaml"]);
    });
});

describe("images", () => {
    const images = (value: object): object => ({ images: value });
    refusesEach([
        ["another source", images({ source: "net" }), /images\.source: "net" must be none, release or file/],
        ["source file without a file", images({ source: "file", sha256: { amd64: SUM } }), /images\.file: is missing/],
        ["source file without a sum", images({ source: "file", file: "/srv/i.tar" }), /images\.sha256: is missing/],
        [
            "a file that nobody reads",
            images({ source: "release", file: "/srv/i.tar" }),
            /images\.file: "\/srv\/i\.tar" is of no use together with source: release/,
        ],
        ["a sum that nobody reads", images({ sha256: { amd64: SUM } }), /images\.sha256: .*is of no use/],
        [
            "an archive that k3s does not import",
            images({ files: [{ from: "/srv/i.zip", sha256: SUM }] }),
            /files\[0\]\.from: .*must be an http.* end in \.tar/,
        ],
        ["an archive without a sum", images({ files: [{ from: "/srv/i.tar" }] }), /files\[0\]\.sha256: is missing/],
        [
            "an archive from nowhere",
            images({ files: [{ sha256: SUM }] }),
            /files\[0\]\.from: is missing|files\[0\]\.from: must be/,
        ],
        [
            "two archives of one file name",
            images({ files: ["/srv/i.tar", "/mnt/i.tar"].map((from) => ({ from, sha256: SUM })) }),
            /files\[1\]\.from: "\/mnt\/i\.tar" has the same file name \(i\.tar\) as images\.files\[0\]/,
        ],
    ]);

    it("step stage is given them, and where the release is although the binary needs no download", () => {
        const s = spec({
            download: { file: "/srv/k3s", sha256: { amd64: SUM } },
            images: { source: "release", files: [{ from: "https://m.example/i.tar.gz", sha256: SUM }] },
        });
        const given = stageBundle(s, s.nodes[0]!).settings;
        assert.equal(given["images"], "release tar.zst");
        assert.deepEqual(given["image"], [`${SUM} https://m.example/i.tar.gz`]);
        assert.match(String(given["base-url"]), /^https:\/\/github\.com/);
    });

    it("warns of images by plain http whose sums are not pinned", () => {
        const warned = (pinned: object): string[] =>
            checkSpec(
                settings({
                    download: { baseUrl: "http://m.example/k3s", sha256: { amd64: SUM } },
                    images: { source: "release", ...pinned },
                }),
            ).warnings.filter((w) => w.includes("plain http"));
        assert.equal(warned({}).length, 1);
        assert.equal(warned({ sha256: { amd64: SUM } }).length, 0);
    });
});
