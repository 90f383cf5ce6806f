/** Archives of images: about 40 s on a cluster that is there. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HOSTS, LAB_DIR, k3sUnit, mainCluster, mainStack, on, pidOf } from "../cluster/support";

const FOLDER = "/var/lib/rancher/k3s/agent/images";
const ARTIFACTS = join(LAB_DIR, "artifacts");
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const pids = (): string[] => HOSTS.map((host) => pidOf(host, k3sUnit(host)));

describe("images: archives that k3s imports", function () {
    this.timeout(300_000);
    before(mainCluster);

    it("the release's and an own one come to every host, verified; nothing restarts; those left out go, others stay", () => {
        const config = mainStack().config();
        const { baseUrl } = config["k3s-ha:download"] as { baseUrl: string };
        const release = join(ARTIFACTS, "k3s-io/k3s/releases/download", String(config["k3s-ha:version"]));
        const sums = join(release, "sha256sum-amd64.txt");
        const [former, archive] = [readFileSync(sums, "utf8"), join(release, "k3s-airgap-images-amd64.tar.zst")];
        const before = pids();
        try {
            writeFileSync(archive, "images of the release");
            appendFileSync(sums, `${sha256("images of the release")}  k3s-airgap-images-amd64.tar.zst\n`);
            mkdirSync(join(ARTIFACTS, "own"), { recursive: true });
            writeFileSync(join(ARTIFACTS, "own/app.tar.gz"), "own images");
            on("agent-1", `mkdir -p ${FOLDER} && echo x >${FOLDER}/by-hand.tar`);
            const url = new URL("/own/app.tar.gz", baseUrl).href;

            const failed = mainStack().pulumi(
                [
                    "up",
                    "--yes",
                    "--skip-preview",
                    "--config-file",
                    mainStack().changed(
                        (c) => void (c["k3s-ha:images"] = { files: [{ from: url, sha256: sha256("another") }] }),
                    ),
                ],
                { check: false },
            );
            assert.notEqual(failed.status, 0);
            assert.match(failed.stdout + failed.stderr, /step stage: \S+app\.tar\.gz has SHA-256 \S+ and not /);

            mainStack().upWith(
                (c) =>
                    void (c["k3s-ha:images"] = {
                        source: "release",
                        files: [{ from: url, sha256: sha256("own images") }],
                    }),
            );
            for (const host of HOSTS) {
                const seen = on(host, `cd ${FOLDER} && cat k3s-ha-release.tar.zst k3s-ha-file-app.tar.gz`).stdout;
                assert.equal(seen, "images of the releaseown images", host);
            }
            mainStack().upWith((c) => void delete c["k3s-ha:images"]);
            for (const host of HOSTS) on(host, `! ls -A ${FOLDER} 2>/dev/null | grep k3s-ha`);
            on("agent-1", `rm ${FOLDER}/by-hand.tar`);
        } finally {
            writeFileSync(sums, former);
            rmSync(archive, { force: true });
            rmSync(join(ARTIFACTS, "own"), { recursive: true, force: true });
        }
        assert.deepEqual(pids(), before, "k3s was restarted");
    });
});
