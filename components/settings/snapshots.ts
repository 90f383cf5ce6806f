/** Settings of etcd snapshots; what has no default here has k3s's own. */
import { z } from "zod";
import { bool, certificates, count, matching, refined, word } from "../values/forms";

const s3 = z.strictObject({
    bucket: word.describe("a bucket that exists"),
    endpoint: matching(/^[A-Za-z0-9.-]+(:[0-9]+)?$/, "host or host:port, without a scheme")
        .optional()
        .meta({ description: "host or host:port", otherwise: "Amazon's" }),
    region: word.optional().meta({ description: "region of the bucket", otherwise: "`us-east-1`" }),
    folder: word.optional().describe("folder in the bucket: one for each cluster that shares it"),
    endpointCa: certificates
        .optional()
        .meta({ description: "CAs of the endpoint in PEM form", otherwise: "the host's own CAs" }),
    lookup: z
        .enum(["auto", "path", "dns"], { error: "must be auto, path or dns" })
        .optional()
        .meta({ description: "`path`, or `dns`: the bucket's name before the endpoint's", otherwise: "`auto`" }),
    insecure: bool.optional().meta({ description: "plain HTTP; every run warns", otherwise: "false" }),
    retention: count.optional().meta({
        description: "snapshots in the bucket, those of all servers together",
        otherwise: "`snapshots.retention`, 5",
    }),
});

export const snapshots = z
    .strictObject({
        schedule: matching(
            /^(@(hourly|daily|weekly|monthly|every [0-9]+[smh])|[0-9*/,-]+( [0-9A-Za-z*/,-]+){4})$/,
            'a cron schedule of five fields such as "0 */6 * * *"',
        )
            .optional()
            .meta({ description: "a cron schedule of five fields", otherwise: "k3s's: 00:00 and 12:00" }),
        retention: z
            .int("must be a whole number")
            .min(1, "must be 1 or more")
            .max(1000, "must be at most 1000")
            .optional()
            .meta({ description: "snapshots that each server keeps", otherwise: "k3s's: 5" }),
        compress: bool.optional().meta({ description: "snapshots are compressed", otherwise: "false" }),
        beforeUpgrade: bool.default(true).describe("a snapshot before each change of `version`"),
        now: matching(
            /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
            "a name of lower-case letters, digits, . and -, at most 63",
        )
            .optional()
            .describe("a name: one snapshot now; another name takes another one"),
        restore: refined(
            (t) => /^(\/[A-Za-z0-9._/+@-]+|[A-Za-z0-9][A-Za-z0-9._-]*)$/.test(t) && !t.split("/").includes(".."),
            "the absolute path of a snapshot on the first server, or its name in the S3 bucket",
        )
            .optional()
            .describe("path or name of a snapshot that a [new cluster](runbooks/restore-snapshot.md) is founded from"),
        s3: s3.optional().describe("a bucket for the snapshots"),
    })
    .prefault({})
    .describe("etcd snapshots");
