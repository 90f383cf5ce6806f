/** etcd snapshots and their bucket. */
import type { Report } from "../problems";
import type { StackSettings, WrittenSettings } from "../../settings";
import { entry } from "../../values";

/** Settings of k3s that have a place of their own, in one place only. */
export function checkSnapshots(settings: StackSettings, written: WrittenSettings, report: Report): void {
    const { snapshots } = settings;
    if (settings.server.datastore === "sqlite" && Object.keys(written.snapshots ?? {}).length > 0)
        report(["snapshots"], written.snapshots, "are of etcd, and server.datastore is sqlite");
    const typed: Readonly<Record<string, unknown>> = {
        "etcd-snapshot-schedule-cron": snapshots.schedule,
        "etcd-snapshot-retention": snapshots.retention,
        "etcd-snapshot-compress": snapshots.compress,
    };
    for (const key of Object.keys(settings.server.config)) {
        if (entry(typed, key) !== undefined || (snapshots.s3 !== undefined && key.startsWith("etcd-s3")))
            report(
                ["server", "config", key],
                settings.server.config[key],
                "is set by k3s-ha:snapshots; keep one of them",
            );
    }
    if (snapshots.s3?.insecure === true && snapshots.s3.endpointCa !== undefined)
        report(
            ["snapshots", "s3", "endpointCa"],
            undefined,
            "is of no use with snapshots.s3.insecure: over plain HTTP there is no certificate; leave one of them out",
        );
    const keys = [settings.s3AccessKey, settings.s3SecretKey].filter((k) => k !== undefined).length;
    if (keys === 1)
        report(
            [settings.s3AccessKey === undefined ? "s3AccessKey" : "s3SecretKey"],
            undefined,
            "is missing, and the other one is set; give both, or none where the hosts have a role of their own",
        );
    if (keys > 0 && snapshots.s3 === undefined) report(["s3AccessKey"], undefined, "is of no use without snapshots.s3");
    if (snapshots.restore !== undefined && settings.token === undefined)
        report(
            ["token"],
            undefined,
            "is missing: a snapshot can be read only with the server token of the cluster that it was taken of; pulumi config set --secret k3s-ha:token",
        );
}
