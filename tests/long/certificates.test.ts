/** Certificates near their end: docs/operations.md, "Certificates". */
import assert from "node:assert/strict";
import {
    HOSTS,
    MASTERS,
    eventually,
    mainCluster,
    mainStack,
    on,
    underLoad,
    urnOf,
    whole,
    type Config,
} from "../cluster/support";

/** k3s's own variable for the life of what it signs; the stand-in knows it too. */
const SHORT = "CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS=30";
const KUBECONFIG = "dev-kubeconfig";
const [first] = MASTERS;
/** The first server's certificates are made anew, with this life. */
const shorten = (): void =>
    void on(first, `echo ${SHORT} >/etc/default/k3s; systemctl stop k3s; k3s certificate rotate; systemctl start k3s`, {
        timeout: 300,
    });

/** Days until the output's end. */
const daysLeft = (): number => (Date.parse(mainStack().output("kubeconfigNotAfter").trim()) - Date.now()) / 86_400_000;
const today = (): string => new Date().toISOString().slice(0, 10);

describe("certificates: of the last 60 days, renewed by rotate.certificates", function () {
    this.timeout(900_000);
    before(mainCluster);
    after(() => void on(first, "rm -f /etc/default/k3s"));

    it("a certificate of 30 days: a warning that names the way out", async () => {
        shorten();
        await whole(180);
        assert.ok(daysLeft() > 300);
        const up = mainStack().pulumi(["up", "--yes", "--skip-preview", "--replace", urnOf(KUBECONFIG)]);
        assert.match(
            up.stdout + up.stderr,
            /certificate in the kubeconfig ends at .*raise k3s-ha:rotate\.certificates/,
        );
        assert.ok(daysLeft() > 29 && daysLeft() <= 30, String(daysLeft()));
        assert.equal(mainStack().output("kubeconfigReadAgain").trim(), "");
    });

    it("the next up reads the kubeconfig again, and says that the host has no newer one; once a day", () => {
        const preview = mainStack().preview(mainStack().file).stdout;
        assert.match(preview, new RegExp(`the certificate ends soon, read again on ${today()}`));
        assert.match(preview, /~ 1 to update|dev-kubeconfig/);
        const up = mainStack().up();
        assert.match(up.stdout + up.stderr, new RegExp(`${first}, which was asked again today, has no newer one`));
        assert.equal(mainStack().output("kubeconfigReadAgain").trim(), today());
        const second = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        assert.match(second.stdout + second.stderr, /raise k3s-ha:rotate\.certificates/);
    });

    it("rotate.certificates renews them node by node, the kubeconfig is read, and a second up is empty", async () => {
        on(first, "rm /etc/default/k3s");
        let text = "";
        await underLoad("certificates renewed", () => {
            const { stdout, stderr } = mainStack().upWith((config: Config) => {
                const rotate = (config["k3s-ha:rotate"] ?? {}) as { certificates?: number };
                config["k3s-ha:rotate"] = { ...rotate, certificates: (rotate.certificates ?? 0) + 1 };
            });
            text = stdout + stderr;
        });
        await whole();
        for (const host of HOSTS) assert.match(text, new RegExp(`${host}: certificates renewed`));
        assert.doesNotMatch(text, /certificate in the kubeconfig ends/);
        assert.ok(daysLeft() > 360, String(daysLeft()));
        const second = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        assert.doesNotMatch(second.stdout + second.stderr, /certificate in the kubeconfig ends/);
        const served = `openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -checkend 25920000`;
        await eventually("the first server serves a new certificate", 20, () => void on(first, served));
    });

    it("a certificate that k3s renewed by itself is found by the next up, without a word", async () => {
        shorten();
        await whole(180);
        mainStack().pulumi(["up", "--yes", "--skip-preview", "--replace", urnOf(KUBECONFIG)]);
        // A restart in the last 120 days renews.
        on(first, "rm /etc/default/k3s; systemctl restart k3s", { timeout: 300 });
        await whole(180);
        mainStack().up();
        assert.ok(daysLeft() > 360, String(daysLeft()));
        const second = mainStack().pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
        assert.doesNotMatch(second.stdout + second.stderr, /certificate in the kubeconfig ends/);
    });
});
