/** install_packages of packages.sh: what is noted as brought by this program, and so removed with it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const components = join(__dirname, "../../../components");

/** What is noted when other programs install one package while the lock is held and one more beside our own installation. */
function noted(output: string, lists = ""): string[] {
    const work = mkdtempSync(join(tmpdir(), "k3s-ha-packages-"));
    const script = `. ${components}/scripts/lib.sh; STATE=${work} WORK=${work}/run; mkdir ${work}/run; . ${components}/scripts/packages.sh
has_command() { return 1; }
printf 'base\nlibc\n' >${work}/installed
plan_run() {
    case $1 in
        list) ${lists} cat ${work}/installed ;;
        refresh) echo theirs-before >>${work}/installed ;;
        install) printf 'socat\nlibwrap0\ntheirs-beside\n' >>${work}/installed; printf '%s' '${output}' ;;
    esac
}
install_packages socat`;
    execFileSync("sh", ["-c", script], { encoding: "utf8" });
    const text = readFileSync(join(work, "packages.new"), "utf8");
    rmSync(work, { recursive: true });
    return text.trim().split("\n");
}

describe("packages that are removed with a node", () => {
    it("are those that apt itself set up", () => {
        const output = "Setting up libwrap0:amd64 (7.6) ...\nSetting up socat (1.7.4) ...\n";
        assert.deepEqual(noted(output), ["libwrap0", "socat"]);
    });

    it("are none when the list of packages fails", () => {
        assert.throws(() => noted("", "[ ! -e $WORK/packages.out ] &&"), /the list of installed packages is empty/);
    });

    it("are all that came while a quiet package manager worked, but none from before", () => {
        assert.deepEqual(noted(""), ["libwrap0", "socat", "theirs-beside"]);
    });
});
