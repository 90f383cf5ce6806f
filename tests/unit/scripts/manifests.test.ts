/** Files that k3s applies: what the step writes and takes back, and how the objects of absent ones are deleted. */
import assert from "node:assert/strict";
import { stepShell, type Run } from "../helpers/step-shell";

/** Runs of apply with these bundles, then of `after`. */
const applied = async (bundles: readonly string[], after: string, files = {}): Promise<Run> =>
    await stepShell("manifests.sh")(
        `MANIFESTS=$DATA/server/manifests; RECORD=$STATE/manifests; begin() { :; }; lock() { :; }
${bundles
    .map(
        (bundle) => `unpack() { rm -f $WORK/set.* $WORK/file.*; unpack_any <<END
node: master-1
${bundle}
end: yes
END
}
apply`,
    )
    .join("\n")}
${after}`,
        files,
    );
const LIST = 'cd $MANIFESTS; for f in *; do echo "$f $(stat -c %a $f) $(cat $f)"; done';

describe("step manifests", () => {
    const two = "file: $MANIFESTS/a.yaml 0600\n    x: 1\nfile: $MANIFESTS/b.yaml 0600\n    y: 1";

    it("writes them for root alone, and a second run leaves them as they are: k3s looks at their time", async () => {
        const { text } = await applied(
            [two],
            `touch -d @1 $MANIFESTS/a.yaml; apply; stat -c %Y $MANIFESTS/a.yaml; ${LIST}`,
        );
        assert.match(
            text,
            /2 files, 2 changed\nmanifests: 2 files, 0 changed\n1\na\.yaml 600 x: 1\nb\.yaml 600 y: 1\n$/,
        );
    });

    it("takes back what is left out and what is absent; files of others stay", async () => {
        const { text } = await applied([two, "absent: mine.yml\nfile: $MANIFESTS/a.yaml 0600\n    x: 2"], LIST, {
            "data/server/manifests/mine.yml": "m",
            "data/server/manifests/traefik.yaml": "t",
        });
        assert.match(text, /1 files, 1 changed\na\.yaml 600 x: 2\ntraefik\.yaml 644 t\n$/);
    });

    it("removes its own, and folders that are empty then", async () => {
        const gone = await applied([two], "remove; ls -A $STATE; ls -d $DATA 2>&1 || true");
        assert.match(gone.text, /manifests: removed\n(?!.*manifests\n)[^]*No such file/);
        const kept = await applied([two], "remove; ls $MANIFESTS", { "data/server/manifests/traefik.yaml": "t" });
        assert.match(kept.text, /removed\ntraefik\.yaml\n$/);
    });

    it("what is noted is there even when a run is cut off in between, so that it can be taken back", async () => {
        const { text } = await applied(
            [],
            `put_files() { echo noted: $(cat $RECORD | wc -l); exit 9; }
unpack() { unpack_any <<END
node: master-1
${two}
end: yes
END
}
apply`,
        );
        assert.match(text, /noted: 2/);
    });
});

describe("step prune-manifests", () => {
    /** `addon` and `objects` are what kubectl prints of the Addon (checksum, kinds) and of one kind's objects. */
    const prune = async (addon: string, objects: string, more = "", files = {}): Promise<Run> =>
        await stepShell("prune-manifests.sh")(
            `MANIFESTS=$DATA/server/manifests; mkdir -p $MANIFESTS; lock() { :; }; api_ready() { :; }
kube() { case "$*" in *"get addons"*) ${addon} ;; get*) echo "asks: $2" >&2; ${objects} ;; *delete*) echo "deletes: $*" ;; esac; }
echo gone.yaml >$WORK/set.absent; echo 5 >$WORK/set.wait-seconds
${more}
prune; ls -A $MANIFESTS; ls $STATE/prune.* 2>/dev/null || true`,
            files,
        );
    const states = `if [ -f $MANIFESTS/gone.yaml ] && [ -f $STATE/prune.gone ]; then printf '%s\\n\\n' $EMPTY
else printf 'abc\\napps/v1, Kind=Deployment;/v1, Kind=Secret\\n'; fi`;

    it("an empty file, until k3s has pruned and no object of the kinds before is there; then file and Addon go", async () => {
        const { code, text } = await prune(states, ":");
        assert.equal(code, 0, text);
        assert.match(text, /asks: Deployment\.v1\.apps\nasks: Secret\.v1\.\n/);
        assert.match(text, /prune-manifests: gone\.yaml: its objects are deleted\n$/);
    });

    it("the label is k3s's own of an Addon", async () => {
        // As every k3s has it on its CoreDNS.
        const { text } = await stepShell("prune-manifests.sh")("label_of coredns");
        assert.equal(text, "bce283298811743a0386ab510f2f67ef74240c57\n");
    });

    it("where the cluster has no such Addon nothing is done", async () => {
        const { text } = await prune(":", "echo never");
        assert.match(text, /gone\.yaml: the cluster has none of it\n$/);
    });

    it("objects that stay are named, and the empty file does not stay: it would delete those of a later file", async () => {
        const { code, text } = await prune(
            states,
            "echo deployment.apps/held",
            "trap 'undo 1; ls -A $MANIFESTS | wc -l' EXIT",
        );
        assert.equal(code, 1);
        assert.match(text, /objects of gone\.yaml are still there after 5 s: deployment\.apps\/held/);
        assert.match(text, /finalizers[^]*\n0\n$/);
    });

    it("k3s that does not prune is named, with where it says why", async () => {
        const { code, text } = await prune("printf 'abc\\n\\n'", ":");
        assert.equal(code, 1);
        assert.match(text, /k3s did not delete the objects of gone\.yaml[^]*describe addon gone/);
    });

    it("a run that follows one that was cut off knows the kinds from that one", async () => {
        const { code, text } = await prune("printf '%s\\n\\n' $EMPTY", "echo deployment.apps/held", "", {
            "prune.gone": "Deployment.v1.apps\n",
        });
        assert.equal(code, 1);
        assert.match(text, /still there[^]*deployment\.apps\/held/);
    });

    it("a kind whose definition is gone has no objects", async () => {
        const { code } = await prune(
            states,
            `echo "error: the server doesn't have a resource type" >$WORK/kubectl.err; return 1`,
        );
        assert.equal(code, 0);
    });
});
