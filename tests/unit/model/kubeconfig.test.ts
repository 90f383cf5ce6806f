/** Certificates that end, and the pod network's interface that is gone: what is found, said and done. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificateEnd, endWarning } from "../../../components/model/kubeconfig";
import { shell } from "../helpers/step-shell";

describe("certificates", () => {
    it("the kubeconfig's end is read, and told from 60 days before", () => {
        const dir = mkdtempSync(join(tmpdir(), "k3s-ha-cert-"));
        const args = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=admin",
        ];
        const { status } = spawnSync("openssl", [...args, "-days", "61", "-keyout", "k", "-out", "c"], { cwd: dir });
        assert.equal(status, 0);
        const data = readFileSync(join(dir, "c")).toString("base64");
        rmSync(dir, { recursive: true });
        const end = certificateEnd(`users: [{name: a, user: {client-certificate-data: ${data}}}]\n`);
        const days = ((end?.getTime() ?? 0) - Date.now()) / 86_400_000;
        assert.ok(days > 60.9 && days <= 61, String(days));
        assert.equal(endWarning(end, new Date()), undefined);
        assert.match(
            endWarning(end, new Date(Date.now() + 2 * 86_400_000)) ?? "",
            /ends at .*raise k3s-ha:rotate\.certificates/,
        );
        assert.match(endWarning(end, new Date(Date.now() + 90 * 86_400_000)) ?? "", /ended at /);
        assert.equal(certificateEnd("users: [{user: {client-certificate-data: Q0E=}}]"), undefined);
        assert.equal(endWarning(undefined, new Date()), undefined);
    });

    const renewal = async (wanted: string, done: string | undefined, rotate = "return 0"): Promise<string> => {
        const { text } = await shell(
            `systemctl() { case $1 in show) echo active ;; *) echo "systemctl $*" ;; esac; }; setting() { if [ "$1" = renew ]; then echo ${wanted}; else echo "\${2-}"; fi; }
start_digest() { echo now; }; missing_flannel() { :; }; timeout() { shift; "$@"; }; BIN=k3s; k3s() { echo "k3s $*" >&3; ${rotate}; }
note_missed_restart; exec 3>&1; (start_unit) || echo failed; remember_renewal; cat $STATE/renewed`,
            { started: "now\n", ...(done === undefined ? {} : { renewed: `${done}\n` }) },
        );
        return text;
    };
    it("a raised counter renews between a stop and a start, once", async () => {
        assert.match(
            await renewal("1", undefined),
            /systemctl stop (\S+)\nk3s certificate rotate\n[^]*systemctl restart --no-block \1\n[^]*1\n$/,
        );
        assert.doesNotMatch(await renewal("1", "1"), /stop|rotate|restart/);
        assert.doesNotMatch(await renewal("0", undefined), /stop|rotate|restart/);
    });
    it("k3s runs again when it could not renew", async () => {
        assert.match(
            await renewal("2", "1", "return 1"),
            /k3s certificate rotate\nsystemctl start --no-block [^]*could not renew its certificates[^]*failed/,
        );
    });
});

describe("the pod network's interface", () => {
    for (const [what, type, links, written, missing] of [
        ["is there", "vxlan", "flannel.1", "now", ""],
        ["is there, with IPv6 only", "vxlan", "flannel-v6.1", "now", ""],
        ["is gone", "vxlan", "", "now", "flannel.1\n"],
        ["is gone, with WireGuard", "wireguard", "flannel.1", "now", "flannel-wg\n"],
        ["is not needed", "host-gw", "", "now", ""],
        ["was of another time, before the last start", "vxlan", "", "2001-01-01", ""],
    ] as const)
        it(`${what}: ${type}: ${missing.trim() || "nothing"} is missing`, async () => {
            const { text } = await shell(
                `FLANNEL_CONF=$STATE/net-conf.json; touch -d ${written} $FLANNEL_CONF
systemctl() { case $3 in ActiveState) echo active ;; *) date -d '-1 hour' ;; esac; }; ip() { case " ${links} " in *" $3 "*) ;; *) return 1 ;; esac; }
missing_flannel k3s.service`,
                { "net-conf.json": `{\n  "Network": "10.42.0.0/16",\n  "Backend": { "Type": "${type}" }\n}\n` },
            );
            assert.equal(text, missing);
        });

    it("that is gone restarts k3s at the next run of its step", async () => {
        const { text } = await shell(
            "setting() { :; }; start_digest() { echo now; }; missing_flannel() { echo flannel.1; }; note_missed_restart; echo $RESTART",
            { started: "now\n" },
        );
        assert.match(text, /restarts for: the pod network's interface flannel\.1 is missing\n1\n$/);
    });
});
