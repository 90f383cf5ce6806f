/** What scenarios of snapshots and recovery need: the documented commands, and notes in the cluster that show what was restored. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, kubectl, members } from "./support";

/** The commands of a file in docs/runbooks: the test runs what the reader would. */
export function runbook(name: string): string[] {
    const text = readFileSync(join(ROOT, `docs/runbooks/${name}.md`), "utf8");
    return [...text.matchAll(/sh \/usr\/local\/lib\/k3s-ha\/recover\.sh [a-z-]+/g)].map((m) => m[0]);
}

export const note = (name: string): void =>
    void kubectl(["create", "configmap", name, "--from-literal=at=now"], { context: `dev-${members().masters[0]}` });
export const notes = (context = `dev-${members().masters[0]}`): string =>
    kubectl(["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"], { context }).stdout;
