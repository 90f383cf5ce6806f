/** The policy pack: the rules, with the stack that the engine is working on. `index.cjs` loads it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PolicyPack, type Policies, type PolicyResource } from "@pulumi/policy";
import { RULES, commandViolations, type Command, type ServersConfig, type Stack } from "./rules";
import { readStack } from "./stack";

/** The stack's name, which every URN has: urn:pulumi:STACK::PROJECT::… */
const stackName = (resources: readonly PolicyResource[]): string =>
    (resources[0]?.urn ?? "").split("::")[0]?.split(":")[2] ?? "";

/** The stack that these resources are of; a text says why its settings cannot be read. */
function stackOf(resources: readonly PolicyResource[]): Stack | string {
    const name = stackName(resources);
    // Next to Pulumi.yaml, unless `pulumi --config-file` is used.
    const file = process.env["K3S_HA_STACK_FILE"] ?? join(__dirname, "..", `Pulumi.${name}.yaml`);
    try {
        return readStack(name, readFileSync(file, "utf8"));
    } catch (error) {
        return `this rule was not checked: ${(error as Error).message}. With pulumi --config-file, set the environment variable K3S_HA_STACK_FILE to that file's absolute path`;
    }
}

const ofStack: Policies = RULES.map(({ name, description, violations }) => ({
    name,
    description,
    enforcementLevel: "advisory" as const,
    ...(name === "servers"
        ? { configSchema: { properties: { stacks: { type: "array" as const, items: { type: "string" as const } } } } }
        : {}),
    validateStack: (args, report) => {
        // Nothing is left when a stack is destroyed.
        if (args.resources.length === 0) return;
        const stack = stackOf(args.resources);
        const found = typeof stack === "string" ? [stack] : violations(stack, args.getConfig<ServersConfig>());
        for (const text of found) report(text);
    },
}));

new PolicyPack("k3s-ha", {
    policies: [
        ...ofStack,
        {
            name: "commands",
            description: "Remote commands log in with a pinned host key, and have nothing in their environment.",
            enforcementLevel: "advisory",
            validateResource: (args, report) => {
                if (args.type === "command:remote:Command")
                    for (const text of commandViolations(args.props as Command)) report(text);
            },
        },
    ],
});
