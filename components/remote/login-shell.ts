/**
 * Commands for whatever login shell a host's user has: sh, bash, zsh, fish, tcsh. The shell gets `/bin/sh -c` and one quoted word, so that its
 * own language, options and aliases mean nothing; what its start files print stands before or after the output and is cut off. Pure.
 */
import type { SshSpec } from "../model/cluster";

/**
 * One word for each of these shells. In single quotes fish takes a backslash for an escape, csh an exclamation mark for its history; both,
 * and the quote itself, stand outside of the quotes.
 */
export function shellWord(text: string): string {
    return `'${text.replace(/['\\!]/g, (c) => `'\\${c}'`)}'`;
}

/** The command line that runs a script of sh. */
export function inShell(script: string): string {
    return `/bin/sh -c ${shellWord(script)}`;
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
