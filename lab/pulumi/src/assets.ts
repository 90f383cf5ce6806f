/** Hashes of files and folders that a program names as assets: what a later run compares. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { Archive, Asset, isObject, mapObject, Secret, type Value } from "./values";

const sha256 = (data: Buffer | string): string => createHash("sha256").update(data).digest("hex");

/** A folder's hash covers names and contents, in order of name. Throws when something is not there. */
function hashPath(file: string): string {
    if (!statSync(file).isDirectory()) return sha256(readFileSync(file));
    const entries = readdirSync(file).sort();
    return sha256(entries.map((e) => `${e}\0${hashPath(path.join(file, e))}\n`).join(""));
}

/** The value with the hash of every asset and archive filled in; paths are relative to `dir`, the program's folder. */
export function hashAssets(v: Value, dir: string): Value {
    if (v instanceof Asset || v instanceof Archive) {
        if (v.hash !== "") return v;
        if (v.content.path !== undefined) {
            let hash: string;
            try {
                hash = hashPath(path.resolve(dir, v.content.path));
            } catch (e) {
                throw new Error(`failed to open asset '${v.content.path}': ${(e as Error).message}`);
            }
            return v instanceof Asset ? new Asset(v.content, hash) : new Archive(v.content, hash);
        }
        if (v instanceof Archive && v.content.assets) {
            const assets = Object.fromEntries(
                Object.entries(v.content.assets).map(([k, a]) => [k, hashAssets(a, dir) as Asset | Archive]),
            );
            const text = Object.keys(assets)
                .sort()
                .map((k) => `${k}\0${assets[k]!.hash}\n`)
                .join("");
            return new Archive({ assets }, sha256(text));
        }
        return v;
    }
    if (v instanceof Secret) return new Secret(hashAssets(v.element, dir));
    if (Array.isArray(v)) return v.map((e) => hashAssets(e, dir));
    return isObject(v) ? mapObject(v, (e) => hashAssets(e, dir)) : v;
}
