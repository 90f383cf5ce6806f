/** drain.sh: what k3s.service calls before a stop, by what this host's proxy sees. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kitFolder } from "../helpers/kit-folder";

describe("drain.sh", () => {
    let dir: string;
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "k3s-ha-drain-"));
        writeFileSync(join(dir, "serving"), "serving\n");
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    /** Begins a drain of master-1, whose status in the proxy is this one, and then DOWN. */
    const begin = (status: string): string => {
        const script = `. $KIT/drain.sh; SERVING=${dir}/serving MAINPID=$$
check_seconds() { echo 0; }; rule() { echo "rule $*"; touch ${dir}/refuses; }
timeout() {
    cat >/dev/null
    printf '# pxname,svname,type,status,check_status,\nbe,BACKEND,1,UP,,\n'
    if [ -e ${dir}/refuses ]; then echo "be,master-1,2,DOWN,L4CON,"; else echo "be,master-1,2,${status},L7OK,"; fi
}
begin master-1 10.0.0.1 be`;
        const {
            status: code,
            stdout,
            stderr,
        } = spawnSync("sh", ["-c", script], {
            encoding: "utf8",
            env: { ...process.env, KIT: kitFolder() },
        });
        assert.equal(code, 0, stderr);
        assert.equal(existsSync(join(dir, "serving")), false);
        return stdout;
    };

    it("leaves it at the file where the proxy looks for that", () => {
        assert.equal(begin("NOLB"), "");
    });

    it("refuses new connections where the proxy goes on sending them", () => {
        assert.equal(begin("UP"), "rule -I 10.0.0.1\n");
    });
});
