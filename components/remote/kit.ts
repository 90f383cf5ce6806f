/**
 * The scripts that run on a node: one file, copied to the home of the user that logs in. Step prepare installs it to KIT_DIR, so that
 * the other steps' commands are one short line: that line is what a failed `pulumi up` prints. Neither the scripts nor the file are in the
 * state: it holds their digests.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { NodeSpec } from "../model/cluster";
import { renderBundle } from "./bundle";

/** The scripts as a node has them in KIT_DIR: what lies in this folder is sent, and nothing else. */
const SCRIPTS = join(__dirname, "../scripts");
/** Files that the engine reads while it works, by their digest; made again when they are gone. */
const CACHE = join(__dirname, "../../node_modules/.cache/k3s-ha");

/** The scripts and what identifies them. */
export interface Kit {
    /** install.sh, which unpacks the rest: all scripts as one bundle, by name. */
    readonly packed: string;
    /** SHA-256 of {@link packed}; the first command on a node carries it, and runs nothing else. */
    readonly sum: string;
    /** A line per script with its digest: a preview shows by it which script changed. */
    readonly digests: string;
    /** A step's command line ends with the digest of its script, so that a changed script runs again. */
    digest(script: string): string;
}

let loaded: Kit | undefined;

/** Reads the scripts, once. */
export function kit(): Kit {
    loaded ??= load();
    return loaded;
}

/** Text of a script. Its lines end with LF whatever the checkout made of them: no shell on a host takes CR LF, and digests must be the same. */
export const scriptText = (file: string): string => readFileSync(file, "utf8").replaceAll("\r\n", "\n");

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

function load(): Kit {
    const files = readdirSync(SCRIPTS)
        .filter((name) => name.endsWith(".sh"))
        .sort()
        .map((name) => ({ path: `/${name}`, mode: "0755", content: scriptText(join(SCRIPTS, name)) }));
    const install = scriptText(join(__dirname, "install.sh"));
    const packed = install + renderBundle({ settings: {}, files });
    const digests = new Map(files.map((f) => [f.path.slice(1), sha256(f.content).slice(0, 12)]));
    digests.set("install.sh", sha256(install).slice(0, 12));
    return {
        packed,
        sum: sha256(packed),
        digests: [...digests].map(([name, digest]) => `# ${name} ${digest}\n`).join(""),
        digest(script) {
            const digest = digests.get(script);
            if (digest === undefined) throw new Error(`no node script is called ${script}`);
            return digest;
        },
    };
}

/** The kit as a file for the engine; its path is as the state names it, so not of this machine. */
export function kitFile(): string {
    const { packed, sum } = kit();
    const file = join(CACHE, `kit-${sum.slice(0, 12)}`);
    if (!existsSync(file) || readFileSync(file, "utf8") !== packed) {
        mkdirSync(dirname(file), { recursive: true });
        // Another program may read it, or write the same at this moment.
        const mine = `${file}.${process.pid}`;
        writeFileSync(mine, packed);
        renameSync(mine, file);
    }
    return relative(process.cwd(), file);
}

/**
 * The file in the user's home that brings the kit. @pulumi/command copies again when this name or the content changes, so the name says also
 * which kit it is and which machine: a host that was reinstalled or is another one has nothing yet.
 */
export function uploadPath(node: NodeSpec): string {
    const { host, port } = node.ssh;
    const machine = [host, port, ...(node.rebuilt > 0 ? [node.rebuilt] : [])].join("-").replace(/[^A-Za-z0-9.-]/g, "_");
    return `.k3s-ha-kit-${kit().sum.slice(0, 12)}-${machine}`;
}

/** Shown in previews and failures, so without its comments. */
const bootstrap = scriptText(join(__dirname, "bootstrap.sh")).replace(/^#.*\n/gm, "");

/** The first command on a node: installs the kit, then runs step prepare. */
export function bootstrapCommand(node: NodeSpec): string {
    return `node=${node.name} kit=${kit().sum} upload=${uploadPath(node)}\n${bootstrap}${kit().digests}`;
}
