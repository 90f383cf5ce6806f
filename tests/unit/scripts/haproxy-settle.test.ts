/** The end of a changed readiness mode (haproxy.sh settle): the former answer is forgotten only when the new file is in force. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kitFolder } from "../helpers/kit-folder";

describe("haproxy.sh settle", () => {
    it("settles in the run after one that failed", () => {
        const folder = mkdtempSync(join(tmpdir(), "k3s-ha-settle-"));
        const kept = join(folder, "state/haproxy");
        mkdirSync(kept, { recursive: true });
        for (const name of ["lib.sh", "packages.sh", "haproxy.sh"])
            copyFileSync(join(kitFolder(), name), join(folder, name));
        for (const [name, text] of [
            ["also-expect", "401"],
            ["desired.cfg", "backend b\n  http-check expect status 200 error-status L7OKC\n"],
            ...["backend", "ca-file", "listen", "node"].map((key) => [key, "b"]),
        ] as [string, string][])
            writeFileSync(join(kept, name), `${text}\n`);
        const settle = (apply: string): [number | null, string] => {
            writeFileSync(join(folder, "haproxy-apply.sh"), `cat "$1" >&2; ${apply}\n`);
            const env = { ...process.env, KIT: folder, STATE: join(folder, "state") };
            const run = spawnSync("sh", [join(folder, "haproxy.sh"), "settle"], { encoding: "utf8", env });
            return [run.status, run.stdout + run.stderr];
        };
        const [code, text] = settle("exit 1");
        assert.equal(code, 1);
        assert.match(text, /expect status 200 error-status/);
        assert.ok(existsSync(join(kept, "also-expect")));
        assert.equal(settle("echo haproxy: reloaded")[0], 0);
        assert.ok(!existsSync(join(kept, "also-expect")));
        assert.match(settle("exit 1")[1], /nothing to settle/);
        rmSync(folder, { recursive: true });
    });
});
