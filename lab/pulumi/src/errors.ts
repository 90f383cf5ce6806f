/** Errors that reach the user, and the exit codes of the official command line (its exit_codes.go, 3.248). */

export class CommandError extends Error {
    /** 1 general, 2 bad invocation, 6 stack not found, 7 unexpected changes, 8 cancelled, 255 internal. */
    constructor(
        message: string,
        readonly exitCode = 1,
    ) {
        super(message);
    }
}

/** A failure that was told already: only the exit code is left to say. */
export class BailError extends CommandError {
    constructor(exitCode = 1) {
        super("", exitCode);
    }
}

export const notSupported = (what: string): CommandError =>
    new CommandError(`${what} is not supported by this stand-in for pulumi`);
