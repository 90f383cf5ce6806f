/** Which rows of the table a preview's changes are. Pure. */
import { changedSettings, valuesOf, type Parts } from "./bundle";
import type { Kind } from "./consequences";
import { k3sEffects } from "./effects-k3s";
import { type Data, dataOf, secretsChanged, type Around, type Effect } from "./data";
import { scriptsOf } from "./command-line";
import type { Change, Preview } from "./preview";
import { NODE_STEPS } from "../../components/model/steps";

/** Of the resource's owner, where it names no other. */
type Found = Omit<Effect, "owner"> & Partial<Effect>;

const isRemark = (line: string): boolean => /^ +#/.test(line);
/** What of haproxy.cfg haproxy takes notice of: without_remarks in haproxy-apply.sh. */
const withoutRemarks = (lines: readonly string[]): string => lines.filter((line) => !isRemark(line)).join("\n");

const HAPROXY_CFG = "/etc/haproxy/haproxy.cfg";

function haproxyKinds(change: Change, around: Around): Kind[] {
    const { generated } = around;
    const data = dataOf(change);
    const kinds: Kind[] = [];
    if (change.op === "replace")
        kinds.push(change.changed.includes("triggers") ? "haproxy-readiness" : "haproxy-again");
    if (data.is === "hidden") kinds.push("haproxy-config");
    if (data.is === "open") {
        const { before, after } = data;
        const [old, now] = [before, after].map((parts) => parts.files.get(HAPROXY_CFG) ?? []) as [string[], string[]];
        if (withoutRemarks(old) !== withoutRemarks(now)) kinds.push("haproxy-config");
        else if (old.join("\n") !== now.join("\n")) kinds.push("haproxy-remarks");
        const lists = (parts: Parts): string =>
            JSON.stringify([...parts.files].filter(([path]) => path !== HAPROXY_CFG));
        const settings = changedSettings(before, after);
        if (lists(before) !== lists(after)) kinds.push("haproxy-acl");
        for (const setting of settings)
            if (setting === "vpn-unit") kinds.push("haproxy-unit");
            else if (setting === "rebuilt") kinds.push("rebuilt");
            else if (!kinds.some((kind) => ["haproxy-config", "haproxy-readiness"].includes(kind)))
                kinds.push("haproxy-quiet");
    }
    if (secretsChanged(change, generated.has("stats-password") || generated.has("metrics-password")))
        kinds.push("haproxy-passwords");
    return kinds;
}

function stageEffects(change: Change): Found[] {
    const data = dataOf(change);
    if (data.is !== "open") return data.is === "hidden" ? [{ kind: "binary" }] : [];
    const { before, after } = data;
    return changedSettings(before, after).map((setting) =>
        setting === "version"
            ? { kind: "binary", detail: `${valuesOf(before, setting).join()} → ${valuesOf(after, setting).join()}` }
            : { kind: setting === "rebuilt" ? "rebuilt" : setting.startsWith("image") ? "images" : "binary-source" },
    );
}

function membersEffects(change: Change, { leaving }: Around): Found[] {
    const data = dataOf(change);
    if (data.is !== "open") return data.is === "hidden" ? [{ kind: "members-quiet" }] : [];
    const { before, after } = data;
    const names = (parts: Parts): string[] => valuesOf(parts, "member").map((line) => line.split(" ")[0] as string);
    const nodesOf = (key: string): string[] => {
        const [old, now] = [valuesOf(before, key), valuesOf(after, key)];
        const differ = [...old.filter((l) => !now.includes(l)), ...now.filter((l) => !old.includes(l))];
        return differ.map((line) => line.split(" ")[0] as string);
    };
    const [old, now] = [names(before), names(after)];
    const marked = [...new Set([...nodesOf("label"), ...nodesOf("taint")])].filter((name) => now.includes(name));
    const found: Found[] = [
        ...marked.map((owner) => ({ kind: "members-marks", owner }) as const),
        ...now.filter((name) => !old.includes(name)).map((owner) => ({ kind: "members-join", owner }) as const),
        // A lost one has no Node any more: step lost-nodes comes first.
        ...old
            .filter((name) => !now.includes(name) && leaving.has(name))
            .map((owner) => ({ kind: "members-leave", owner }) as const),
    ];
    return found.length > 0 ? found : [{ kind: "members-quiet" }];
}

function lostEffects(data: Data): Found[] {
    const lost = (parts: Parts): string[] => valuesOf(parts, "lost");
    if (data.is !== "open") return [{ kind: "lost-nodes-quiet" }];
    const [old, now] = [lost(data.before), lost(data.after)];
    const differ = [...now.filter((name) => !old.includes(name)), ...old.filter((name) => !now.includes(name))];
    return differ.length === 0
        ? [{ kind: "lost-nodes-quiet" }]
        : differ.map((detail) => ({ kind: "lost-nodes", detail }) as const);
}

