/** server.environment and agent.environment: variables that the program, k3s or systemd set or read themselves. */
import type { Report } from "../problems";
import type { Role } from "../../model/cluster";
import type { StackSettings } from "../../settings";

/** Names that are refused, for whom, and why. The first that fits is told. */
const RESERVED: readonly (readonly [name: RegExp, roles: readonly Role[], why: string])[] = [
    [/^K3S_(TOKEN|TOKEN_FILE)$/, ["server", "agent"], "use the secret k3s-ha:token or k3s-ha:agentToken"],
    [/^K3S_(AGENT_TOKEN|AGENT_TOKEN_FILE)$/, ["server", "agent"], "use the secret k3s-ha:agentToken"],
    [/^K3S_URL$/, ["server", "agent"], "every node joins through its own proxy"],
    // All of k3s's own: settings whose relations are checked only as settings.
    [
        /^_?K3S_/,
        ["server", "agent"],
        "is read by k3s as one of its settings; use k3s-ha:server.config, agent.config or nodes[].config",
    ],
    [
        /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)$/,
        ["server"],
        "is read by k3s as a key of the snapshots' bucket; use the secrets k3s-ha:s3AccessKey and k3s-ha:s3SecretKey",
    ],
    [
        /^(NOTIFY_SOCKET|MAINPID|INVOCATION_ID|JOURNAL_STREAM|LISTEN_[A-Z]+|WATCHDOG_[A-Z]+|CREDENTIALS_DIRECTORY)$/,
        ["server", "agent"],
        "is set by systemd for each start",
    ],
    [/^(PATH|NODE_NAME)$/, ["server", "agent"], "is set by k3s itself"],
    [/^KIT$/, ["server", "agent"], "is the program's own, which names the folder of its scripts"],
    [/^(LD_PRELOAD|LD_LIBRARY_PATH)$/, ["server", "agent"], "would change every program that k3s starts"],
];

export function checkEnvironment(settings: StackSettings, report: Report): void {
    for (const role of ["server", "agent"] as const)
        for (const name of Object.keys(settings[role].environment)) {
            const why = RESERVED.find(([pattern, roles]) => roles.includes(role) && pattern.test(name))?.[2];
            if (why !== undefined) report([role, "environment", name], undefined, `cannot be set: it ${verb(why)}`);
        }
}

/** A sentence that begins with what to use instead, or with who sets it. */
function verb(why: string): string {
    return why.startsWith("is ") || why.startsWith("would ") ? why : `is the program's own; ${why}`;
}
