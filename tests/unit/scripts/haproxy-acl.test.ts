/** ACL files from the stack file to the step's script: the bundle has them as files, haproxy.sh keeps them for later runs. */
import assert from "node:assert/strict";
import { haproxyBundle } from "../../../components/steps/haproxy";
import { renderBundle } from "../../../components/remote/bundle";
import { node, spec } from "../helpers/settings";
import { stepShell } from "../helpers/step-shell";

const haproxy = stepShell("haproxy.sh");

describe("ACL files", () => {
    const described = spec({
        nodes: [node("a", "server", "10.0.0.1")],
        proxy: {
            haproxy: {
                acl_files: [
                    { dest: "/etc/haproxy/office.acl", content: ["10.0.0.0/8", "192.168.0.0/16"], mode: "640" },
                    { dest: "/etc/haproxy/lists/blocked.acl", content: [], group: "haproxy" },
                ],
            },
        },
    });

    it("are files of the step's bundle", () => {
        const bundle = haproxyBundle(described, described.nodes[0]!);
        assert.deepEqual(bundle.settings["acl"], [
            "root root 0640 /etc/haproxy/office.acl",
            "root haproxy 0644 /etc/haproxy/lists/blocked.acl",
        ]);
        assert.deepEqual(bundle.files.slice(1), [
            { path: "/etc/haproxy/office.acl", mode: "0640", content: "10.0.0.0/8\n192.168.0.0/16\n" },
            { path: "/etc/haproxy/lists/blocked.acl", mode: "0644", content: "" },
        ]);
    });

    it("are kept on the host in numbered files with a list, and gone when the bundle has none", async () => {
        const text = renderBundle(haproxyBundle(described, described.nodes[0]!));
        const without = renderBundle(
            haproxyBundle({ ...described, proxy: { ...described.proxy, haproxy: undefined } }, described.nodes[0]!),
        );
        const run = await haproxy(
            `KEPT=$STATE/haproxy; mkdir -p "$KEPT"
            unpack <"$STATE/with"; keep_lists; cat "$KEPT/acl/list" "$KEPT/acl/1"; stat -c %s "$KEPT/acl/2"
            rm -r "$WORK"; mkdir "$WORK"; unpack <"$STATE/without"; keep_lists; ls "$KEPT"; echo end`,
            { with: text, without },
        );
        assert.equal(
            run.text,
            "1 root root 0640 /etc/haproxy/office.acl\n2 root haproxy 0644 /etc/haproxy/lists/blocked.acl\n10.0.0.0/8\n192.168.0.0/16\n0\nend\n",
        );
    });
});
