/** From settings as written to a {@link ClusterSpec}: every check, in one list of mistakes. Pure. */
import { checkAuthentication } from "./checks/authentication";
import { checkEncryption } from "./checks/encryption";
import { checkEncrypted, checkSecrets, isConfidential } from "./checks/encrypted";
import { checkEnvironment } from "./checks/environment";
import { checkFiles } from "./checks/files";
import { checkHardening } from "./checks/hardening";
import { warnAboutHttpProxy } from "./checks/http-proxy";
import { checkDatastore, checkK3sConfig } from "./checks/k3s-config";
import { checkImages } from "./checks/images";
import { checkManifests } from "./checks/manifests";
import { checkNetworks } from "./checks/networks";
import { checkNodes, relationsOfParts } from "./checks/nodes";
import { bindProblems, checkPorts } from "./checks/ports";
import { checkProxy, checkSeed } from "./checks/proxy";
import { checkClearSecrets } from "./checks/secrets";
import { checkServices } from "./checks/services";
import { checkSnapshots } from "./checks/snapshots";
import { checkAdoption, warnAboutTrust } from "./checks/trust";
import { checkVersion } from "./checks/version";
import { checkWaits } from "./checks/waits";
import { SpecError, configPath, isSecretKey, problemsOf, shown } from "./problems";
import type { Problem } from "../haproxy/problem";
import { fill, nodeSpec, type Surroundings } from "./fill";
import { stackSchema, type StackSettings, type WrittenSettings } from "../settings";
import type { ClusterSpec, NodeSpec } from "../model/cluster";
import { parseK3sVersion, type K3sVersion } from "../values";

/** A spec and what the user should be told about it in every run. */
export interface CheckedSpec {
    readonly spec: ClusterSpec;
    readonly warnings: readonly string[];
}

/** The spec of settings and nodes, right or wrong. */
export function filled(settings: StackSettings, nodes: readonly NodeSpec[], around: Surroundings): ClusterSpec {
    return fill(settings, nodes, {
        confidential: isConfidential(settings, around.encrypted),
        confidentialManifests: around.encrypted?.has("manifests") === true,
    });
}

/**
 * Checks a stack's settings and fills in the defaults.
 * @throws SpecError that lists every mistake found, with config path, value and what is allowed.
 */
export function checkSpec(raw: unknown, around: Surroundings = {}): CheckedSpec {
    const parsed = stackSchema.safeParse(raw);
    if (!parsed.success) {
        // Relations are checked on what is well formed, so that the user sees everything at once.
        throw new SpecError([...problemsOf(parsed.error, raw), ...relationsOfParts(raw)]);
    }
    const settings = parsed.data;
    // For what is refused only where the user wrote it, and not when it has its default.
    const written = raw as WrittenSettings;
    const problems: Problem[] = [];
    const warnings: string[] = [];
    const report = (path: readonly PropertyKey[], value: unknown, message: string): void => {
        // Of a setting that is a secret nothing is told but where it stands.
        const hide = value === undefined || path.some((part) => typeof part === "string" && isSecretKey(part));
        problems.push({ path: configPath(path), value: hide ? undefined : shown(value), message });
    };

    const version = parseK3sVersion(settings.version) as K3sVersion;
    checkNodes(settings.nodes, report, warnings);
    checkVersion(settings, version, report);
    checkEncryption(settings, version, report);
    checkNetworks(settings, report);
    checkPorts(settings, report, warnings);
    checkK3sConfig(settings, report);
    checkWaits(settings, report);
    checkDatastore(settings, report);
    checkSnapshots(settings, written, report);
    checkSecrets(settings, report);
    checkAuthentication(settings, report);
    checkClearSecrets(settings, around.encrypted ?? new Set(), report, warnings);
    checkFiles(settings, report);
    checkManifests(settings, report);
    checkImages(settings, report);
    checkServices(settings, report);
    checkHardening(settings, report);
    checkEnvironment(settings, report);
    checkSeed(written, report);
    checkAdoption(settings, report);
    checkEncrypted(around.encrypted, report);
    const nodes = settings.nodes.map((node, i) => nodeSpec(node, i, settings, around, report));
    warnAboutTrust(settings, warnings);
    // Without a server there is no cluster to look at.
    if (!settings.nodes.some((n) => n.role === "server" && n.lost !== true)) throw new SpecError(problems);

    const spec = filled(settings, nodes, around);
    warnAboutHttpProxy(spec, warnings);
    if (spec.vpn.networks.length > 50)
        problems.push({
            path: "k3s-ha:vpn.networks",
            message: `is missing: the nodes' addresses lie in ${spec.vpn.networks.length} networks, and the proxies take at most 50; name the networks that may read stats and metrics`,
        });
    // The proxies' lines follow from the nodes: mistakes in those would be told again, as mistakes of the sections.
    if (!problems.some((p) => p.path.startsWith("k3s-ha:nodes"))) {
        checkProxy(spec, problems);
        problems.push(...bindProblems(spec, settings));
    }
    if (problems.length > 0) throw new SpecError(problems);
    return { spec, warnings };
}
