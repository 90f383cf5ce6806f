/** The lab's Pulumi engine without a lab: its programs and state are in one folder, and no host is there. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

export const ROOT = join(__dirname, "../..");

/** Puts the lab's pulumi and plugins, or LAB_PULUMI's, into a folder. What is built already takes a second. */
export function stageEngine(folder: string): void {
    const line = '. "$LAB_ROOT/lab/hosts/settings.sh"; . "$LAB_ROOT/lab/hosts/setup.sh"; pulumi_stage';
    const env = { ...process.env, LAB_ROOT: ROOT, LAB_DIR: folder };
    const run = spawnSync("bash", ["-euc", line], { env, stdio: ["ignore", "inherit", "inherit"] });
    if (run.status !== 0) throw new Error("there is no pulumi (see above)");
}

/** Environment in which `pulumi` is the one of this folder, with its state there too. */
export const engineEnvironment = (folder: string): NodeJS.ProcessEnv => ({
    ...process.env,
    PATH: `${join(folder, "pulumi/bin")}:${process.env["PATH"]}`,
    PULUMI_BACKEND_URL: `file://${folder}`,
    // That of every lab (lab/lab env): a state that one left names it, and is read with no other.
    PULUMI_CONFIG_PASSPHRASE: "k3s-ha-lab",
    PULUMI_HOME: join(folder, "pulumi-home"),
    PULUMI_SKIP_UPDATE_CHECK: "true",
});
