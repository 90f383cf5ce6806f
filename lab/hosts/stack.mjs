// Reads a stack file for the lab: `hosts` prints "name role address" lines, `derive` the file for another lab.
// usage: node stack.mjs hosts FILE NET [COUNT] | node stack.mjs derive FILE NET LAB_DIR
import { readFileSync } from "node:fs";
import { parse } from "yaml";

const [command, file, net, argument] = process.argv.slice(2);
const fail = (text) => {
    console.error(`lab: ${text}`);
    process.exit(1);
};
let text;
try {
    text = readFileSync(file, "utf8");
} catch (error) {
    fail(`stack file ${file}: ${error.message}`);
}
// The lab's addresses and folder are settings; stack files are written for the default ones.
const derived = text.replace(/\b10\.90\.0\./g, `${net}.`);

if (command === "derive") {
    process.stdout.write(derived.replace(/(?<![\w/.])(\.\/)?\.lab\//g, `${argument}/`));
} else if (command === "hosts") {
    const nodes = parse(derived)?.config?.["k3s-ha:nodes"];
    if (!Array.isArray(nodes) || nodes.length === 0) fail(`stack file ${file}: no config."k3s-ha:nodes" list`);
    const hosts = nodes.map(({ name, role, address }) => ({ name, role, address }));
    if (argument) {
        const count = Number(argument);
        if (!Number.isInteger(count) || count < hosts.length || count > 200)
            fail(`LAB_HOSTS=${argument}: a number from ${hosts.length} (the hosts of ${file}) to 200`);
        for (let i = 1; hosts.length < count; i++) {
            const [name, address] = [`agent-${i}`, `${net}.${20 + i}`];
            if (hosts.some((host) => host.name === name || host.address === address)) continue;
            hosts.push({ name, role: "agent", address });
        }
    }
    for (const { name, role, address } of hosts) {
        // Also EL's kind, node1.example.com: the name is the machine's, its host name and part of file names. A machine's has 64 at most.
        const label = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
        if (!new RegExp(`^${label}(?:\\.${label})*$`).test(name) || name.length > 42)
            fail(`host name ${name}: not possible in the lab`);
        if (!String(address).startsWith(`${net}.`)) fail(`${name}: address ${address} is not in the lab's ${net}.0/24`);
        console.log(`${name} ${role} ${address}`);
    }
} else {
    fail(`stack.mjs: unknown command ${command}`);
}
