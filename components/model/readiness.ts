/** The readiness modes, for both sides: what k3s is told, what the proxies expect, what anyone may read. Pure. */
import type { OpenSettings } from "../settings";
import { AUTHN_FILE } from "./paths";
import type { Backports } from "../values";

/** A mode's name. */
export type Readiness = OpenSettings["readiness"];

interface Mode {
    /** Flags of the kube-apiserver. */
    readonly apiserverArgs: readonly string[];
    /** The value of the flag anonymous-auth that says the same as the mode, which a user may set too; none where that is a contradiction. */
    readonly anonymousAuth: "true" | "false" | undefined;
    /** k3s gets an AuthenticationConfiguration: it holds `authentication.jwt`, and the flags oidc-… exclude it. */
    readonly authenticationFile: boolean;
    /** ClusterRole system:public-info-viewer is cut down to the public paths. */
    readonly cutsPublicRole: boolean;
    /** HTTP code of the public paths on a ready server without credentials: what the proxies expect of /readyz. */
    readonly open: number;
    /** HTTP code of every other path without credentials. */
    readonly closed: number;
    /** Oldest releases of k3s that can do it; none: all that the program supports. */
    readonly since: Backports | undefined;
}

/**
 * How the proxies tell that a server is ready, one row for both sides:
 * - `unauthorized`: k3s unmodified, 401 expected; sees that the process is up, not that etcd answers.
 * - `anonymous`: anonymous-auth plus a ClusterRole that leaves the three health paths; 200 expected.
 * - `scoped`: an AuthenticationConfiguration that opens the three health paths only; 200 expected.
 */
export const READINESS: Readonly<Record<Readiness, Mode>> = {
    unauthorized: {
        apiserverArgs: [],
        anonymousAuth: "false",
        authenticationFile: false,
        cutsPublicRole: false,
        open: 401,
        closed: 401,
        since: undefined,
    },
    anonymous: {
        apiserverArgs: ["anonymous-auth=true"],
        anonymousAuth: "true",
        authenticationFile: false,
        cutsPublicRole: true,
        open: 200,
        closed: 403,
        since: undefined,
    },
    scoped: {
        apiserverArgs: [`authentication-config=${AUTHN_FILE}`],
        anonymousAuth: undefined,
        authenticationFile: true,
        cutsPublicRole: false,
        open: 200,
        closed: 401,
        // Older ones pass anonymous-auth together with the file, and the kube-apiserver ends with both (k3s-io/k3s#12245). 1.31 has the
        // backport too, but Kubernetes there refuses `anonymous` in the file (AnonymousAuthConfigurableEndpoints is alpha until 1.32).
        since: { 32: 5, 33: 1 },
    },
};

/** What stays readable without credentials. */
export const PUBLIC_PATHS: readonly string[] = ["/healthz", "/livez", "/readyz"];

/** Paths that must not be, as samples of all others. */
const CLOSED_PATHS: readonly string[] = ["/version", "/api", "/metrics", "/api/v1/namespaces/kube-system/secrets"];

/** HTTP codes that a ready server gives an anonymous GET /readyz. */
export function readyCodes(readiness: Readiness): number[] {
    return [READINESS[readiness].open];
}

/** Path and HTTP code that a client without credentials must get in a readiness mode. */
export function anonymousSurface(readiness: Readiness): (readonly [path: string, code: number])[] {
    const { open, closed } = READINESS[readiness];
    return [
        ...PUBLIC_PATHS.map((path) => [path, open] as const),
        ...CLOSED_PATHS.map((path) => [path, closed] as const),
    ];
}
