/** Settings of a small stack that tests vary. */
import { checkSpec } from "../../../components/config/check";
import { SpecError } from "../../../components/config/problems";
import type { ClusterSpec } from "../../../components/model/cluster";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrLdC9JoPv1HnRVTtNQTqxv4O7yPdW8YZMDk0zJqF0Y";

/** Of a CA for tests, whose key nobody has. */
export const CA_PEM = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUJOkuunAkt6kILPrIR1wQ/HTzsKgwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjgwMzE0NTlaGA8yMTI2MTEwNDAzMTQ1
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOX1
HOHs/e29qW4wNVG3r2LdpudVBgT6Pd7NlxcGr8j3ATZUwEgBgJafkyuwn1RBkVLG
Vk3++d2gQ2AX3qPXS4OjUzBRMB0GA1UdDgQWBBSntKCFyOmkVobVZo6FF2rRHuqh
fzAfBgNVHSMEGDAWgBSntKCFyOmkVobVZo6FF2rRHuqhfzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIHEOj2hoXoL60riLamAU9qEq6hNMFyf0z9j+
IuAQKE5fAiBrrcr2Q0XHkZYAoqftm2W0BCO57vTwmAWLnsXIw28QkA==
-----END CERTIFICATE-----
`;

/** A node with a pinned key. */
export function node(name: string, role: string, address: string, more: object = {}): Record<string, unknown> {
    return { name, role, address, ssh: { hostKey: KEY }, ...more };
}

/** Three servers, two agents; `more` replaces or adds settings. */
export function settings(more: object = {}): Record<string, unknown> {
    return {
        cluster: "dev",
        version: "v1.36.3+k3s1",
        nodes: [
            node("master-1", "server", "10.90.0.11"),
            node("master-2", "server", "10.90.0.12"),
            node("master-3", "server", "10.90.0.13"),
            node("agent-1", "agent", "10.90.0.21"),
            node("agent-2", "agent", "10.90.0.22"),
        ],
        ...more,
    };
}

export function spec(more: object = {}): ClusterSpec {
    return checkSpec(settings(more)).spec;
}

/** The lines of the error that these settings give; empty when they are accepted. */
export function mistakes(more: object): string[] {
    try {
        checkSpec(settings(more));
        return [];
    } catch (error) {
        if (!(error instanceof SpecError)) throw error;
        return error.message
            .split("\n")
            .slice(1)
            .map((l) => l.trim());
    }
}

export { NO_HOOKS } from "../../../components/hooks";
