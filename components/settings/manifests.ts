/** Settings of what clusters get besides k3s: objects that k3s applies, and archives of images. */
import { z } from "zod";
import { hostFile, matching, sha256, text, url } from "../values/forms";

const manifest = z.strictObject({
    name: matching(
        /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,3}\.(yaml|yml|json)$/,
        "a file name of lower-case DNS labels that ends in .yaml, .yml or .json",
    ).describe("name of the file; what stands before its first dot is the name of k3s's Addon"),
    content: text.optional().describe("objects in YAML or JSON; required unless `state` is `absent`"),
    state: z
        .enum(["present", "absent"], { error: "must be present or absent" })
        .default("present")
        .describe("`present`, or `absent`: its objects are deleted"),
});

export const manifests = z.array(manifest).max(500, "must list at most 500 files").default([]).meta({
    description: "objects that k3s applies: [manifests](manifests.md)",
    otherwise: "none",
});

/** What containerd's archives are called, for k3s to import them. */
const ARCHIVE = /\.(tar|tar\.gz|tgz|tar\.zst|tzst|tar\.bz2|tbz|tar\.lz4)$/;
const ENDINGS = "must end in .tar, .tar.gz, .tgz, .tar.zst, .tzst, .tar.bz2, .tbz or .tar.lz4";

const archive = z.strictObject({
    from: z
        .union([url.regex(ARCHIVE), hostFile.regex(ARCHIVE)], {
            error: `must be an http:// or https:// URL or the absolute path of a file, and ${ENDINGS.slice(5)}`,
        })
        .describe("URL of the archive, or a file on every host"),
    sha256: sha256.describe("SHA-256 of the archive"),
});

const sum = (name: string) =>
    sha256
        .optional()
        .meta({ description: `SHA-256 of k3s's archive for ${name}`, otherwise: "the release's sum file" });

export const images = z
    .strictObject({
        source: z
            .enum(["none", "release", "file"], { error: "must be none, release or file" })
            .default("none")
            .describe("k3s's own images: `none`, `release` (next to the binary, by `download.baseUrl`), or `file`"),
        format: z
            .enum(["tar.zst", "tar.gz", "tar"], { error: "must be tar.zst, tar.gz or tar" })
            .default("tar.zst")
            .describe("ending of the release's archive"),
        file: hostFile
            .regex(ARCHIVE, ENDINGS)
            .optional()
            .describe("a file on every host, with `source: file` and a pinned sum"),
        sha256: z
            .strictObject({ amd64: sum("amd64"), arm64: sum("arm64"), arm: sum("arm") })
            .prefault({})
            .describe("pinned sums of k3s's archive"),
        files: z
            .array(archive)
            .max(100, "must list at most 100 archives")
            .default([])
            .meta({ description: "further archives that every host gets", otherwise: "none" }),
    })
    .prefault({})
    .describe("images that are on the hosts before k3s starts: [airgap](operations.md#mirror-and-airgap)");
