/** Pulumi's parts are pinned in several files, each in its own language: they agree, or this says which to raise. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

const read = (file: string): string => readFileSync(join(__dirname, "../..", file), "utf8");

describe("versions", () => {
    const wanted = (JSON.parse(read("package.json")) as { dependencies: Record<string, string> }).dependencies;
    const sdk = wanted["@pulumi/pulumi"];

    it("the lock file has what package.json pins", () => {
        const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, { version: string }> };
        for (const name of ["pulumi", "command", "kubernetes", "random"])
            assert.equal(
                packages[`node_modules/@pulumi/${name}`]?.version,
                wanted[`@pulumi/${name}`],
                `package-lock.json has another @pulumi/${name}: run npm install`,
            );
    });

    it("the lab's engine and Go SDK are those of @pulumi/pulumi", () => {
        for (const module of ["pkg/v3", "sdk/v3"])
            assert.equal(
                new RegExp(`github.com/pulumi/pulumi/${module} v(\\S+)`).exec(read("lab/pulumi/engine/go.mod"))?.[1],
                sdk,
                `raise github.com/pulumi/pulumi/${module} in lab/pulumi/engine/go.mod to v${sdk} (go get, go mod tidy)`,
            );
    });

    it("users need an engine that is no older than the SDK", () => {
        const { requiredPulumiVersion } = parse(read("Pulumi.yaml")) as { requiredPulumiVersion: string };
        assert.equal(requiredPulumiVersion, `>=${sdk}`, "raise requiredPulumiVersion in Pulumi.yaml");
        assert.ok(
            read("README.md").includes(`${(sdk ?? "").split(".").slice(0, 2).join(".")} or newer`),
            `README.md names another Pulumi CLI than ${sdk}`,
        );
    });
});
