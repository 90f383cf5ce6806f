/** What stack traces cost when many resources are made. */

/**
 * Makes a resource without the stack traces that the SDK takes: one for each of its outputs, in case a promise leaks (a sixth of what an
 * unchanged preview of 200 nodes costs), and one that the engine keeps in the state of each resource (0.7 KB, and with tsx of no use: its
 * lines are those of the transpiled text).
 */
export function withoutTraces<T>(make: () => T): T {
    if (process.env["PULUMI_DEBUG_PROMISE_LEAKS"]) return make();
    const { stackTraceLimit, prepareStackTrace } = Error;
    Error.stackTraceLimit = 0;
    // The SDK raises the limit for the second one. An error that is thrown keeps its text.
    Error.prepareStackTrace = (error) => String(error);
    try {
        return make();
    } finally {
        Error.stackTraceLimit = stackTraceLimit;
        Error.prepareStackTrace = prepareStackTrace;
    }
}
