// RESOURCES of them, one in four a component, as in a stack of k3s-ha. The others are empty; with SSH_PORT they are commands on that
// host that do nothing.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as pulumi from "@pulumi/pulumi";

const { RESOURCES, SSH_PORT, SSH_KEY_FILE } = process.env;
const part = (name) => new pulumi.ComponentResource("bench:index:Part", name);
let make = (i, opts) => new pulumi.Stash(`stash-${i}`, { input: `value-${i}` }, opts);
if (SSH_PORT) {
    // Only here: the empty program must not spend time on loading it.
    const { remote } = createRequire(import.meta.url)("@pulumi/command");
    const privateKey = SSH_KEY_FILE ? readFileSync(SSH_KEY_FILE, "utf8") : undefined;
    const connection = { host: "127.0.0.1", port: Number(SSH_PORT), privateKey };
    make = (i, opts) => new remote.Command(`command-${i}`, { connection, create: "true" }, opts);
}
let parent;
for (let i = 0; i < Number(RESOURCES); i++) {
    if (i % 4 === 0) parent = part(`part-${i}`);
    else make(i, { parent });
}
