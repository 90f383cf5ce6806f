/** Takes the comments out of a shell script that is sent: a kit lies in the state twice per node, in its inputs and its outputs. */

/**
 * Without the lines that hold nothing but a comment; a here-document stays as it is, and so does the first line's `#!`. Ends of lines
 * are LF whatever the checkout made of them: no shell on a host takes CR LF, and all deployers must send the same bytes.
 */
export function withoutComments(script: string): string {
    let end: string | undefined;
    return script
        .split(/\r?\n/)
        .filter((line, i) => {
            if (end !== undefined) {
                if (line.trim() === end) end = undefined;
                return true;
            }
            if (/^\s*#/.test(line)) return i === 0 && line.startsWith("#!");
            end = /<<-?\s*["']?(\w+)/.exec(line)?.[1];
            return true;
        })
        .join("\n");
}
