/** The readiness modes, for both sides: what k3s is told, what the proxies expect, what anyone may read. Pure. */
import type { OpenSettings } from "../settings";
import { AUTHN_FILE } from "./paths";

/**
 * How the proxies tell that a master is ready, one setting for both sides:
 * - `unauthorized`: k3s as it comes, 401 expected; sees that the process is up, not that etcd answers.
 * - `anonymous`: anonymous-auth plus a ClusterRole that leaves the three health paths; 200 expected.
 * - `scoped`: an AuthenticationConfiguration that opens the three health paths only; 200 expected.
 */
export type Readiness = OpenSettings["readiness"];

/** What stays readable without credentials. */
export const PUBLIC_PATHS: readonly string[] = ["/healthz", "/livez", "/readyz"];

/** The kube-apiserver flags that a readiness mode needs. */
export function readinessArgs(readiness: Readiness): string[] {
    switch (readiness) {
        case "unauthorized":
            return [];
        case "anonymous":
            return ["anonymous-auth=true"];
        case "scoped":
            return [`authentication-config=${AUTHN_FILE}`];
    }
}

/** HTTP codes that a ready master gives an anonymous GET /readyz. */
export function readyCodes(readiness: Readiness): number[] {
    return readiness === "unauthorized" ? [401] : [200];
}

/** Path and HTTP code that a client without credentials must get in a readiness mode. */
export function anonymousSurface(readiness: Readiness): (readonly [path: string, code: number])[] {
    const open = readiness === "unauthorized" ? 401 : 200;
    const closed = readiness === "anonymous" ? 403 : 401;
    return [
        ...PUBLIC_PATHS.map((path) => [path, open] as const),
        ...["/version", "/api", "/metrics", "/api/v1/namespaces/kube-system/secrets"].map(
            (path) => [path, closed] as const,
        ),
    ];
}
