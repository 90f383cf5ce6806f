/**
 * Whatever the stack's own settings accept, haproxy accepts too: the hostile values of tests/unit/helpers/hostile.ts that a plan was made of, through
 * the real `haproxy -c`. Not below proxy.haproxy, whose texts are haproxy's language: a host refuses those (tests/cluster/10-config.test.ts).
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { haproxyBundle } from "../../components/steps/haproxy";
import { readStack } from "../../components/config/stack";
import { SECRET_SETTINGS, configPath } from "../../components/config/problems";
import { BASE, OTHERS, TEXTS, configOf, places, withValue } from "../unit/helpers/hostile";
import { binaries, certificate } from "./haproxy/harness";

const secretKeys = [...SECRET_SETTINGS].map((key) => `k3s-ha:${key}`);

describe("accepted input", function () {
    this.timeout(180_000);
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-accepted-"));
    after(() => rmSync(folder, { recursive: true, force: true }));

    it("makes a haproxy.cfg that haproxy takes", () => {
        writeFileSync(join(folder, "a"), "");
        certificate(folder, "ca");
        pulumi.runtime.setMocks(
            { newResource: (a) => ({ id: a.name, state: a.inputs }), call: (a) => a.inputs },
            "k3s-ha",
            "dev",
            false,
        );
        process.env["PULUMI_CONFIG"] = "";
        process.env["PULUMI_CONFIG_SECRET_KEYS"] = JSON.stringify(secretKeys);
        /** haproxy.cfg → the setting that made it. */
        const files = new Map<string, string>();
        const plan = (settings: Record<string, unknown>, what: string): void => {
            pulumi.runtime.setAllConfig(configOf(settings), secretKeys);
            let spec;
            try {
                ({ spec } = readStack(folder));
            } catch (error) {
                if (pulumi.RunError.isInstance(error)) return;
                throw error;
            }
            for (const node of spec.nodes)
                for (const { path, content } of haproxyBundle(spec, node).files)
                    if (path.endsWith("/haproxy.cfg")) files.set(content, files.get(content) ?? what);
        };
        places(BASE)
            .filter(({ path }) => path[1] !== "haproxy")
            .forEach((place, n) => {
                plan(place.settings, `${configPath(place.path)}, well-formed`);
                // A quarter of the values for each place, by turns.
                [...TEXTS, ...OTHERS]
                    .filter((_, i) => i % 4 === n % 4)
                    .forEach((value) =>
                        plan(
                            withValue(place.settings, place.path, value) as Record<string, unknown>,
                            `${configPath(place.path)} = ${JSON.stringify(value)}`,
                        ),
                    );
            });
        const [haproxy] = binaries();
        const refused: string[] = [];
        for (const [text, what] of files) {
            const file = join(folder, "haproxy.cfg");
            writeFileSync(
                file,
                text
                    .replace(/\/etc\/haproxy\/[a-z0-9-]+-server-ca\.crt/g, join(folder, "ca.crt"))
                    // As haproxy.sh fills them in on the host.
                    .replace(/@@[a-z-]+-hash@@/g, "$5$salt$hash")
                    .replace(/@@[a-z-]+@@/g, "secret"),
            );
            const run = spawnSync(haproxy!.path, ["-c", "-f", file], { encoding: "utf8" });
            if (run.status !== 0) refused.push(`${what}: ${run.stderr}${run.stdout}`);
        }
        console.log(`      ${files.size} different files`);
        assert.deepEqual(refused, []);
        assert.ok(files.size >= 30, `${files.size} files`);
    });
});
