/** Whom the stack trusts: what is refused, and what the user is told of in every run. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";

/** The CA is what tells the cluster that is meant from another one. */
export function checkAdoption(settings: StackSettings, report: Report): void {
    if (settings.allow.includes("adopt") && settings.caHash === undefined) {
        report(
            ["caHash"],
            undefined,
            "is missing, and k3s-ha:allow: [adopt] takes over only the cluster that it names: sed 's/^K10//; s/::.*//' /var/lib/rancher/k3s/server/token on a server",
        );
    }
}

export function warnAboutTrust(settings: StackSettings, warnings: string[]): void {
    if (settings.ssh.insecureIgnoreHostKey) {
        warnings.push(
            "k3s-ha:ssh.insecureIgnoreHostKey is true: no host's key is verified, and anyone who answers at an address receives the cluster's tokens.",
        );
    }
    if (settings.snapshots.s3?.insecure === true) {
        warnings.push(
            "k3s-ha:snapshots.s3.insecure is true: snapshots, with every secret of the cluster, go to the bucket over plain HTTP, where anybody on the path can read and replace them.",
        );
    }
    // k3s's own setting, which is refused together with snapshots.s3.
    for (const key of ["etcd-s3-insecure", "etcd-s3-skip-ssl-verify"])
        if (settings.server.config[key] === true)
            warnings.push(
                `k3s-ha:server.config.${key} is true: anyone who answers at the bucket's endpoint receives the snapshots.`,
            );
    if (!settings.proxy.check.verify || settings.proxy.preset === "ansible-role") {
        warnings.push(
            "The proxies do not verify the servers' certificates (check-ssl verify none): a health check can be answered by anybody on the path.",
        );
    }
    const { stats } = settings.proxy;
    if (settings.proxy.preset === "ansible-role" || stats.allowedNetworks?.some((n) => n.endsWith("/0")) === true) {
        warnings.push(
            "The metrics on the stats port are open to every network that reaches the hosts, without a password; guard the port with a firewall.",
        );
    }
    if (stats.admin === true) {
        warnings.push(
            "k3s-ha:proxy.stats.admin is true: any page opened in a browser on a host can post to the stats page (CSRF); the admin socket is the safer way.",
        );
    }
    const open =
        Object.values(settings.download.sha256).length === 0 ||
        (settings.images.source === "release" && Object.values(settings.images.sha256).length === 0);
    if (settings.download.baseUrl.startsWith("http:") && open) {
        warnings.push(
            "k3s-ha:download.baseUrl is plain http and no sum is pinned: the sum file can be changed together with the binary and the images. Pin k3s-ha:download.sha256, and k3s-ha:images.sha256 for images of the release.",
        );
    }
}
