// RESOURCES of them, one in four a component, as in a stack of k3s-ha.
import * as pulumi from "@pulumi/pulumi";

const count = Number(process.env.RESOURCES);
let parent;
for (let i = 0; i < count; i++) {
    if (i % 4 === 0) parent = new pulumi.ComponentResource("bench:index:Part", `part-${i}`);
    else new pulumi.Stash(`stash-${i}`, { input: `value-${i}` }, { parent });
}
