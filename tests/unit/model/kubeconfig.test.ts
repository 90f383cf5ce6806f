/** Certificates that end, and the pod network's interface that is gone: what is found, said and done. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificateEnd, endWarning, readAgain } from "../../../components/model/kubeconfig";
import { readOf } from "../../../components/config/last-outputs";
import { shell, stepShell } from "../helpers/step-shell";

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
        const later = (n: number): Date => new Date(Date.now() + n * 86_400_000);
        assert.equal(endWarning(end, new Date(), "", "master-1"), undefined);
        assert.match(
            endWarning(end, later(2), "", "master-1") ?? "",
            /ends at [^,]*Z\. .*raise k3s-ha:rotate\.certificates/,
        );
        assert.match(
            endWarning(end, later(90), later(90).toISOString().slice(0, 10), "master-1") ?? "",
            /ended at .*master-1, which was asked again today, has no newer one/,
        );
        assert.equal(certificateEnd("users: [{user: {client-certificate-data: Q0E=}}]"), undefined);
        assert.equal(endWarning(undefined, new Date(), "", "master-1"), undefined);
    });

    it("a kubeconfig whose end is near is read again once a day, and the day stays when the end is far", () => {
        const now = new Date("2026-11-30T12:00:00Z");
        for (const [notAfter, before, day] of [
            // The last `up` of an older version, and none.
            [undefined, undefined, ""],
            ["", "", ""],
            ["2027-01-29T12:00:00.000Z", "", ""],
            ["2027-01-29T11:59:59.000Z", "", "2026-11-30"],
            ["2027-01-29T11:59:59.000Z", "2026-11-29", "2026-11-30"],
            ["2026-01-01T00:00:00.000Z", "2026-11-30", "2026-11-30"],
            ["2027-11-30T00:00:00.000Z", "2026-10-01", "2026-10-01"],
            ["2027-11-30T00:00:00.000Z", "x'; id #", ""],
            ["no date", "2026-10-01", "2026-10-01"],
        ] as const)
            assert.equal(readAgain({ notAfter, readAgain: before }, now), day, `${notAfter} ${before}`);
        assert.deepEqual(readOf({ kubeconfigNotAfter: "a", kubeconfigReadAgain: "b", kubeconfig: "secret" }), {
            notAfter: "a",
            readAgain: "b",
        });
        assert.deepEqual(readOf({ kubeconfigNotAfter: 1 }), { notAfter: undefined, readAgain: undefined });
        assert.deepEqual(readOf(undefined), { notAfter: undefined, readAgain: undefined });
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
    /** `links` are those that are up, `file` what the flannel-conf of the user's names, `state` that of the unit. */
    const stubs = (links: string, state = "active"): string =>
        `FLANNEL_CONF=$STATE/net-conf.json
systemctl() { case $1/\${3-} in is-enabled/) echo enabled ;; show/ActiveState) echo ${state} ;; *) date -d '-1 hour' ;; esac; }
ip() { [ "$*" = "-o link show dev $5 up" ] || echo "ip $*" >&2; case " ${links} " in *" $5 "*) echo "$5: <UP>" ;; *) return 1 ;; esac; }
`;
    const conf = (type: string, more = ""): string =>
        `{\n  "Network": "10.42.0.0/16",\n  "Backend": { "Type": "${type}"${more} }\n}\n`;
    for (const [what, type, links, written, missing] of [
        ["is up", "vxlan", "flannel.1", "now", ""],
        ["is up, with IPv6 only", "vxlan", "flannel-v6.1", "now", ""],
        ["is gone or down", "vxlan", "", "now", "flannel.1\n"],
        ["is gone, with WireGuard", "wireguard", "flannel.1", "now", "flannel-wg\n"],
        ["is not needed", "host-gw", "", "now", ""],
        ["was of another time, before the last start", "vxlan", "", "2001-01-01", ""],
    ] as const)
        it(`${what}: ${type}: ${missing.trim() || "nothing"} is missing`, async () => {
            const { text } = await shell(
                `${stubs(links)}touch -d ${written} $FLANNEL_CONF; missing_flannel k3s.service`,
                { "net-conf.json": conf(type) },
            );
            assert.equal(text, missing);
        });

    it("is that of the user's own flannel-conf, whatever its age and number", async () => {
        const { text } = await shell(
            `${stubs("flannel.1")}echo '"flannel-conf": "'"$STATE/own.json"'"' >$CONF/config.yaml; touch -d 2001-01-01 $STATE/own.json
missing_flannel k3s.service; rm $STATE/own.json; missing_flannel k3s.service`,
            { "net-conf.json": conf("vxlan"), "own.json": conf("vxlan", ', "VNI": 4096') },
        );
        assert.equal(text, "flannel.4096\n");
    });

    it("of a k3s that is still starting is missing for its own step only", async () => {
        const { text } = await shell(
            `${stubs("", "activating")}touch $FLANNEL_CONF
missing_flannel k3s.service; flannel_up || echo "waits"; missing_flannel k3s.service activating`,
            { "net-conf.json": conf("vxlan") },
        );
        assert.equal(text, "waits\nflannel.1\n");
    });

    it("is waited for at the end of a step, in vain with a diagnosis", async () => {
        const { text } = await shell(
            `${stubs("")}touch $FLANNEL_CONF; setting() { :; }; node_ready() { :; }; crash_loop() { return 1; }; diagnose() { echo "diagnosis: $1"; exit 1; }
wait_seconds=0 start_time=$(now) deadline=$(now); (wait_for_node) || true
missing_flannel() { :; }; wait_for_node`,
            { "net-conf.json": conf("vxlan") },
        );
        assert.match(
            text,
            /Node Ready .*\ndiagnosis: no success within 0 s while waiting for: the pod network's interface up\n.*Node Ready [^\n]*\n$/,
        );
    });

    it("that is gone restarts k3s at the next run of its step", async () => {
        const { text } = await shell(
            "setting() { :; }; start_digest() { echo now; }; missing_flannel() { echo flannel.1; }; note_missed_restart; echo $RESTART",
            { started: "now\n" },
        );
        assert.match(text, /restarts for: the pod network's interface flannel\.1 is missing or down\n1\n$/);
    });

    it("that is gone is drift of step server or agent, on both kinds of node", async () => {
        const drift = stepShell("drift.sh");
        for (const [unit, links, found] of [
            ["k3s.service", "", "server: the pod network's interface flannel.1 is missing or down\n"],
            ["k3s-agent.service", "", "server: the pod network's interface flannel.1 is missing or down\n"],
            ["k3s-agent.service", "flannel.1", ""],
        ] as const) {
            const { text } = await drift(
                `${stubs(links)}touch $FLANNEL_CONF; APPLIED=$STATE/applied; differences server`,
                { "net-conf.json": conf("vxlan"), "applied/server": `unit ${unit}\n` },
            );
            assert.equal(text, found);
        }
    });
});
