/** The packages this stand-in knows. */
import { notSupported } from "../errors";
import { builtinPackage } from "./builtin";
import { commandPackage } from "./command";
import { kubernetesPackage } from "./kubernetes";
import type { PackageDefinition } from "./provider";
import { randomPackage } from "./random";

/** `root`: the project's folder, where local commands run and assets are looked for. */
export function definePackage(name: string, root: string): PackageDefinition {
    switch (name) {
        case "command":
            return commandPackage(root);
        case "random":
            return randomPackage();
        case "kubernetes":
            return kubernetesPackage();
        case "pulumi":
            return builtinPackage();
        default:
            throw notSupported(`package ${JSON.stringify(name)}`);
    }
}
