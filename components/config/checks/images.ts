/** images: archives that the hosts get; by their names in k3s's folder. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import { repeated } from "./repeated";

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
    const fileName = ({ from }: { readonly from: string }): string => from.slice(from.lastIndexOf("/") + 1);
    repeated(images.files, fileName, (file, i, before) =>
        report(
            ["images", "files", i, "from"],
            file.from,
            `has the same file name (${fileName(file)}) as images.files[${before}]`,
        ),
    );
    images.files.forEach((file, i) => {
        const { from } = file;
        const name = fileName(file);
        if (!/^[A-Za-z0-9][A-Za-z0-9._+@-]*$/.test(name))
            report(["images", "files", i, "from"], from, "must have a file name of letters, digits and . _ - + @");
    });
}
