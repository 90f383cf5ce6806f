/** was_removed of k3s-lib.sh: whether the cluster let go of a server's etcd member while its host was away. */
import assert from "node:assert/strict";
import { shell } from "../helpers/step-shell";

const MEMBER = "master-2-5a9d9c91";

interface Situation {
    /** The member's name in its data; absent: no data. */
    readonly name?: string;
    readonly tombstone?: boolean;
    readonly active?: boolean;
    /** Names that the other servers list, as k3s 1.36.3 prints them; absent: nobody answers. */
    readonly listed?: readonly string[];
}

async function wasRemoved({ name, tombstone, active, listed }: Situation): Promise<boolean> {
    const etcd = "data/server/db/etcd";
    const files: Record<string, string> = {};
    if (name !== undefined) Object.assign(files, { [`${etcd}/member/snap`]: "", [`${etcd}/name`]: name });
    if (tombstone) files[`${etcd}/tombstone`] = "";
    const members = listed?.map((n, i) => ({
        ID: i + 1,
        ...(n && { name: n }),
        peerURLs: [`https://10.0.0.${i}:2380`],
    }));
    const { text } = await shell(
        `setting() { echo https://127.0.0.1:16443; }
unit_is() { [ "$2" = ${active ? "active" : "activating"} ]; }
supervisor() { ${members ? `echo '${JSON.stringify({ members })}'` : "return 7"}; }
if was_removed; then echo removed; else echo not; fi`,
        files,
    );
    assert.match(text, /^(removed|not)\n$/);
    return text === "removed\n";
}

describe("a server whose etcd member was removed", () => {
    for (const [what, situation, expected] of [
        ["k3s noted it", { name: MEMBER, tombstone: true }, true],
        ["k3s missed it: the others do not list it", { name: MEMBER, listed: ["master-1-aa", "master-3-bb"] }, true],
        ["another host of its name is listed", { name: MEMBER, listed: ["master-1-aa", "master-2-cc"] }, true],
        ["it is listed", { name: MEMBER, listed: ["master-1-aa", MEMBER] }, false],
        ["k3s runs", { name: MEMBER, active: true, listed: ["master-1-aa"] }, false],
        ["nobody answers", { name: MEMBER }, false],
        ["one is listed that has not started yet", { name: MEMBER, listed: ["master-1-aa", ""] }, false],
        ["the list is empty", { name: MEMBER, listed: [] }, false],
        ["there are no data", { listed: ["master-1-aa"] }, false],
    ] as const)
        it(`${what}: ${expected ? "removed" : "not known to be"}`, async () =>
            assert.equal(await wasRemoved(situation), expected));
});
