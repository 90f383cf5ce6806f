import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NET, mainCluster, mainStack, on } from "./support";

const GOLDEN = join(__dirname, "golden");

/** A preview without what differs from run to run: times, ids, digests of scripts, the lab's network, the order of parallel work. */
function readable(text: string): string {
    const lines = text
        .replaceAll(`${NET}.`, "10.90.0.")
        // The second digest may be cut off by the display's width.
        .replace(/# [0-9a-f]{12}( [0-9a-f]{8}| [0-9a-f]*\.\.\.)?/g, "# <digest>")
        .replace(/\b[0-9a-f]{40,64}\b/g, "<hash>")
        .replace(/(kit-|asset\(file:)[0-9a-f]+/g, "$1<digest>")
        .split("\n")
        .map((l) => l.trimEnd())
        .filter(
            (l) =>
                !/^(@ |Duration:|Previewing|Permalink:|View |warning: )|^ *\[(id|provider)=/.test(l) && l.trim() !== "",
        );
    const blocks: string[][] = [[]];
    for (const line of lines) {
        if (/^ *([-+~ ]|\+-|-\+) \S+: \(\w+\)$/.test(line) || /^(Resources:| *--outputs:--)/.test(line))
            blocks.push([]);
        blocks.at(-1)?.push(line);
    }
    const key = (block: string[]): string =>
        /^Resources:/.test(block[0] ?? "")
            ? "~~"
            : /outputs/.test(block[0] ?? "")
              ? "~"
              : (/::([^:\]]+)\]$/m.exec(block[1] ?? "")?.[1] ?? "");
    return blocks
        .filter((b) => b.length > 0)
        .sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : (a[1] ?? "") < (b[1] ?? "") ? -1 : 1))
        .flat()
        .join("\n")
        .concat("\n");
}

type Nodes = { name: string; role: string; address: string }[];

/** What a reviewer sees of a change, and resources that it must not touch. */
const changes: readonly {
    readonly name: string;
    readonly change: (config: Record<string, unknown>) => void;
    readonly shows: readonly RegExp[];
    readonly hides: readonly RegExp[];
}[] = [
    {
        name: "haproxy-line",
        change: (config) => void (config["k3s-ha:proxy"] = { check: { interval: "2s" } }),
        shows: [/- +default-server inter 1s/, /\+ +default-server inter 2s/, /5 to update/],
        hides: [/-\d-(server|agent)/, /-stage/, /-prepare/, /agent-1-kit/],
    },
    {
        name: "agent-added",
        change: (config) =>
            void (config["k3s-ha:nodes"] as Nodes).push({
                name: "agent-3",
                role: "agent",
                address: `${NET}.23`,
                ssh: { hostKey: `ssh-ed25519 ${"A".repeat(68)}` },
            } as Nodes[number]),
        shows: [/agent-3-kit/, /agent-3-prepare/, /agent-3-haproxy/, /agent-3-agent/, /6 to create/],
        hides: [/(master|agent)-[12]-(kit|prepare|haproxy|stage|server|agent)/],
    },
    {
        name: "master-removed",
        change: (config) => {
            config["k3s-ha:nodes"] = (config["k3s-ha:nodes"] as Nodes).filter((n) => n.name !== "master-3");
            config["k3s-ha:allow"] = ["lessTolerance"];
        },
        shows: [/- +server master-3 10\.90\.0\.13:6443/, /master-3-server/, /6 to delete/],
        hides: [/agent-[12]-agent/, /master-2-(server|stage|prepare|kit)/],
    },
    {
        name: "version-bump",
        change: (config) => void (config["k3s-ha:version"] = "v1.36.4+k3s1"),
        shows: [/- +version: v1\.36\.2\+k3s1/, /\+ +version: v1\.36\.4\+k3s1/],
        hides: [/-haproxy/, /-prepare/, /agent-1-kit/],
    },
];

describe("previews", function () {
    this.timeout(300_000);
    before(mainCluster);

    for (const { name, change, shows, hides } of changes) {
        it(`${name}: shows what changes and no more, and no secret`, () => {
            const stack = mainStack();
            const before = on(
                "master-1",
                "journalctl -u ssh --no-pager -o cat | grep -c 'Accepted publickey' || true",
            ).stdout;
            const text = readable(stack.preview(stack.changed(change)).stdout);
            for (const wanted of shows) assert.match(text, wanted);
            for (const unwanted of hides) assert.doesNotMatch(text, unwanted);
            for (const output of ["kubeconfig", "statsPassword"]) {
                for (const line of stack
                    .output(output)
                    .split("\n")
                    .filter((l) => l.trim().length > 30))
                    assert.ok(!text.includes(line.trim()), `a line of ${output} is in the preview`);
            }
            assert.equal(
                on("master-1", "journalctl -u ssh --no-pager -o cat | grep -c 'Accepted publickey' || true").stdout,
                before,
                "a preview opens no SSH session",
            );
            const file = join(GOLDEN, `${name}.txt`);
            if (process.env.UPDATE_GOLDEN || !existsSync(file)) {
                assert.ok(process.env.UPDATE_GOLDEN, `${file} is missing; UPDATE_GOLDEN=1 writes it`);
                mkdirSync(GOLDEN, { recursive: true });
                writeFileSync(file, text);
            }
            assert.equal(text, readFileSync(file, "utf8"));
        });
    }
});
