/** Archives of images: which, verified, in place, and taken back. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { stepShell, type Run } from "../helpers/step-shell";

const sum = (text: string): string => createHash("sha256").update(text).digest("hex");

/** `place_images` with settings of the bundle; the network has what `files` of `net/` say. */
const placed = async (
    settings: Record<string, string>,
    after: string,
    files: Record<string, string> = {},
    first = ":",
): Promise<Run> =>
    await stepShell("stage.sh")(
        `IMAGES=$DATA/agent/images; IMAGE_RECORD=$STATE/images; arch=amd64; base=http://mirror/v1
fetch() { echo "fetched: \${1##*/}" >&2; cp "$STATE/net/\${1##*/}" "$2" 2>$WORK/fetch.err; }
${first}
place_images; cd $IMAGES 2>/dev/null && for f in *; do echo "$f: $(cat "$f")"; done; ls -A | grep new || true; ${after}`,
        {
            ...Object.fromEntries(Object.entries(settings).map(([key, value]) => [`work/set.${key}`, `${value}\n`])),
            ...files,
        },
    );
const RELEASE = {
    "net/k3s-airgap-images-amd64.tar.zst": "release",
    "net/sha256sum-amd64.txt": `${sum("release")}  k3s-airgap-images-amd64.tar.zst\n`,
};

describe("images of step stage", () => {
    it("the release's by its sum file, own ones by their sums, from the net and from the host", async () => {
        const { text } = await placed(
            { images: "release tar.zst", image: `${sum("net")} http://mirror/app.tar.gz` },
            "ls -l $IMAGES/k3s-ha-release.tar.zst | cut -c 1-10; cat $IMAGE_RECORD | wc -l",
            { ...RELEASE, "net/app.tar.gz": "net" },
        );
        assert.match(text, /fetched: sha256sum-amd64\.txt\n/);
        assert.match(text, /k3s-ha-file-app\.tar\.gz: net\nk3s-ha-release\.tar\.zst: release\n-rw-r--r--\n2\n$/);
    });

    it("a file on the host needs the sum of the host's architecture", async () => {
        const missing = await placed({ images: "file /srv/k3s.tar" }, ":");
        assert.equal(missing.code, 1);
        assert.match(missing.text, /images\.sha256 has no sum for amd64/);
        const wrong = await placed({ images: "file /bin/sh.tar", "images-sha256-amd64": sum("x") }, ":");
        assert.match(wrong.text, /there is no readable file \/bin\/sh\.tar/);
    });

    it("another file than the sum says is refused, and nothing is left of it", async () => {
        const { code, text } = await placed({ image: `${sum("right")} http://mirror/app.tar` }, ":", {
            "net/app.tar": "wrong",
        });
        assert.equal(code, 1);
        assert.match(text, /app\.tar has SHA-256 \S+ and not /);
        const left = await placed(
            { image: `${sum("right")} http://mirror/app.tar` },
            ":",
            { "net/app.tar": "wrong", "data/agent/images/k3s-ha-file-app.tar": "before" },
            "trap 'ls -A $IMAGES; cat $IMAGES/*' EXIT",
        );
        assert.match(left.text, /k3s-ha-file-app\.tar\nbefore$/);
    });

    it("what is in place is not fetched again", async () => {
        const { text } = await placed(
            { image: `${sum("a")} http://mirror/a.tar` },
            "cat $IMAGE_RECORD | cut -c 66- | sed 's#.*/##'",
            {
                "data/agent/images/k3s-ha-file-a.tar": "a",
                "data/agent/images/by-hand.tar": "h",
            },
        );
        assert.equal(text, "by-hand.tar: h\nk3s-ha-file-a.tar: a\nk3s-ha-file-a.tar\n");
    });

    it("takes back its own archives and no others", async () => {
        const { text } = await placed(
            { image: `${sum("a")} http://mirror/a.tar` },
            "rm $WORK/set.image; place_images; ls $IMAGES; [ ! -e $IMAGE_RECORD ] && echo no record",
            { "net/a.tar": "a", "data/agent/images/by-hand.tar": "h" },
        );
        assert.match(text, /by-hand\.tar\nno record\n$/);
    });

    it("the ending of an archive is all that k3s takes it by", async () => {
        const { text } = await stepShell("stage.sh")(
            "for f in '/a/k3s.tar' 'file /x/i-1.2.tar.gz' /b.tgz /srv/k3s.tar.zst; do ending \"$f\"; done",
        );
        assert.equal(text, ".tar\n.tar.gz\n.tgz\n.tar.zst\n");
    });
});
