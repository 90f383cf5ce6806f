/** What stack traces cost when many resources are made. */
import * as pulumi from "@pulumi/pulumi";

/**
 * Makes a resource without the stack traces that the SDK takes: one for each of its outputs, in case a promise leaks (a sixth of what an
 * unchanged preview of 200 nodes costs), and one that the engine keeps in the state of each resource (0.7 KB, and with tsx of no use: its
 * lines are those of the transpiled text).
 */
export function withoutTraces<T>(make: () => T): T {
    const end = leaveOutTraces();
    try {
        return make();
    } finally {
        end();
    }
}

/** Begins to leave them out; ends with a call of what it returns. */
function leaveOutTraces(): () => void {
    if (process.env["PULUMI_DEBUG_PROMISE_LEAKS"]) return () => undefined;
    const { stackTraceLimit, prepareStackTrace } = Error;
    Error.stackTraceLimit = 0;
    // The SDK raises the limit for the second one. An error that is thrown keeps its text.
    Error.prepareStackTrace = (error) => String(error);
    return () => {
        Error.stackTraceLimit = stackTraceLimit;
        Error.prepareStackTrace = prepareStackTrace;
    };
}

/** A component that is made without them, for those that every node has. Its constructor's own errors keep theirs. */
export class NodeComponent extends pulumi.ComponentResource {
    /** @see pulumi.ComponentResource, which takes inputs too: none of ours has any */
    public constructor(type: string, name: string, opts?: pulumi.ComponentResourceOptions) {
        const end = leaveOutTraces();
        try {
            super(type, name, {}, opts);
        } finally {
            end();
        }
    }
}
