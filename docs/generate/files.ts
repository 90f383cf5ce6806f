/** The files that follow from the settings. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format, resolveConfig } from "prettier";
import { sections } from "../../components/settings";
import { projectFile } from "./project-file";
import { settingsSchema } from "./schema";
import { settingsPage } from "./settings-page";
import { stackFileSchema } from "./stack-file";

/** Their texts by their paths below `root`, in the style of this repository. */
export async function generated(root: string): Promise<Record<string, string>> {
    const read = (path: string): string => readFileSync(join(root, path), "utf8");
    const settings = settingsSchema();
    const texts = {
        "docs/settings.md": settingsPage(read("docs/settings.md"), settings, sections),
        "docs/stack-file.schema.json": JSON.stringify(stackFileSchema(settings)),
        "Pulumi.yaml": projectFile(read("Pulumi.yaml"), settings),
    };
    const styled = Object.entries(texts).map(async ([path, text]) => {
        const filepath = join(root, path);
        return [path, await format(text, { ...(await resolveConfig(filepath)), filepath })] as const;
    });
    return Object.fromEntries(await Promise.all(styled));
}