/** Steps that the cluster has once. */
function clusterEffects(change: Change, around: Around): Found[] {
    if (change.op === "delete") return [];
    const isNew = change.op === "create";
    switch (change.step) {
        case "members":
            return isNew ? (around.isNew ? [] : [{ kind: "members-quiet" }]) : membersEffects(change, around);
        case "lost-nodes": {
            const data = dataOf(change);
            if (isNew) return around.isNew ? [] : [{ kind: "lost-nodes-quiet" }];
            return data.is === "same" ? [] : lostEffects(data);
        }
        case "snapshot":
            return [{ kind: "snapshot" }];
        case "prune-manifests":
        case "public-info-viewer":
        case "anonymous-check":
        case "kubeconfig":
            return [{ kind: change.step }];
        default:
            return [];
    }
}

/** What happens to a node as a whole, by what is done with its k3s; the other steps come and go with that. */
function whole(change: Change, around: Around): Found[] {
    const { op, step, owner, retained, name } = change;
    const k3s = around.k3s.get(owner);
    if (step === "server" || step === "agent") {
        if (op === "create") return around.isNew ? [] : [{ kind: "joins" }];
        if (op === "delete") return [{ kind: retained ? "left-alone" : "leaves" }];
        return op === "replace" ? [{ kind: "rejoins" }] : [];
    }
    if (op === "update" || k3s === op || around.isNew) return [];
    if (step === "manifests") return [{ kind: op === "delete" ? "manifests-gone" : "manifests" }];
    if (step === "kit" && op !== "delete") return [{ kind: "scripts" }];
    if (step === "haproxy" && op === "replace") return [];
    return [retained ? { kind: "left-alone" } : { kind: "other", detail: name }];
}

function nodeEffects(change: Change, around: Around): Found[] {
    const { step } = change;
    if (change.op === "create" || change.op === "delete") return whole(change, around);
    const found = whole(change, around);
    if (change.op === "replace" && step !== "haproxy") return found;
    if (step === "haproxy") found.push(...haproxyKinds(change, around).map((kind) => ({ kind })));
    if (step === "stage") found.push(...stageEffects(change));
    if (step === "manifests" && dataOf(change).is !== "same") found.push({ kind: "manifests" });
    if (step === "prepare" && change.changed.includes("stdin")) found.push({ kind: "host-data" });
    if (step === "server" || step === "agent") found.push(...k3sEffects(change, around));
    return found;
}

/** Inputs whose change sends scripts, or runs a step again and nothing more. */
const COMMAND_LINE = ["create", "update", "delete", "source", "remotePath", "logging", "addPreviousOutputInEnv"];

/** Steps that bring the scripts. */
const SENT: readonly string[] = ["kit", "prepare"];

/** Names of the scripts that differ: the command of step prepare lists them. */
function changedScripts(change: Change): string[] {
    if (change.step !== "prepare") return [];
    const [before, after] = [scriptsOf(change.before), scriptsOf(change.after)];
    const names = [...new Set([...before.keys(), ...after.keys()])].filter((n) => before.get(n) !== after.get(n));
    return names.sort();
}

function effectsOf(change: Change, around: Around): Effect[] {
    const { name, owner, type, step, changed } = change;
    if (step === undefined) {
        if (/^random:.*(Password|String|Id)$/.test(type))
            return change.op === "delete"
                ? []
                : [{ kind: "secrets", owner: "", detail: name.replace(/^.*-secrets-/, "") }];
        // What the program keeps in the state: it reaches no host by itself.
        const quiet = /^(k3s-ha:|pulumi:|random:)/.test(type);
        return quiet ? [] : [{ kind: "other", owner: "", detail: name }];
    }
    const isOfCluster = !(NODE_STEPS as readonly string[]).includes(step);
    const found = (isOfCluster ? clusterEffects(change, around) : nodeEffects(change, around)).map((e) => ({
        owner,
        ...e,
    }));
    if (change.op !== "update") return found;
    if (changed.includes("connection")) found.push({ kind: "connection", owner });
    // The script of a step and its data may change together; then the data tell more.
    if (changed.some((key) => COMMAND_LINE.includes(key)) && (found.length === 0 || SENT.includes(step)))
        found.push(
            { kind: "scripts", owner },
            ...changedScripts(change).map((detail) => ({ kind: "scripts", owner, detail }) as const),
        );
    if (found.length === 0) found.push({ kind: changed.length === 0 ? "scripts" : "other", owner });
    return found;
}

/** Every row that a preview has, by node. */
export function effects(preview: Preview): Effect[] {
    const { changes, isNew } = preview;
    const generated = new Set(
        changes
            .filter(({ type, op }) => type.startsWith("random:") && op !== "delete")
            .map(({ name }) => name.replace(/^.*-secrets-/, "")),
    );
    const isK3s = ({ step }: Change): boolean => step === "server" || step === "agent";
    const k3s = new Map(changes.filter(isK3s).map(({ owner, op }) => [owner, op]));
    const gone = changes.filter((change) => isK3s(change) && change.op === "delete" && !change.retained);
    const leaving = new Set(gone.map(({ owner }) => owner));
    const found = changes.flatMap((change) => effectsOf(change, { generated, isNew, leaving, k3s }));
    if (isNew) found.unshift({ kind: "founded", owner: "" });
    const seen = new Set<string>();
    return found.filter(({ kind, owner, detail }) => {
        const key = JSON.stringify([kind, owner, detail]);
        return seen.has(key) ? false : (seen.add(key), true);
    });
}
