/**
 * Commands for whatever login shell a host's user has: sh, bash, zsh, fish, tcsh, csh. The shell gets `/bin/sh -c` and quoted words on one
 * line, so that its own language, options and aliases mean nothing; what its start files print stands before or after the output and is
 * cut off. Pure.
 */
import type { SshSpec } from "../model/cluster";

/**
 * One word for each of these shells; of one line, since csh ends a quoted word with the line. In single quotes fish takes a backslash for an
 * escape, csh an exclamation mark for its history; both, and the quote itself, stand outside of the quotes.
 */
export function shellWord(text: string): string {
    if (text.includes("\n")) throw new Error("a word for a login shell is of one line");
    return `'${text.replace(/['\\!]/g, (c) => `'\\${c}'`)}'`;
}

/** Characters of a word: csh takes 1024 bytes, and quoting makes one character four of them. */
const WORD = 240;

/** What stands for the end of a line: one that the script has not. */
const STAND_INS = ["^", "@", "~", "%", ",", "+", "\u0001", "\u0002"];

/**
 * The command line that runs a script of sh. A script of one short line is a word as it is; of others the ends of lines are replaced, and sh
 * puts the words together again.
 */
export function inShell(script: string): string {
    if (!script.includes("\n") && script.length <= WORD) return `/bin/sh -c ${shellWord(script)}`;
    const standIn = STAND_INS.find((c) => !script.includes(c));
    if (standIn === undefined)
        throw new Error("a script for a login shell has every character that could stand for its ends of lines");
    const whole = `s=$(printf %s "$@" | tr ${standIn} "\\n"); set --; eval "$s"`;
    const text = [...script.replaceAll("\n", standIn)];
    const words = Array.from({ length: Math.ceil(text.length / WORD) }, (_, i) =>
        shellWord(text.slice(i * WORD, (i + 1) * WORD).join("")),
    );
    return `/bin/sh -c ${shellWord(whole)} sh ${words.join(" ")}`;
}

const [BEGIN, END] = ["k3s-ha-output-begins", "k3s-ha-output-ends"];

/** The same, with its output between two marks; exits with the script's status. See {@link markedOutput}. */
export function inMarkedShell(script: string): string {
    return inShell(`echo; echo ${BEGIN}; ( ${script}\n); s=$?; echo; echo ${END}; exit $s`);
}

/** What stands between the marks, or undefined where they are missing: the script has not run, or not to its end. */
export function markedOutput(stdout: string): string | undefined {
    const from = stdout.indexOf(`\n${BEGIN}\n`);
    const to = stdout.lastIndexOf(`\n${END}\n`);
    return from < 0 || to < from ? undefined : stdout.slice(from + BEGIN.length + 2, to);
}

/** What to do about a command that came to an end and never began. */
export const START_FILES =
    "the login shell ended before the command ran: its start files (.bashrc, .zshenv, config.fish) exit, or start another shell, or read the input; let them do that in interactive sessions only ([ -t 0 ])";

/** How a command of the login user becomes root's. */
export function asRoot(ssh: SshSpec): string {
    return ssh.user === "root" ? "" : "sudo -n ";
}
