/** Items of a list that have the key of an earlier one. Pure. */

/** Calls `tell` for each of them, with its place and the earlier one's. An item without a key repeats none. */
export function repeated<T>(
    items: readonly T[],
    keyOf: (item: T) => string | undefined,
    tell: (item: T, at: number, before: number) => void,
): void {
    const first = new Map<string, number>();
    items.forEach((item, at) => {
        const key = keyOf(item);
        if (key === undefined) return;
        const before = first.get(key);
        if (before === undefined) first.set(key, at);
        else tell(item, at, before);
    });
}
