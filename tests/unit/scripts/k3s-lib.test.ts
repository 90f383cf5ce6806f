/** Parts of k3s-lib.sh whose harm is in rare moments: what is sent, and what counts as started. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { shell } from "../helpers/step-shell";

describe("k3s-lib.sh", () => {
    for (const password of [`plain-password-1`, `a"b\\c\\td-0123456789`])
        it(`the password ${password} arrives as it is`, async () => {
            let seen: string | undefined;
            const server = createServer((request, response) => {
                seen = request.headers.authorization;
                response.end("ok");
            });
            await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
            const { port } = server.address() as AddressInfo;
            const token = `K10${"ab".repeat(32)}::server:${password}\n`;
            const { text } = await shell(
                `supervisor_ca=/dev/null; supervisor server "$WORK/token" http://127.0.0.1:${port}/x; printf '{"newToken":"%s"}' "$(password "$WORK/token" | escaped)"`,
                { "work/token": token },
            );
            server.close();
            assert.equal(Buffer.from(seen?.split(" ")[1] ?? "", "base64").toString(), `server:${password}`);
            assert.deepEqual(JSON.parse(text.replace(/^ok/, "")), { newToken: password });
        });

    const unit = (pid: number, state: string): string =>
        `systemctl() { case $3 in MainPID) echo ${pid} ;; SubState) echo ${state} ;; ActiveState) echo active ;; esac; }`;
    for (const [what, commands, up] of [
        ["the process that is about to end", `${unit(41, "running")}; old_pid=41`, "no"],
        ["its successor", `${unit(42, "running")}; old_pid=41`, "yes"],
        ["no process", `${unit(0, "dead")}; old_pid=41`, "no"],
        ["one that was there and is not restarted", unit(41, "running"), "yes"],
    ] as const)
        it(`is up after a restart: ${what}: ${up}`, async () => {
            const { text } = await shell(`${commands}\nif process_up; then echo yes; else echo no; fi`);
            assert.equal(text, `${up}\n`);
        });

    for (const [what, renewed, spoken] of [
        ["before the new process was seen", 1000, "no"],
        ["in the same second", 1010, "no"],
        ["since", 1011, "yes"],
    ] as const)
        it(`a lease renewed ${what}: the kubelet has ${spoken === "yes" ? "" : "not "}spoken since the restart`, async () => {
            const iso = new Date(renewed * 1000).toISOString();
            const { text } = await shell(
                `outcome=restarted up_since=1010; kube() { echo ${iso}; }; if reported 1970-01-01T00:00:01Z; then echo yes; else echo no; fi`,
            );
            assert.equal(text, `${spoken}\n`);
        });

    it("the binary is noted for drift with the sum that it was compared with, and not read again", async () => {
        const sum = "ab".repeat(32);
        const { text } = await shell(
            `ROLE=server; BIN=$STATE/k3s; chmod 0755 "$BIN"; sha256sum() { while read -r line; do [ "$line" != "the binary" ] || echo "read again" >&2; done; echo x -; }
remember_k3s; grep k3s "$STATE/applied/server" | sed "s|$STATE|STATE|"`,
            { k3s: "the binary\n", "bin/v1/sha256": `${sum}\n`, "work/set.version": "v1\n" },
        );
        assert.match(text, new RegExp(`^file 755 ${sum} STATE/k3s$`, "m"));
        assert.doesNotMatch(text, /read again/);
    });
});
