/** What stays readable without credentials. */
export const PUBLIC_PATHS: readonly string[] = ["/healthz", "/livez", "/readyz"];
