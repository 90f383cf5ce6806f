import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";

const script = join(__dirname, "../../../components/scripts/packages.sh");

/** The plan that the node's own script makes, by the values of an os-release file. */
function plan(id: string, like = ""): Record<string, string> {
    const text = execFileSync("sh", ["-c", '. "$0"; package_plan "$1" "$2"', script, id, like], { encoding: "utf8" });
    return Object.fromEntries(
        text
            .trim()
            .split("\n")
            .map((line) => line.split(/: (.*)/).slice(0, 2) as [string, string]),
    );
}

const apt = {
    refresh: "apt-get -q -o DPkg::Lock::Timeout=120 update",
    install:
        "apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install",
    list: "dpkg-query -W -f ${Package}#${db:Status-Status}\\n",
    remove: "dpkg --purge",
};
const dnf = {
    refresh: "dnf -q -y makecache",
    install: "dnf -q -y --setopt=install_weak_deps=False install",
    list: "rpm -qa --qf %{NAME}\\n",
    remove: "rpm -e",
};
const zypper = {
    refresh: "zypper -q -n refresh",
    install: "zypper -q -n install --no-recommends",
    list: "rpm -qa --qf %{NAME}\\n",
    remove: "rpm -e",
};

describe("haproxy: package plan", () => {
    const families: [string, string, object][] = [
        ["debian", "", apt],
        ["ubuntu", "debian", apt],
        ["linuxmint", "ubuntu debian", apt],
        ["fedora", "", dnf],
        ["rhel", "fedora", dnf],
        ["rocky", "rhel centos fedora", dnf],
        ["almalinux", "rhel centos fedora", dnf],
        ["amzn", "fedora", dnf],
        ["opensuse-leap", "suse opensuse", zypper],
        ["sles", "suse", zypper],
    ];
    for (const [id, like, expected] of families)
        it(`${id} (${like || "like nothing else"})`, () => assert.deepEqual(plan(id, like), expected));

    it("knows no other distribution", () => {
        const result = spawnSync("sh", ["-c", '. "$0"; package_plan arch ""', script], { encoding: "utf8" });
        assert.equal(result.status, 1);
        assert.equal(result.stdout, "");
    });
});
