// Makes the npm package of components/ in .package: `npm run package`, then `npm pack ./.package` or `npm publish ./.package`.
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = join(root, ".package");
const { version, license, description, engines, dependencies } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
);

rmSync(out, { recursive: true, force: true });
const tsc = spawnSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "-p", "package/tsconfig.json"],
    {
        cwd: root,
        stdio: "inherit",
    },
);
if (tsc.status !== 0) process.exit(1);
// What runs on the nodes.
for (const folder of ["scripts", "remote"])
    cpSync(join(root, "components", folder), join(out, "components", folder), {
        recursive: true,
        filter: (path) => !path.endsWith(".ts"),
    });
for (const file of ["LICENSE", "CHANGELOG.md", "docs/settings.md"]) cpSync(join(root, file), join(out, file));
writeFileSync(
    join(out, "README.md"),
    readFileSync(join(root, "package/README.md"), "utf8").replaceAll("](../docs/", "](docs/"),
);

const entry = "./components/k3s-cluster";
const of = (...names) => Object.fromEntries(names.map((name) => [name, dependencies[name]]));
const manifest = {
    name: "k3s-ha",
    version,
    description,
    license,
    engines,
    main: `${entry}.js`,
    types: `${entry}.d.ts`,
    exports: { ".": { types: `${entry}.d.ts`, default: `${entry}.js` }, "./package.json": "./package.json" },
    // One copy in a program: the engine's connection is in it. Hooks and Stash are as old as this release.
    peerDependencies: { "@pulumi/pulumi": `^${dependencies["@pulumi/pulumi"]}` },
    dependencies: of("@pulumi/command", "@pulumi/kubernetes", "@pulumi/random", "yaml", "zod"),
};
writeFileSync(join(out, "package.json"), `${JSON.stringify(manifest, null, 4)}\n`);
