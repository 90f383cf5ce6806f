/** Settings of what hosts get besides k3s and haproxy, and how long their steps wait. */
import { z } from "zod";
import { bool, duration, hostFile, line, matching, refined, text } from "../values/forms";

const file = z.strictObject({
    path: hostFile.describe("absolute path on the host"),
    mode: matching(/^0[0-7]{3}$/, 'four octal digits in quotes, such as "0644"')
        .default("0644")
        .describe('mode of the file, in quotes: "0644"'),
    content: text.describe("text of the file"),
});

const sysctlValue = z.union(
    [
        z.number().refine((n) => !/e/.test(String(n)), "must be a number or one line of printable ASCII"),
        line.regex(/^[ -~]+$/),
    ],
    { error: "must be a number or one line of printable ASCII" },
);

const moduleName = matching(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, "the name of a kernel module such as br_netfilter");

/** Kinds of units that can be enabled and started without another effect: no target, no device. */
const UNIT = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}(@[A-Za-z0-9_.:\\-]{1,64})?$/;
const OTHER_KIND = /\.(target|device|swap|slice|scope|automount|mount)$/;
const unitName = refined(
    (t) => UNIT.test(t) && !OTHER_KIND.test(t),
    "a service, socket, timer or path of systemd such as iscsid or iscsid.socket (a template with its instance: a@b)",
);

export const host = z
    .strictObject({
        packages: z
            // apt removes what ends in a minus.
            .array(matching(/^[a-z0-9]([a-z0-9+._-]{0,126}[a-z0-9+])?$/, "a package name"))
            .default([])
            .meta({ description: "packages that every host gets", otherwise: "none" }),
        services: z.array(unitName).default([]).meta({
            description:
                "systemd units that every host enables and starts: [host software](operations.md#host-software)",
            otherwise: "none",
        }),
        modules: z
            .array(moduleName)
            .default([])
            .meta({ description: "kernel modules that every host loads, before `sysctl`", otherwise: "none" }),
        sysctl: z
            .record(matching(/^[a-z0-9][a-z0-9._/-]{0,127}$/, "a sysctl key such as net.ipv4.ip_forward"), sysctlValue)
            .default({})
            .meta({ description: "kernel settings that every host gets", otherwise: "none" }),
        bpffs: bool.default(false).describe("the BPF file system is mounted at `/sys/fs/bpf` before k3s"),
        pruneImages: bool.default(false).describe("images that no container uses are removed once a day"),
        files: z.array(file).default([]).meta({ description: "files that every host gets", otherwise: "none" }),
    })
    .prefault({})
    .describe("what every host gets besides");

export const timeouts = z
    .strictObject({
        server: duration.default("5m").describe("how long a step of a server may wait"),
        agent: duration.default("5m").describe("how long a step of an agent may wait"),
        download: duration.default("10m").describe("how long a download may take"),
    })
    .prefault({})
    .describe("limits of the steps");
