/**
 * The scripts that run on a node, without their comments, packed to be sent once per node. They are installed to {@link KIT_DIR} by the prepare step,
 * so that the other steps' commands are one short line: that line is what a failed `pulumi up` prints.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, strToU8 } from "fflate";
import { renderBundle } from "./bundle";
import { withoutComments } from "./comments";

export { KIT_DIR } from "./kit-dir";

/** The node scripts, by the component that sends them. */
const SCRIPTS = {
    host: ["lib.sh", "prepare.sh", "foreign.sh", "drift.sh"],
    haproxy: ["apply.sh", "packages.sh"],
    proxy: ["haproxy.sh"],
    k3s: [
        "stage.sh",
        "k3s-lib.sh",
        "clear.sh",
        "diagnose.sh",
        "flannel.sh",
        "adopt.sh",
        "server.sh",
        "agent.sh",
        "drain.sh",
        "k3s-killall.sh",
        "snapshot-lib.sh",
        "snapshot.sh",
        "recover.sh",
        "nodes.sh",
    ],
    access: ["kubeconfig.sh", "viewer.sh", "surface.sh"],
} as const;

/** The packed scripts and what identifies them. */
export interface Kit {
    /** gzip of a bundle of all scripts, in base64: one line. Made by a pinned library, so equal on every Node.js. */
    readonly packed: string;
    /** A step's command line ends with the digest of its script, so that a changed script runs again. */
    digest(script: string): string;
}

let loaded: Kit | undefined;

/** Reads the scripts beside the components, once. */
export function kit(): Kit {
    loaded ??= load();
    return loaded;
}

function load(): Kit {
    const files = Object.entries(SCRIPTS).flatMap(([folder, names]) =>
        names.map((name) => ({
            path: `/${name}`,
            mode: "0755",
            content: withoutComments(readFileSync(join(__dirname, "..", folder, name), "utf8")),
        })),
    );
    const packed = Buffer.from(
        gzipSync(strToU8(renderBundle({ settings: {}, files })), { level: 9, mtime: 0 }),
    ).toString("base64");
    const hex = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 12);
    const digests = new Map(files.map((f) => [f.path.slice(1), hex(f.content)]));
    return {
        packed,
        digest(script) {
            const digest = digests.get(script);
            if (digest === undefined) throw new Error(`no node script is called ${script}`);
            return digest;
        },
    };
}
