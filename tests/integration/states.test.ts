/**
 * A stack that an older commit of this program made is taken over by today's. states/ has the states and stack files of clusters in a lab,
 * named by the commit that made them. They are previewed on the official engine, where no host can be reached.
 *
 * To add a state, for each release: make a cluster in a lab with that commit, keep its state, and put it into the table KEPT.
 *
 *     export LAB_NAME=k3s-ha-state LAB_DIR=$PWD/.lab-state LAB_STACK_FILE=tests/cluster/hosts.yaml
 *     lab/lab setup && lab/lab hosts up master-1 agent-1
 *     cp tests/integration/states/2f23793.yaml Pulumi.test-state.yaml   # with the host keys of .lab-state/ssh/known_hosts
 *     cp Pulumi.test-state.yaml tests/integration/states/COMMIT.yaml
 *     lab/lab exec -- pulumi stack init test-state
 *     lab/lab exec -- pulumi up --yes --stack test-state
 *     lab/lab exec -- pulumi stack export --show-secrets --stack test-state |
 *         node --require ./load/register.cjs tests/integration/states/keep.ts >tests/integration/states/COMMIT.json
 *     npx prettier --write tests/integration/states && rm Pulumi.test-state.yaml && lab/lab down
 *
 * For an older commit `pulumi` runs in a work tree of it: git worktree add FOLDER COMMIT, then npm ci there.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nameOfUrn } from "../../commands/urn";
import { kit } from "../../components/remote/kit";
import { ROOT, engineEnvironment, stageEngine } from "./engine";

/** As the states name it. */
const STACK = "test-state";
const STATES = join(__dirname, "states");

/** What a preview does: operation and changed properties, by the resource's name. What stays the same is left out. */
type Changes = Readonly<Record<string, string>>;

interface Resource {
    readonly urn: string;
    readonly inputs?: { readonly create?: string; readonly update?: string; readonly source?: { hash?: string } };
}

/** What `pulumi preview --json` prints. */
interface Preview {
    readonly steps: readonly { readonly op: string; readonly urn: string; readonly diffReasons?: readonly string[] }[];
    readonly changeSummary: Readonly<Record<string, number>>;
}

/** What depends on the kubeconfig: when that is read again, no preview knows what it will be. */
const READ_AGAIN: Changes = {
    "dev-ca": "update: input",
    "dev-public-info-viewer": "update",
    "dev-public-info-viewer-provider": "update: kubeconfig",
};

/** Names that resources had before 0.2, and have now. */
const RENAMED: Readonly<Record<string, string>> = {
    "agent-1-k3s": "agent-1-agent",
    "dev-access-kubeconfig": "dev-kubeconfig",
    "dev-anonymous-surface-proof": "dev-anonymous-check",
    "dev-fence-lost": "dev-lost-nodes",
    "dev-nodes-members": "dev-members",
    "dev-public-info-viewer-patch": "dev-public-info-viewer",
    "master-1-k3s": "master-1-server",
};

/** Components that held them, which go. */
const DISSOLVED = [
    "k3s-ha:access:AnonymousSurface::dev-anonymous-surface",
    "k3s-ha:access:ClusterAccess::dev-access",
    "k3s-ha:access:PublicInfoViewer::dev-public-info-viewer",
    "k3s-ha:k3s:Agent::agent-1",
    "k3s-ha:k3s:Fence::dev-fence",
    "k3s-ha:k3s:Nodes::dev-nodes",
    "k3s-ha:k3s:Server::master-1",
];

