/** The npm package: packed, installed in a project of somebody else's, compiled there, run under mocks. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(__dirname, "../..");

const PROGRAM = `import * as random from "@pulumi/random";
import { K3sCluster } from "k3s-ha";

const hosts = ["server-1", "server-2", "server-3"].map((name) => ({ name, made: new random.RandomId(name, { byteLength: 4 }) }));
const cluster = new K3sCluster("prod", {
    version: "v1.36.3+k3s1",
    ssh: { insecureIgnoreHostKey: true },
    nodes: hosts.map(({ name, made }, i) => ({ name, role: "server", address: made.hex.apply((hex) => \`10.8.0.\${i + 1}\${hex.slice(0, 0)}\`) })),
});
export const kubeconfig = cluster.kubeconfig;
`;

/** As package/README.md says it for mocks. */
const RUN = `const pulumi = require("@pulumi/pulumi");
const read = "ca-hash: " + "0".repeat(64) + "\\nclusters: [{ cluster: { certificate-authority-data: Q0E= } }]\\nusers: [{ user: { client-certificate-data: Q0E=, client-key-data: Q0E= } }]\\n";
const made = [];
pulumi.runtime.setMocks({
    newResource: ({ name, inputs }) => {
        made.push([name, inputs]);
        return { id: name, state: { ...inputs, hex: "0011223344556677", result: "made", stdout: name === "prod-kubeconfig" ? read : "etcd-data: none" } };
    },
    call: (args) => args.inputs,
}, "theirs", "dev", false).then(async () => {
    require("./out/index.js");
    for (let quiet = 0, before = -1; quiet < 20; quiet = made.length > 12 && made.length === before ? quiet + 1 : 0) {
        before = made.length;
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
    const haproxy = made.find(([name]) => name === "prod-server-2-haproxy")[1].stdin;
    console.log(JSON.stringify({ names: made.map(([name]) => name), haproxy }));
    process.exit(0);
});
`;

describe("npm package", function () {
    this.timeout(180_000);
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-package-"));
    after(() => rmSync(folder, { recursive: true, force: true }));
    const node = (...args: string[]): string =>
        execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

    it("has a program of ten lines make a cluster of hosts that another resource made", () => {
        execFileSync(process.execPath, ["package/build.mjs"], { cwd: ROOT, stdio: "inherit" });
        const tarball = execFileSync("npm", ["pack", "--silent", join(ROOT, ".package")], {
            cwd: folder,
            encoding: "utf8",
        });
        const modules = join(folder, "node_modules");
        mkdirSync(join(modules, "k3s-ha"), { recursive: true });
        execFileSync("tar", ["-xzf", tarball.trim(), "-C", join(modules, "k3s-ha"), "--strip-components=1"], {
            cwd: folder,
        });
        // Its dependencies from here: the registry is not what is tested.
        const { dependencies, peerDependencies } = JSON.parse(
            readFileSync(join(modules, "k3s-ha/package.json"), "utf8"),
        ) as Record<string, Record<string, string>>;
        mkdirSync(join(modules, "@pulumi"));
        mkdirSync(join(modules, "@types"));
        for (const name of [...Object.keys({ ...dependencies, ...peerDependencies }), "@types/node"])
            symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
        assert.deepEqual(
            readdirSync(join(modules, "k3s-ha/components/scripts")),
            readdirSync(join(ROOT, "components/scripts")),
        );

        writeFileSync(join(folder, "index.ts"), PROGRAM);
        const options = { strict: true, target: "ES2022", module: "node16", outDir: "out", types: ["node"] };
        const compilerOptions = { ...options, skipLibCheck: true };
        writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["index.ts"] }));
        node(join(ROOT, "node_modules/typescript/bin/tsc"));

        writeFileSync(join(folder, "run.cjs"), RUN);
        const { names, haproxy } = JSON.parse(node("run.cjs")) as {
            names: string[];
            haproxy: string;
        };
        for (const name of ["prod-server-1-kit", "prod-server-3-server", "prod-kubeconfig"])
            assert.ok(names.includes(name), name);
        assert.match(haproxy, /server server-2 10\.8\.0\.2:6443/);
    });
});
