/** host.modules, host.services, host.bpffs: what is refused, and how names are written out. */
import assert from "node:assert/strict";
import { prepareBundle } from "../../../../components/steps/prepare";
import { mistakes, spec } from "../../helpers/settings";
import { refusesEach } from "../../helpers/refusals";

const host = (more: object): object => ({ host: more });
const services = (...list: string[]): object => host({ services: list });

describe("parts of the host", () => {
    refusesEach([
        [
            "a module's file",
            host({ modules: ["nbd.ko"] }),
            /host\.modules\[0\]: "nbd\.ko" must be the name of a kernel module/,
        ],
        ["a module with an option", host({ modules: ["-r nbd"] }), /host\.modules\[0\]: .*must be the name/],
        ["k3s as a service", services("iscsid", "k3s"), /host\.services\[1\]: "k3s" is a unit of this program/],
        ["haproxy as a service", services("haproxy.service"), /is a unit of this program: the step haproxy/],
        ["the timer that pruneImages has", services("k3s-ha-prune-images.timer"), /use k3s-ha:host\.pruneImages/],
        ["a target", services("poweroff.target"), /must be a service, socket, timer or path/],
        ["a template without its instance", services("a@"), /must be a service, socket, timer or path/],
        ["an option", services("--now"), /must be a service, socket, timer or path/],
        ["a reboot", services("systemd-reboot"), /would end the host/],
        ["a service twice", services("iscsid", "iscsid.service"), /host\.services\[1\]: .*is also host\.services\[0\]/],
        [
            "a file that bpffs writes",
            host({ bpffs: true, files: [{ path: "/etc/systemd/system/sys-fs-bpf.mount", content: "a" }] }),
            /host\.files\[0\]\.path: .*is written from k3s-ha:host\.bpffs/,
        ],
        [
            "the file of modules",
            host({ files: [{ path: "/etc/modules-load.d/k3s-ha.conf", content: "a" }] }),
            /is written from k3s-ha:host\.modules/,
        ],
    ]);

    it("an own unit for the BPF file system is fine without the setting", () => {
        const files = [{ path: "/etc/systemd/system/sys-fs-bpf.mount", content: "a" }];
        assert.deepEqual(mistakes(host({ files })), []);
    });

    it("are told to step prepare, in one order and with full names", () => {
        const s = spec(
            host({
                services: ["rpcbind.socket", "iscsid", "wg-quick@wg0"],
                modules: ["b", "a"],
                bpffs: true,
                pruneImages: true,
            }),
        );
        const { settings, files } = prepareBundle(s, s.nodes[0]!, "id", {});
        assert.deepEqual(settings["service"], ["iscsid.service", "rpcbind.socket", "wg-quick@wg0.service"]);
        assert.deepEqual([settings["bpffs"], settings["prune-images"]], ["yes", "yes"]);
        assert.equal(files[0]?.content, "a\nb");
    });
});