/** What changes because the scripts have changed since: the kit is sent again, and a step whose script has changed runs again. */
function scriptChanges(resources: readonly Resource[]): Changes {
    const changes: Record<string, string> = {};
    for (const { urn, inputs } of resources) {
        const name = RENAMED[nameOfUrn(urn)] ?? nameOfUrn(urn);
        const [, script, digest] = /\/(\w[\w-]*\.sh)\b[^#]* # ([0-9a-f]{12})\b/.exec(inputs?.create ?? "") ?? [];
        if (name.endsWith("-kit")) {
            if (inputs?.source?.hash !== kit().sum) changes[name] = "update: remotePath, source";
        } else if (name.endsWith("-prepare")) {
            if (!inputs?.create?.includes(kit().sum)) changes[name] = "update: create";
        } else if (script !== undefined && !kit().digests.includes(`# ${script} ${digest}\n`)) {
            // Of two commands only the one for later runs: a cluster is founded once.
            changes[name] = inputs?.update === undefined ? "update: create" : "update: update";
        }
    }
    return "dev-kubeconfig" in changes ? { ...changes, ...READ_AGAIN } : changes;
}

/** As {@link Changes} has it. */
const told = (op: string, properties: readonly string[]): string =>
    [op, [...new Set(properties)].sort().join(", ")].filter(Boolean).join(": ");

/** Both together: the operation on a resource is the same in both, and its properties are added up. */
function together(some: Changes, more: Changes): Changes {
    const sum: Record<string, string> = { ...some };
    for (const [name, change] of Object.entries(more)) {
        const properties = [change, some[name] ?? ""].flatMap((text) => text.split(": ")[1]?.split(", ") ?? []);
        sum[name] = told(change.split(": ")[0] as string, properties);
    }
    return sum;
}

/** haproxy.cfg got remarks over its parts: haproxy.sh writes them without a reload. */
const REMARKS: Changes = { "agent-1-haproxy": "update: stdin", "master-1-haproxy": "update: stdin" };

/** Step prepare is given the pods' and services' networks, which no route of a host may lead into. */
const ROUTES: Changes = { "agent-1-prepare": "update: stdin", "master-1-prepare": "update: stdin" };

/** A removal whose script is missing is an error now, where it was a success without a word. */
const REMOVALS: Changes = {
    "agent-1-agent": "update: delete",
    "agent-1-haproxy": "update: delete",
    "agent-1-prepare": "update: delete",
    "agent-1-stage": "update: delete",
    "master-1-haproxy": "update: delete",
    "master-1-prepare": "update: delete",
    "master-1-server": "update: delete",
    "master-1-stage": "update: delete",
};

/** Nodes are objects in it, and were texts. */
const FACTS: Changes = { description: "update: input" };

/** Step anonymous-check is given `server:` lines, which were `master:`. */
const CHECKED: Changes = { "dev-anonymous-check": "update: stdin" };

/** On every host the scripts are sent as a file and run from there, and a command has another form. */
const SCRIPTS_AS_FILE: Changes = {
    "agent-1-haproxy": "update: create, delete",
    "agent-1-agent": "update: create, delete",
    "agent-1-kit": "create",
    "agent-1-prepare": "update: create, delete, stdin",
    "agent-1-stage": "update: create, delete",
    "dev-kubeconfig": "update: create",
    ...READ_AGAIN,
    "dev-anonymous-check": "update: create",
    "dev-lost-nodes": "update: create",
    "dev-members": "update: create",
    // It notes more of what is fixed at the founding.
    description: "update: input",
    "master-1-haproxy": "update: create, delete",
    // Never the command that founds a cluster, which is `create`.
    "master-1-server": "update: delete, update",
    "master-1-kit": "create",
    "master-1-prepare": "update: create, delete, stdin",
    "master-1-stage": "update: create, delete",
};

/** The states, and what changes by today's program when the stack file stays as it is. */
const KEPT: readonly { readonly commit: string; readonly was: string; readonly changes: Changes }[] = [
    {
        commit: "5a9f976",
        was: "scripts in the secret stdin of step prepare",
        changes: [SCRIPTS_AS_FILE, REMARKS, ROUTES, REMOVALS, FACTS, CHECKED].reduce(together),
    },
    {
        commit: "2f23793",
        was: "haproxy.cfg without remarks",
        changes: [REMARKS, ROUTES, REMOVALS, FACTS, CHECKED].reduce(together),
    },
];

describe("states: a stack of an older commit is taken over", function () {
    this.timeout(300_000);
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-states-"));
    // The engine makes it with the stack.
    const file = join(ROOT, `Pulumi.${STACK}.yaml`);

    /** pulumi in a network namespace of its own that has loopback only: no host can be asked. */
    function pulumi(...args: string[]): string {
        const alone = ["--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];
        const run = spawnSync("unshare", [...alone, "pulumi", ...args, "--non-interactive"], {
            cwd: ROOT,
            encoding: "utf8",
            env: engineEnvironment(folder),
            maxBuffer: 64 * 1024 * 1024,
        });
        assert.equal(run.status, 0, `pulumi ${args.join(" ")}: ${run.stderr}${run.stdout.slice(-4000)}`);
        return run.stdout;
    }

    before(() => {
        stageEngine(folder);
        rmSync(file, { force: true });
        pulumi("stack", "init", STACK);
    });
    after(() => {
        rmSync(folder, { recursive: true, force: true });
        rmSync(file, { force: true });
    });

    for (const { commit, was, changes } of KEPT)
        it(`${commit}, ${was}`, () => {
            const state = join(STATES, `${commit}.json`);
            const { deployment } = JSON.parse(readFileSync(state, "utf8")) as {
                readonly deployment: { readonly resources: readonly Resource[] };
            };
            pulumi("stack", "import", "--stack", STACK, "--file", state);
            // A copy: the engine adds the salt of its passphrase.
            const settings = join(folder, `${commit}.yaml`);
            copyFileSync(join(STATES, `${commit}.yaml`), settings);
            const preview = pulumi("preview", "--json", "--stack", STACK, "--config-file", settings);
            const { steps, changeSummary } = JSON.parse(preview) as Preview;
            const seen: Record<string, string> = {};
            const gone: string[] = [];
            for (const { urn, op, diffReasons } of steps)
                if (op === "delete") gone.push(urn.slice(urn.lastIndexOf("$") + 1));
                else if (op !== "same") seen[nameOfUrn(urn)] = told(op, diffReasons ?? []);
            assert.deepEqual(gone.sort(), DISSOLVED);
            assert.deepEqual(seen, together(scriptChanges(deployment.resources), changes));
            // The engine's own providers are not counted.
            const old = deployment.resources.filter(({ urn }) => !/^default(_|$)/.test(nameOfUrn(urn)));
            const same = old.length - gone.length - Object.values(seen).filter((change) => change !== "create").length;
            assert.equal(changeSummary.same, same, "resources that stay the same");
        });
});
