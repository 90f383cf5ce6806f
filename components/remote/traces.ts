/** What stack traces cost when many resources are made. */

/**
 * Makes a resource. The SDK notes a stack trace, mapped to the sources, for each of its outputs, in case a promise leaks: a sixth of
 * what an unchanged preview of 200 nodes costs. Where a resource was made is found out separately, and still known.
 */
export function withoutTraces<T>(make: () => T): T {
    if (process.env["PULUMI_DEBUG_PROMISE_LEAKS"]) return make();
    const frames = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
        return make();
    } finally {
        Error.stackTraceLimit = frames;
    }
}
