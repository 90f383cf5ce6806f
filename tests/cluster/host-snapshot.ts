/** What a host looks like from outside the program: files, units, ports, users, packages, sysctl. */
import { on } from "./support";

/** Folders whose content a running system changes by itself. */
const RESTLESS = [
    "/proc",
    "/sys",
    "/run",
    "/dev",
    "/tmp",
    "/var/tmp",
    "/var/log",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/systemd",
    "/var/lib/private",
    "/root/.cache",
    "/etc/machine-id",
    "/var/lib/dbus",
];

/** Files that package tools rewrite without a change of meaning. */
const REWRITTEN =
    /^\/var\/lib\/dpkg\/|^\/etc\/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^\/etc\/ld\.so\.cache$|\.dpkg-(old|new)$|^\/var\/lib\/(pam|ucf)\//;

export type Snapshot = Readonly<
    Record<"files" | "units" | "ports" | "users" | "packages" | "sysctl" | "links", readonly string[]>
>;

export function snapshot(host: string): Snapshot {
    const lines = (command: string): string[] => on(host, command).stdout.split("\n").filter(Boolean).sort();
    const prune = RESTLESS.map((p) => `-path ${p}`).join(" -o ");
    return {
        files: lines(
            `find / \\( ${prune} \\) -prune -o \\( -type f -printf '%p %m %u:%g ' -exec sha256sum {} \\; \\) -o \\( -type l -printf '%p -> %l\\n' \\) -o \\( -type d -printf '%p/ %m %u:%g\\n' \\) | sed 's/  .*//'`,
        ).filter((l) => !REWRITTEN.test(l.split(" ")[0] ?? "")),
        units: lines("systemctl list-unit-files --no-legend --plain | awk '{ print $1, $2 }'").concat(
            lines("systemctl list-units --failed --no-legend --plain"),
        ),
        ports: lines("ss -Hltun | awk '{ print $1, $5 }'"),
        users: lines("cat /etc/passwd /etc/group"),
        packages: lines("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'"),
        sysctl: lines(
            "sysctl -a 2>/dev/null | grep -E '^(net\\.ipv4\\.ip_forward|net\\.ipv6\\.conf\\.all|net\\.bridge|vm\\.overcommit_memory|kernel\\.panic)'",
        ),
        links: lines("ip -o link | awk -F': ' '{ sub(/@.*/, \"\", $2); print $2 }'").concat(
            lines("iptables-save 2>/dev/null | grep '^-A' || true"),
        ),
    };
}

/** Lines that came and went, by kind; empty when the host is as it was. */
export function differences(before: Snapshot, after: Snapshot): string[] {
    return (Object.keys(before) as (keyof Snapshot)[]).flatMap((kind) => {
        const was = new Set(before[kind]);
        const is = new Set(after[kind]);
        return [
            ...before[kind].filter((l) => !is.has(l)).map((l) => `- ${kind}: ${l}`),
            ...after[kind].filter((l) => !was.has(l)).map((l) => `+ ${kind}: ${l}`),
        ];
    });
}
