/** The node scripts side by side, as a node has them. */
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const components = join(__dirname, "../../components");
let made: string | undefined;

/** A folder with links to all of them; it goes when the tests have ended. */
export function kitFolder(): string {
    if (made !== undefined) return made;
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-kit-"));
    for (const part of readdirSync(components, { withFileTypes: true }).filter((entry) => entry.isDirectory()))
        for (const name of readdirSync(join(components, part.name)).filter((file) => file.endsWith(".sh")))
            symlinkSync(join(components, part.name, name), join(folder, name));
    process.on("exit", () => rmSync(folder, { recursive: true }));
    return (made = folder);
}
