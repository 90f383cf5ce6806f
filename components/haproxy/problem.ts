/** What is wrong in what a user wrote; the type of all checks. */

/** One mistake in what a user wrote. */
export interface Problem {
    /** Where: `frontend[0].bind` in a haproxy configuration, `k3s-ha:nodes[2].address` in a stack file. */
    readonly path: string;
    /** What stood there, cut to a readable length; undefined when it is absent or secret. */
    readonly value?: string;
    /** What is wrong or allowed, and where it helps why. */
    readonly message: string;
    /** Set where somebody has to tell mistakes of this kind from others. */
    readonly kind?: "twice";
}
