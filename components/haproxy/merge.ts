/** Own sections on top of a preset. */
import type { HaproxyConfig } from "./schema";

function byKey<T>(key: (item: T) => string, base: readonly T[] | undefined, extra: readonly T[] | undefined): T[] {
    const merged = new Map((base ?? []).map((item) => [key(item), item]));
    for (const item of extra ?? []) merged.set(key(item), item);
    return [...merged.values()];
}

function orFalse<T>(key: (item: T) => string, base: readonly T[] | false | undefined, extra: readonly T[] | false) {
    return extra === false ? (false as const) : byKey(key, base || [], extra);
}

/**
 * `base` with `extra` on top. Lists of sections: a section of the same name is replaced in its place, others are added
 * at the end. global and defaults: key by key; in them the lists timeout, errorfile, tune and peers are merged by their
 * type, code, key and name, every other list is replaced.
 */
export function merge(base: HaproxyConfig, extra: Partial<HaproxyConfig>): HaproxyConfig {
    const merged: HaproxyConfig = { ...base };
    if (extra.global) {
        const { tune, peers } = extra.global;
        merged.global = { ...base.global, ...extra.global };
        if (tune) merged.global.tune = byKey((item) => item.key, base.global?.tune, tune);
        if (peers) merged.global.peers = byKey((item) => item.name, base.global?.peers, peers);
    }
    if (extra.defaults) {
        const { timeout, errorfile } = extra.defaults;
        merged.defaults = { ...base.defaults, ...extra.defaults };
        if (timeout !== undefined)
            merged.defaults.timeout = orFalse((item) => item.type, base.defaults?.timeout, timeout);
        if (errorfile !== undefined)
            merged.defaults.errorfile = orFalse((item) => `${item.code}`, base.defaults?.errorfile, errorfile);
    }
    const named = (item: { name: string }) => item.name;
    if (extra.listen) merged.listen = byKey(named, base.listen, extra.listen);
    if (extra.frontend) merged.frontend = byKey(named, base.frontend, extra.frontend);
    if (extra.backend) merged.backend = byKey(named, base.backend, extra.backend);
    if (extra.userlists) merged.userlists = byKey(named, base.userlists, extra.userlists);
    if (extra.resolvers) merged.resolvers = byKey(named, base.resolvers, extra.resolvers);
    if (extra.mailers) merged.mailers = byKey(named, base.mailers, extra.mailers);
    if (extra.cache) merged.cache = byKey(named, base.cache, extra.cache);
    if (extra.rings) merged.rings = byKey(named, base.rings, extra.rings);
    if (extra.logforwards) merged.logforwards = byKey(named, base.logforwards, extra.logforwards);
    if (extra.acl_files) merged.acl_files = byKey((file) => file.dest, base.acl_files, extra.acl_files);
    return merged;
}
