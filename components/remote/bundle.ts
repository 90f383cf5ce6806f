/**
 * What a script on a node is given on its stdin: settings and files as readable lines, so that a preview shows a changed
 * line of haproxy.cfg as just that. Read by `unpack` in components/scripts/lib.sh; nothing in it is ever evaluated.
 *
 *     node: server-1
 *     listen: 127.0.0.1:16443
 *     file: /etc/haproxy/haproxy.cfg 0600
 *         global
 *           maxconn 4000
 *     end: yes
 *
 * The last line tells whole data from those of a connection that was cut.
 */

/** A file to be written, or kept as material for a step. */
export interface BundleFile {
    /** Absolute path on the node, without white space. */
    readonly path: string;
    /** Four octal digits. */
    readonly mode: string;
    readonly content: string;
}

/** The data of one step on one node. */
export interface Bundle {
    /** Names are lower-case words joined by `-`; a list is one line per item, undefined and empty ones are left out. */
    readonly settings: Readonly<Record<string, string | number | readonly string[] | undefined>>;
    readonly files: readonly BundleFile[];
}

const INDENT = "    ";

/** The text of a bundle; throws on a value that would not survive as one line, which validation should have refused. */
export function renderBundle(bundle: Bundle): string {
    const lines: string[] = [];
    for (const [key, value] of Object.entries(bundle.settings)) {
        if (!/^[a-z0-9-]+$/.test(key) || key === "end")
            throw new Error(`bundle setting ${JSON.stringify(key)} is not a lower-case word, or is end`);
        for (const item of value === undefined ? [] : typeof value === "object" ? value : [String(value)]) {
            if (/[\u0000-\u001f\u007f]/.test(item)) throw new Error(`bundle setting ${key} holds a control character`);
            lines.push(`${key}: ${item}`);
        }
    }
    for (const file of bundle.files) {
        if (!/^\/\S+$/.test(file.path) || !/^0[0-7]{3}$/.test(file.mode))
            throw new Error(`bundle file ${JSON.stringify(file.path)} ${file.mode} is malformed`);
        lines.push(`file: ${file.path} ${file.mode}`);
        const content = file.content.endsWith("\n") ? file.content.slice(0, -1) : file.content;
        if (content !== "") lines.push(...content.split("\n").map((l) => INDENT + l));
    }
    return `${lines.join("\n")}\nend: yes\n`;
}
