/** images: archives that the hosts get; by their names in k3s's folder. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";

export function checkImages({ images }: StackSettings, report: Report): void {
    const pinned = Object.keys(images.sha256).length > 0;
    if (images.source === "file") {
        if (images.file === undefined) report(["images", "file"], undefined, "is missing, and source is file");
        if (!pinned)
            report(["images", "sha256"], undefined, "is missing, and source is file: a file on a host has no sum file");
    } else if (images.file !== undefined) {
        report(
            ["images", "file"],
            images.file,
            `is of no use together with source: ${images.source}; set source: file`,
        );
    }
    if (images.source === "none" && pinned)
        report(
            ["images", "sha256"],
            images.sha256,
            "is of no use together with source: none; set source: release or file",
        );
    const first = new Map<string, number>();
    images.files.forEach(({ from }, i) => {
        const name = from.slice(from.lastIndexOf("/") + 1);
        const before = first.get(name);
        if (before !== undefined)
            report(["images", "files", i, "from"], from, `has the same file name (${name}) as images.files[${before}]`);
        else first.set(name, i);
        if (!/^[A-Za-z0-9][A-Za-z0-9._+@-]*$/.test(name))
            report(["images", "files", i, "from"], from, "must have a file name of letters, digits and . _ - + @");
    });
}
