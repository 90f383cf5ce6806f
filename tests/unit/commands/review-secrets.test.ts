/** npm run review: no secret in the Markdown, whatever the preview is. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { MOST, review } from "../../../commands/review/markdown";
import { masked, maskedText } from "../../../commands/review/masked";
import { readPreview } from "../../../commands/review/preview";

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";
const PREVIEWS = join(__dirname, "previews");

/** A small generator of numbers (mulberry32), so that a failure can be seen again. */
function random(seed: number): (below: number) => number {
    let state = seed;
    return (below) => {
        state = (state + 0x6d2b79f5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % below;
    };
}

const LETTERS = [..."abcXYZ0189-_./+=$`'\"\\<>&|*~#@:;,%{}[]() \u202e\u{1f511}é"];

/** A text that nothing else has, with anything in it. */
function secretText(pick: (below: number) => number): string {
    const body = Array.from({ length: 8 + pick(40) }, () => LETTERS[pick(LETTERS.length)]).join("");
    // A beginning and an end that no trimming takes away.
    return `Q${pick(1e9).toString(36)}${body}${pick(1e9).toString(36)}Q`;
}

const URNS = [
    ...["kit", "prepare", "haproxy", "stage", "server", "agent", "x"].map((step) => `node-1-${step}`),
    ...["kubeconfig", "members", "lost-nodes", "snapshot"].map((step) => `prod-${step}`),
    "description",
].map((name) => `urn:pulumi:prod::k3s-ha::k3s-ha:index:Cluster$command:remote:Command::${name}`);
const OPS = [
    "create",
    "update",
    "replace",
    "create-replacement",
    "delete",
    "delete-replaced",
    "same",
    "constructor",
    "",
];
const KEYS = ["stdin", "create", "update", "connection", "input", "triggers", "__proto__", "constructor", "a", "token"];

/** Hostile previews: secrets as the engine writes them, in any place; also in the clear where a name or a form tells. */
class Hostile {
    public readonly secrets: string[] = [];
    /** Those that the engine marks: they are looked for in all other texts. */
    private readonly marked: string[] = [];
    public constructor(private readonly pick: (below: number) => number) {}

    public preview(): object {
        const { pick } = this;
        return {
            config: { "k3s-ha:nodes": this.value(2), "k3s-ha:token": this.wrapped() },
            steps: Array.from({ length: 1 + pick(8) }, () => ({
                op: OPS[pick(OPS.length)],
                urn: URNS[pick(URNS.length)],
                diffReasons: KEYS.filter(() => pick(2) === 0),
                replaceReasons: pick(4) === 0 ? ["triggers"] : null,
                detailedDiff: pick(3) === 0 ? { stdin: { kind: "update" } } : null,
                oldState: pick(8) === 0 ? null : { inputs: this.map(3), retainOnDelete: pick(2) === 0 },
                newState: pick(8) === 0 ? null : { inputs: this.map(3) },
            })),
            diagnostics: [
                { severity: "error", message: `error: ${this.text()}`, urn: URNS[pick(URNS.length)] },
                { severity: "warning", message: this.text() },
            ],
        };
    }

    private secret(): string {
        const text = secretText(this.pick);
        this.secrets.push(text);
        return text;
    }

    /** A secret as the state of a stack has it, with its text: encrypted texts are never secrets themselves. */
    private wrapped(): object {
        const text = this.secret();
        this.marked.push(text);
        const forms = [
            { [SIGNATURE]: SECRET, plaintext: JSON.stringify(text) },
            { [SIGNATURE]: SECRET, value: text },
            { [SIGNATURE]: SECRET, value: { a: [text, { b: `node: x\n${text}\nend: yes\n` }] } },
            { [SIGNATURE]: SECRET, plaintext: JSON.stringify({ deep: [text] }) },
        ];
        return forms[this.pick(forms.length)] as object;
    }

    /** Text that may hold a secret that was seen elsewhere, or one in a form that tells. */
    private text(): string {
        const known = this.marked[this.pick(Math.max(1, this.marked.length))];
        const word = `S${this.pick(1e9).toString(36)}w0rd`;
        const forms: (() => string)[] = [
            () =>
                `node: node-1\nversion: v${this.pick(9)}\nfile: /etc/haproxy/haproxy.cfg 0600\n    global\n    ${known ?? "x"}\nend: yes\n`,
            () => `before ${known ?? "x"} after`,
            () => (this.secrets.push(word), `https://user:${word}@example.org/`),
            () => (this.secrets.push(word), `x\n    password: "${word}"\n`),
            () => (this.secrets.push(word), `K10${"ab".repeat(32)}::server:${word}`),
            () => (this.secrets.push(word), `--kube-apiserver-arg=oidc-token=${word}`),
            () => (this.secrets.push(word), `Authorization: Bearer ${word}`),
            () => (
                this.secrets.push(word),
                `-----BEGIN OPENSSH PRIVATE KEY-----\n${word}\n-----END OPENSSH PRIVATE KEY-----`
            ),
            () => (this.secrets.push(word), `  stats auth admin:${word}\n  user a insecure-password ${word}`),
            () => "</details>\n```\n~~~\n<!-- --> @everyone \u0000\u202e",
            () => "",
        ];
        return (forms[this.pick(forms.length)] as () => string)();
    }

    private value(depth: number): unknown {
        const kind = this.pick(7);
        if (kind === 0) return this.wrapped();
        if (kind < 3 || depth === 0) return this.text();
        if (kind === 3) return [this.value(depth - 1), this.value(depth - 1)];
        if (kind === 4) return this.map(depth - 1);
        return [null, 7, true][this.pick(3)];
    }

    private map(depth: number): object {
        const entries = KEYS.filter(() => this.pick(2) === 0).map((key) => {
            if (key === "token") return [key, this.secret()] as const;
            return [key, this.value(depth)] as const;
        });
        return Object.fromEntries(entries);
    }
}

describe("npm run review: secrets", () => {
    it("none of 250 hostile previews shows one, or is too long, or ends in an error", function () {
        this.timeout(120_000);
        let seen = 0;
        for (let seed = 1; seed <= 250; seed++) {
            const hostile = new Hostile(random(seed));
            const preview = hostile.preview();
            const text = review(readPreview(JSON.parse(JSON.stringify(preview))), "prod");
            for (const secret of hostile.secrets) {
                assert.ok(!text.includes(secret), `seed ${seed}: ${JSON.stringify(secret)}`);
                seen++;
            }
            assert.ok(text.length <= MOST, `seed ${seed}: ${text.length}`);
        }
        assert.ok(seen > 1000, String(seen));
    });

    it("what a preview is never ends in an error", () => {
        for (const json of [null, 1, "x", [], {}, { steps: 1 }, { steps: [null, 1, {}, { urn: 1, op: 1 }] }])
            assert.match(review(readPreview(json), "a --> <b>"), /^<!-- k3s-ha review: a-b- -->\n/);
    });

    it("a secret that is part of another text is gone there, too", () => {
        const json = { a: { [SIGNATURE]: SECRET, value: "long enough" }, b: "x long enough y", "long enough": 1 };
        assert.deepEqual(masked(json), { a: "[secret]", b: "x [secret] y", "[secret]": 1 });
    });

    it("names, flags and forms that tell", () => {
        for (const [line, left] of [
            ["    password: two words", "    password: [secret]"],
            ['  - "token": "a b", b', '  - "token": [secret]'],
            ["a {password=abc=def, b: c}", "a {password=[secret] b: c}"],
            ["--audit-webhook-arg=x-api-key=abc", "--audit-webhook-arg=x-api-key=[secret]"],
            ["error: Authorization: Basic dXNlcg==", "error: Authorization: [secret] [secret]"],
            ["curl -H 'Authorization: Bearer abc'", "curl -H 'Authorization: [secret]'"],
            ["  user a insecure-password abc", "  user a insecure-password [secret]"],
        ] as const) {
            assert.equal(maskedText(line).includes("abc"), false, line);
            assert.equal(maskedText(line), left);
        }
    });

    it("assets are no secrets", () => {
        const asset = { [SIGNATURE]: "c44067f5952c0a294b673a41bacd8c17", hash: "abc" };
        assert.deepEqual(masked({ source: asset }), { source: asset });
    });

    it("what only looks like a secret at first sight stays", () => {
        for (const line of [
            'token-file: "/etc/rancher/k3s/token"',
            "  stats auth admin:@@stats-password@@",
            "  user admin password @@stats-password-hash@@",
            "rotates: yes",
            "version: v1.36.3+k3s1",
            "  server server-1 10.8.0.11:6443",
        ])
            assert.equal(maskedText(line), line);
    });

    it("nothing of what the recorded previews have is masked but secrets", () => {
        for (const name of readdirSync(PREVIEWS)) {
            const json = JSON.parse(readFileSync(join(PREVIEWS, name), "utf8")) as unknown;
            assert.deepEqual(masked(json), json, name);
        }
    });
});
